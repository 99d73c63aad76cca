use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use proptest::prelude::*;
use traffictrace_crd::{
    Direction, Flow, Phase, Protocol, TrafficTrace, TrafficTraceSpec, TrafficTraceStatus,
};

use super::*;

const POD: &str = "k8s.pod.network.io";
const PROCESS: &str = "process.network.io";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn flow(pod: &str, command: &str, protocol: Protocol, remote_port: i32, rx: i64, tx: i64) -> Flow {
    let json = serde_json::json!({
        "namespace": "shop", "pod": pod, "container": "main", "command": command, "protocol": protocol,
        "direction": Direction::Outbound, "remotePort": remote_port, "rxBytes": rx, "txBytes": tx,
    });
    serde_json::from_value(json).unwrap()
}

fn trace(name: &str, flows: Vec<Flow>, totals: [i64; 2], phase: Phase) -> TrafficTrace {
    let mut trace = TrafficTrace::new(name, TrafficTraceSpec::default());
    trace.metadata.namespace = Some("shop".into());
    trace.metadata.uid = Some(format!("uid-{name}"));
    let mut status = TrafficTraceStatus { phase: Some(phase), top_flows: flows, ..Default::default() };
    status.start_time = Some(Time(now()));
    (status.totals.rx_bytes, status.totals.tx_bytes) = (totals[0], totals[1]);
    trace.status = Some(status);
    trace
}

fn running(name: &str, flows: Vec<Flow>, totals: [i64; 2]) -> Snapshot {
    Snapshot::of(&trace(name, flows, totals, Phase::Running)).unwrap()
}

/// Returns the values of all series, by metric and by attributes as a text.
fn series(book: &Book) -> BTreeMap<(String, String), i64> {
    let mut all = BTreeMap::new();
    for batch in book.batches(&Resource::default(), now()) {
        let resources = batch.request.resource_metrics.into_iter();
        let metrics = resources.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics);
        for metric in metrics {
            let points = match metric.data {
                Some(Data::Sum(sum)) => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "cumulative");
                    sum.data_points
                }
                Some(Data::Gauge(gauge)) => gauge.data_points,
                other => panic!("{other:?}"),
            };
            for point in points {
                let text = |value: any_value::Value| match value {
                    any_value::Value::StringValue(text) => text,
                    any_value::Value::BoolValue(flag) => flag.to_string(),
                    other => panic!("{other:?}"),
                };
                let attributes = point.attributes.into_iter();
                let attributes: Vec<String> = attributes
                    .map(|pair| format!("{}={}", pair.key, text(pair.value.unwrap().value.unwrap())))
                    .collect();
                let Some(Value::AsInt(value)) = point.value else { panic!("no integer") };
                let key = (metric.name.clone(), attributes.join(" "));
                assert_eq!(all.insert(key.clone(), value), None, "twice: {key:?}");
            }
        }
    }
    all
}

fn sum(series: &BTreeMap<(String, String), i64>, metric: &str, direction: &str) -> i64 {
    let of = series.iter().filter(|((name, key), _)| name == metric && key.ends_with(direction));
    of.map(|(_, value)| value).sum()
}

#[test]
fn a_status_is_told_as_it_is() {
    let mut book = Book::new(Limits::default(), true);
    let flows = vec![
        flow("api", "nginx", Protocol::Tcp, 443, 700, 30),
        flow("api", "nginx", Protocol::Tcp, 80, 100, 5),
        flow("api", "coredns", Protocol::Udp, 53, 40, 40),
    ];
    assert!(book.update(&running("web", flows, [1000, 100]), now()));
    let told = series(&book);
    let lines: Vec<String> =
        told.iter().map(|((metric, attributes), value)| format!("{metric} {attributes} {value}")).collect();
    let of = "k8s.namespace.name=shop traffictrace.trace.name=web";
    let mut expected = vec![
        format!("{POD} {of} k8s.pod.name=api network.transport=tcp network.io.direction=receive 800"),
        format!("{POD} {of} k8s.pod.name=api network.transport=tcp network.io.direction=transmit 35"),
        format!("{POD} {of} k8s.pod.name=api network.transport=udp network.io.direction=receive 40"),
        format!("{POD} {of} k8s.pod.name=api network.transport=udp network.io.direction=transmit 40"),
        format!("{POD} {of} otel.metric.overflow=true network.io.direction=receive 160"),
        format!("{POD} {of} otel.metric.overflow=true network.io.direction=transmit 25"),
        format!("traffictrace.trace.series {of} 12"),
    ];
    for (command, rx, tx) in [("coredns", 40, 40), ("nginx", 800, 35)] {
        let name = format!("k8s.container.name=main process.executable.name={command}");
        expected.push(format!("{PROCESS} {of} k8s.pod.name=api {name} network.io.direction=receive {rx}"));
        expected.push(format!("{PROCESS} {of} k8s.pod.name=api {name} network.io.direction=transmit {tx}"));
    }
    expected.push(format!("{PROCESS} {of} otel.metric.overflow=true network.io.direction=receive 160"));
    expected.push(format!("{PROCESS} {of} otel.metric.overflow=true network.io.direction=transmit 25"));
    expected.sort();
    let mut lines = lines;
    lines.sort();
    assert_eq!(lines, expected);
    assert_eq!(book.series(), 12);
}

#[test]
fn a_flow_that_is_listed_late_takes_nothing_back_from_the_rest() {
    let mut book = Book::new(Limits::default(), false);
    let first = flow("a", "x", Protocol::Tcp, 1, 100, 0);
    book.update(&running("web", vec![first.clone()], [150, 0]), now());
    // Flow b has 60 bytes, 50 of which were sent in the overflow series.
    let late = flow("b", "x", Protocol::Tcp, 1, 60, 0);
    book.update(&running("web", vec![first.clone(), late], [160, 0]), now());
    let value = |book: &Book, of: &str| {
        let told = series(book);
        *told.iter().find(|((_, key), _)| key.contains(of) && key.ends_with("receive")).unwrap().1
    };
    assert_eq!((value(&book, "name=b"), value(&book, "overflow")), (10, 50));
    // Other flows move 40 bytes, from which b's series gets the bytes that it lacks.
    let late = flow("b", "x", Protocol::Tcp, 1, 60, 0);
    book.update(&running("web", vec![first, late], [200, 0]), now());
    assert_eq!((value(&book, "name=b"), value(&book, "overflow")), (50, 50));
}

#[test]
fn series_are_bounded_and_the_rest_has_what_finds_no_room() {
    let flows =
        |count: i32| (0..count).map(|n| flow(&format!("pod-{n}"), "x", Protocol::Tcp, n, 10, 1)).collect();
    let mut book = Book::new(Limits { all: 30, trace: 10 }, true);
    assert!(book.update(&running("a", flows(50), [500, 50]), now()));
    assert!(book.update(&running("b", flows(50), [500, 50]), now()));
    assert!(book.update(&running("c", flows(50), [500, 50]), now()));
    assert_eq!(book.series(), 30);
    assert!(!book.update(&running("d", flows(50), [500, 50]), now()), "there is no room even for a rest");
    let told = series(&book);
    assert_eq!(told.len(), 30 + 3);
    for metric in [POD, PROCESS] {
        assert_eq!((sum(&told, metric, "receive"), sum(&told, metric, "transmit")), (1500, 150));
    }
}

#[test]
fn last_values_are_told_once_and_again_when_late_reports_change_them() {
    let mut book = Book::new(Limits::default(), true);
    let id = TraceId { namespace: "shop".into(), name: "web".into(), uid: "uid-web".into() };
    let over = |rx| Snapshot::of(&trace("web", Vec::new(), [rx, 0], Phase::Completed)).unwrap();
    let (begin, mut now) = (now(), now());
    book.update(&over(5), now);
    assert_eq!(book.batches(&Resource::default(), now).len(), 1);
    // The receiver has not accepted the request, so the values are sent again.
    assert_eq!(book.batches(&Resource::default(), now).len(), 1);
    book.delivered(std::slice::from_ref(&id));
    assert!(book.batches(&Resource::default(), now).is_empty());
    assert_eq!((book.series(), book.traces()), (0, 0));
    book.update(&over(7), now);
    assert_eq!(sum(&series(&book), POD, "receive"), 7);
    // No receiver accepts the values.
    now += SignedDuration::from_mins(16);
    assert_eq!((book.forget_ended(begin), book.forget_ended(now), book.traces()), (0, 1, 0));
    // A trace is deleted while it runs.
    book.update(&running("web", Vec::new(), [1, 0]), now);
    book.delivered(std::slice::from_ref(&id));
    book.gone(&TraceId { uid: "another".into(), ..id.clone() }, now);
    book.delivered(std::slice::from_ref(&id));
    assert_eq!(book.traces(), 1);
    book.gone(&id, now);
    book.delivered(std::slice::from_ref(&id));
    assert_eq!(book.traces(), 0);
}

#[test]
fn a_trace_that_is_made_anew_waits_until_its_predecessor_is_told() {
    let made = |uid: &str, rx| {
        let mut trace = trace("web", Vec::new(), [rx, 0], Phase::Running);
        trace.metadata.uid = Some(uid.into());
        Snapshot::of(&trace).unwrap()
    };
    // The newer trace has the lower UID, so an order by UID would be wrong.
    let (old, new) = (made("f", 5), made("a", 3));
    let mut book = Book::new(Limits::default(), true);
    book.update(&old, now());
    book.gone(&old.id(), now());
    book.update(&new, now());
    let told = |book: &Book| sum(&series(book), POD, "receive");
    assert_eq!((told(&book), book.traces()), (5, 2));
    book.delivered(&[old.id()]);
    assert_eq!((told(&book), book.traces()), (3, 1));
    // A third trace appears though the deletion of the second was not reported.
    book.update(&made("c", 9), now());
    assert_eq!(told(&book), 3);
    book.delivered(&[new.id()]);
    assert_eq!(told(&book), 9);
    assert_eq!(book.forget_ended(now() + SignedDuration::from_mins(16)), 0);
}

#[test]
fn a_status_whose_flows_exceed_its_totals_is_cut_to_them() {
    let mut book = Book::new(Limits::default(), true);
    let flows =
        vec![flow("a", "x", Protocol::Tcp, 1, i64::MAX, 5), flow("b", "x", Protocol::Tcp, 1, i64::MAX, -5)];
    book.update(&running("web", flows, [100, 7]), now());
    let told = series(&book);
    assert_eq!((sum(&told, POD, "receive"), sum(&told, PROCESS, "transmit")), (100, 7));
    assert!(told.values().all(|value| *value >= 0), "{told:?}");
}

/// A process can give itself a name with control characters.
#[test]
fn control_characters_reach_no_attribute() {
    let mut book = Book::new(Limits::default(), true);
    book.update(
        &running("web", vec![flow("a", "x\u{1b}[2J\n\u{202e}", Protocol::Icmp, 0, 1, 1)], [1, 1]),
        now(),
    );
    let told = series(&book);
    assert!(told.keys().any(|(_, key)| key.contains("process.executable.name=x?[2J??")), "{told:?}");
}

/// The bytes that the rows of a trace move in each round: index of the row, and bytes in each direction.
fn rounds() -> impl Strategy<Value = Vec<Vec<(usize, i64, i64)>>> {
    let moved = (0..12usize, 0..1000i64, 0..1000i64);
    prop::collection::vec(prop::collection::vec(moved, 0..8), 1..20)
}

proptest! {
    /// Whichever rows a status lists in each round, the sums equal the totals, no series falls, and no series has more
    /// bytes than its flows moved.
    #[test]
    fn sums_are_exact_and_series_never_fall(rounds in rounds(), listed in 1..6usize, room in 8..40usize) {
        let name = |row: usize| (format!("pod-{}", row / 4), format!("command-{}", row / 2));
        let protocol = |row: usize| if row.is_multiple_of(3) { Protocol::Udp } else { Protocol::Tcp };
        let mut truth = [[0i64; 2]; 12];
        let mut book = Book::new(Limits { all: 1000, trace: room }, true);
        let mut before = BTreeMap::new();
        for round in rounds {
            for (row, rx, tx) in round {
                truth[row][0] += rx;
                truth[row][1] += tx;
            }
            let mut rows: Vec<usize> = (0..truth.len()).filter(|row| truth[*row] != [0, 0]).collect();
            rows.sort_by_key(|row| -(truth[*row][0] + truth[*row][1]));
            rows.truncate(listed);
            let flows = rows.iter().map(|row| {
                let (pod, command) = name(*row);
                flow(&pod, &command, protocol(*row), i32::try_from(*row).unwrap(), truth[*row][0], truth[*row][1])
            });
            let totals = [truth.iter().map(|io| io[0]).sum(), truth.iter().map(|io| io[1]).sum()];
            prop_assert!(book.update(&running("web", flows.collect(), totals), now()));
            let told = series(&book);
            prop_assert_eq!(book.series() + 1, told.len());
            prop_assert!(book.series() <= room.max(4));
            for metric in [POD, PROCESS] {
                prop_assert_eq!([sum(&told, metric, "receive"), sum(&told, metric, "transmit")], totals);
            }
            for (key, value) in &before {
                prop_assert!(told.get(key).is_some_and(|now| now >= value), "{:?} fell from {}", key, value);
            }
            for ((metric, key), value) in &told {
                let bytes = |direction: usize| -> i64 {
                    let of = (0..truth.len()).filter(|row| {
                        let (pod, command) = name(*row);
                        let transport = if protocol(*row) == Protocol::Udp { "udp" } else { "tcp" };
                        if metric == POD {
                            key.contains(&format!("pod.name={pod} network.transport={transport} "))
                        } else {
                            key.contains(&format!("pod.name={pod} "))
                                && key.contains(&format!("executable.name={command} "))
                        }
                    });
                    of.map(|row| truth[row][direction]).sum()
                };
                let most = if key.contains("overflow") || metric == "traffictrace.trace.series" {
                    i64::MAX
                } else {
                    bytes(usize::from(key.ends_with("transmit")))
                };
                prop_assert!(*value <= most, "{key}: {value} of {most}");
            }
            // The number of series is not a sum, so it may fall.
            before = told.into_iter().filter(|((metric, _), _)| metric != "traffictrace.trace.series").collect();
        }
    }
}
