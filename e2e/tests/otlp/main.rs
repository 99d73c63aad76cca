//! Tests of the OTLP export with a real OpenTelemetry collector. The collector's output is compared with the status,
//! number by number.

mod collector;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use traffictrace_crd::TrafficTrace;
use traffictrace_otlp::{Book, Client, ExportError, Limits, Settings, Snapshot, export};

use collector::{Collector, Point, SMALL, Series};
use traffictrace_e2e::support::Result;

const METRICS: [&str; 2] = ["k8s.pod.network.io", "process.network.io"];
const START: &str = "2026-11-28T10:00:00Z";
const START_NANOSECONDS: i64 = 1_795_860_000_000_000_000;
/// An environment variable and its value.
type Variable<'a> = (&'a str, &'a str);
/// A flow: pod, command, protocol, and bytes received and sent.
type Row = (&'static str, &'static str, &'static str, i64, i64);

fn trace(name: &str, rows: &[Row], totals: [i64; 2]) -> TrafficTrace {
    let flows: Vec<_> = rows
        .iter()
        .map(|(pod, command, protocol, rx, tx)| {
            json!({"namespace": "shop", "pod": pod, "container": "main", "command": command, "protocol": protocol,
                   "direction": "Inbound", "rxBytes": rx, "txBytes": tx})
        })
        .collect();
    let trace = json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"selector": {}},
        "status": {"phase": "Running", "startTime": START, "updateTime": "2026-11-28T10:01:00Z",
                   "totals": {"rxBytes": totals[0], "txBytes": totals[1]}, "topFlows": flows},
    });
    serde_json::from_value(trace).expect("a trace")
}

/// A trace with numbers that no floating-point number can represent, and with names of unusual characters.
fn large(name: &str) -> TrafficTrace {
    let rows = [
        ("api", "nginx", "TCP", 9_007_199_254_740_993, 12),
        ("api", "ngînx 中", "TCP", 1, 2),
        ("api", "nginx", "UDP", 5, 0),
        ("db", "postgres", "TCP", 0, 4_000_000_000_000),
    ];
    trace(name, &rows, [9_007_199_254_741_999, 4_000_000_000_114])
}

fn settings(url: &str, variables: &[Variable<'_>]) -> Settings {
    let found =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
    Settings::of_endpoint("--otlp", url, found).expect("settings that can be used")
}

/// Returns the last points of a trace's series of one metric and direction.
fn last<'a>(
    received: &'a BTreeMap<Series, Vec<Point>>,
    trace: &'a str,
    metric: &'a str,
    direction: &'a str,
) -> impl Iterator<Item = (&'a BTreeMap<String, String>, Point)> {
    let of = received.iter().filter(move |((name, attributes, _), _)| {
        name == metric
            && attributes["traffictrace.trace.name"] == trace
            && attributes.get("network.io.direction").is_some_and(|is| is == direction)
    });
    of.map(|((_, attributes, _), points)| (attributes, *points.last().expect("a series has points")))
}

/// Asserts that the collector has the status of a trace that was exported once: each flow, the overflow series, the
/// sums, the times and the number of series.
fn assert_same(received: &BTreeMap<Series, Vec<Point>>, trace: &TrafficTrace) {
    let name = trace.metadata.name.as_deref().expect("a name");
    let status = trace.status.as_ref().expect("a status");
    let mut count = 0;
    for (direction, total) in [("receive", status.totals.rx_bytes), ("transmit", status.totals.tx_bytes)] {
        for metric in METRICS {
            let (mut sum, mut rest, mut expected) = (0, 0, BTreeMap::<_, i64>::new());
            for flow in &status.top_flows {
                let key = if metric == METRICS[0] {
                    (flow.pod.clone(), format!("{:?}", flow.protocol).to_lowercase())
                } else {
                    (flow.pod.clone(), flow.command.clone().expect("a command"))
                };
                *expected.entry(key).or_default() +=
                    if direction == "receive" { flow.rx_bytes } else { flow.tx_bytes };
            }
            let mut found = BTreeMap::new();
            for (attributes, point) in last(received, name, metric, direction) {
                count += 1;
                sum += point.value;
                assert_eq!(
                    (point.start, point.time),
                    (START_NANOSECONDS, START_NANOSECONDS + 60_000_000_000)
                );
                assert_eq!(attributes["k8s.namespace.name"], "shop");
                if attributes.get("otel.metric.overflow").is_some_and(|is| is == "true") {
                    rest = point.value;
                    continue;
                }
                let second =
                    if metric == METRICS[0] { "network.transport" } else { "process.executable.name" };
                found.insert((attributes["k8s.pod.name"].clone(), attributes[second].clone()), point.value);
            }
            assert_eq!(found, expected, "{metric} {direction}");
            assert_eq!(rest, total - expected.values().sum::<i64>(), "{metric} {direction}");
            assert_eq!(sum, total, "{metric} {direction}");
        }
    }
    let told: Vec<i64> = received
        .iter()
        .filter(|((metric, attributes, _), _)| {
            metric == "traffictrace.trace.series" && attributes["traffictrace.trace.name"] == name
        })
        .map(|(_, points)| points.last().expect("a series has points").value)
        .collect();
    assert_eq!(told, [count], "the number of series is that of the series");
}

#[tokio::test]
async fn every_number_of_a_status_arrives_by_each_protocol() -> Result<()> {
    let Some(collector) = Collector::start()? else { return Ok(()) };
    let certificate = collector.certificate();
    let gzip = ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let trusted = ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.as_str());
    let cluster = ("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=north");
    let ways: [(&str, String, &[Variable<'_>]); 5] = [
        ("http", collector.http(), &[cluster]),
        ("http-gzip", collector.http(), &[gzip, cluster]),
        ("grpc", collector.grpc(), &[grpc, cluster]),
        ("grpc-gzip", collector.grpc(), &[grpc, gzip, cluster]),
        ("https", collector.https(), &[trusted, cluster]),
    ];
    for (requests, (name, url, variables)) in (1..).zip(&ways) {
        let exported = export(&large(name), &settings(url, variables)).await.unwrap();
        let received = collector.received(requests)?;
        assert_same(&received, &large(name));
        let of_trace = received.keys().filter(|(_, attributes, resource)| {
            assert_eq!(
                (resource["service.name"].as_str(), resource["k8s.cluster.name"].as_str()),
                ("traffictrace", "north")
            );
            attributes["traffictrace.trace.name"] == *name
        });
        // The metric with the number of series adds one series.
        assert_eq!(of_trace.count(), exported.series + 1);
    }
    let error = export(&large("x"), &settings(&collector.https(), &[])).await.unwrap_err();
    assert!(matches!(error, ExportError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    Ok(())
}

/// Like the controller's export: flows enter and leave the list, and the sums in the collector never fall.
#[tokio::test]
async fn sums_of_a_trace_that_goes_on_are_its_totals_and_never_fall() -> Result<()> {
    let Some(collector) = Collector::start()? else { return Ok(()) };
    let settings = settings(&collector.http(), &[]);
    let client = Client::new(&settings, "test").unwrap();
    let mut book = Book::new(Limits::default(), true);
    let rounds: [(&[Row], [i64; 2]); 5] = [
        (&[("a", "x", "TCP", 100, 10), ("b", "x", "TCP", 90, 0)], [250, 10]),
        // In the round before, c was in the overflow series (the sum of the flows that are not listed); now b is.
        (&[("a", "x", "TCP", 150, 10), ("c", "y", "UDP", 120, 9)], [390, 30]),
        (&[("c", "y", "UDP", 500, 9), ("b", "x", "TCP", 400, 7)], [1200, 40]),
        (&[], [1200, 40]),
        (&[("a", "x", "TCP", 200, 10), ("d", "z", "ICMP", 64, 64)], [5000, 400]),
    ];
    for (round, (rows, totals)) in (1..).zip(rounds) {
        let snapshot = Snapshot::of(&trace("goes-on", rows, totals)).unwrap();
        let now = snapshot.updated().unwrap() + jiff::SignedDuration::from_secs(round);
        book.update(&snapshot, now);
        for batch in book.batches(client.resource(), now) {
            client.send(batch.request).await.unwrap();
        }
        let received = collector.received(usize::try_from(round).unwrap())?;
        for metric in METRICS {
            for (direction, total) in ["receive", "transmit"].into_iter().zip(totals) {
                let sum: i64 =
                    last(&received, "goes-on", metric, direction).map(|(_, point)| point.value).sum();
                assert_eq!(sum, total, "round {round}: {metric} {direction}");
            }
        }
    }
    for ((metric, attributes, _), points) in &collector.received(rounds.len())? {
        let is_sum = METRICS.contains(&metric.as_str());
        assert!(
            !is_sum || points.is_sorted_by_key(|point| point.value),
            "{metric} {attributes:?}: {points:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_that_refuses_stands_still_or_is_gone_is_told_of_and_found_again() -> Result<()> {
    let Some(mut collector) = Collector::start()? else { return Ok(()) };
    // A request that is too large for the receiver, and a path that does not exist there.
    let rows: Vec<Row> = vec![("pod", "command", "TCP", 1, 1); 3];
    let trace = trace("refused", &rows, [9, 9]);
    for (url, status) in [(collector.small(), "400"), (format!("{}/no", collector.http()), "404")] {
        let error = export(&trace, &settings(&url, &[])).await.unwrap_err();
        assert!(matches!(error, ExportError::Refused { again: false, .. }), "{error}");
        assert!(error.to_string().contains(&format!("refused the metrics: {status}")), "{SMALL}: {error}");
    }
    // gRPC to a receiver of HTTP.
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let error = export(&trace, &settings(&collector.http(), &grpc)).await.unwrap_err();
    assert!(error.to_string().contains(&collector.http()), "{error}");

    for (url, variables) in [(collector.http(), &[][..]), (collector.grpc(), &grpc[..])] {
        let mut variables = variables.to_vec();
        variables.push(("OTEL_EXPORTER_OTLP_TIMEOUT", "500"));
        let client = Client::new(&settings(&url, &variables), "test").unwrap();
        let mut book = Book::new(Limits::default(), true);
        let snapshot = Snapshot::of(&large("again")).unwrap();
        let now = snapshot.updated().unwrap();
        book.update(&snapshot, now);
        let request = || book.batches(client.resource(), now).remove(0).request;
        client.send(request()).await.unwrap();
        // The next request uses the same connection.
        collector.stop()?;
        let error = client.send(request()).await.unwrap_err();
        assert!(
            matches!(error, ExportError::Unanswered { after, .. } if after == Duration::from_millis(500)),
            "{error}"
        );
        collector.go_on()?;
        client.send(request()).await.unwrap();
        collector.kill();
        let error = client.send(request()).await.unwrap_err();
        assert!(matches!(error, ExportError::Unreachable { .. }), "{error}");
        collector.restart()?;
        client.send(request()).await.unwrap();
    }
    // Requests that were under way when the collector was stopped or killed may have been written or not.
    assert_same(&collector.received(2)?, &large("again"));
    Ok(())
}
