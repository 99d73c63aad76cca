use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{Phase, TrafficTraceSpec, TrafficTraceStatus};

use super::*;
use crate::server::metrics::ControllerMetrics;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn trace(name: &str, phase: Phase, rx_bytes: i64, ended_ago: i64) -> TrafficTrace {
    let mut trace = TrafficTrace::new(name, TrafficTraceSpec::default());
    trace.metadata.namespace = Some("shop".into());
    trace.metadata.uid = Some(format!("uid-{name}"));
    let mut status = TrafficTraceStatus { phase: Some(phase), ..Default::default() };
    status.start_time = Some(Time(now()));
    status.end_time = Some(Time(now() - SignedDuration::from_secs(ended_ago)));
    status.totals.rx_bytes = rx_bytes;
    trace.status = Some(status);
    trace
}

fn id(name: &str) -> TraceId {
    TraceId { namespace: "shop".into(), name: name.into(), uid: format!("uid-{name}") }
}

#[test]
fn of_each_trace_the_newest_waits() {
    let news = OtlpNews::default();
    for rx in [1, 2, 3] {
        news.tell(&Change::Apply(trace("a", Phase::Running, rx, 0)), now());
    }
    news.tell(&Change::Apply(TrafficTrace::new("not-begun", TrafficTraceSpec::default())), now());
    news.tell(&Change::Gone(Key { namespace: "shop".into(), name: "b".into(), uid: "uid-b".into() }), now());
    let taken = news.take();
    assert_eq!(taken.keys().cloned().collect::<Vec<_>>(), [id("a"), id("b")]);
    assert!(taken[&id("a")].snapshot.is_some() && !taken[&id("a")].gone);
    assert!(taken[&id("b")].gone);
    assert!(news.take().is_empty());
}

#[test]
fn what_ended_before_is_not_exported_again() {
    let news = OtlpNews::default();
    let over = |ago| Change::Apply(trace("over", Phase::Completed, 1, ago));
    news.tell(&over(1), now());
    assert!(news.take().is_empty(), "in the first list");
    news.tell(&Change::Complete, now());
    news.tell(&over(1), now());
    assert_eq!(news.take().len(), 1, "a short trace ends between two exports");
    news.tell(&over(16 * 60), now());
    assert!(news.take().is_empty(), "in a list after an interruption of the watch");
}

/// Returns an exporter for a receiver, and a function that returns the text of its metrics.
fn exporter(url: &str, limits: Limits) -> (Exporter, impl Fn() -> String) {
    let variable = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(url.to_owned()),
        "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("300".to_owned()),
        _ => None,
    };
    let settings = Settings::from_environment(variable).unwrap().unwrap();
    let (metrics, registry) = ControllerMetrics::new();
    let text = move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let exporter = Exporter {
        book: Book::new(limits, true),
        left_out: BTreeSet::new(),
        client: Client::new(&settings, "test").unwrap(),
        metrics: metrics.otlp.clone(),
        warnings: Warnings::default(),
    };
    (exporter, text)
}

fn has_line(text: &str, line: &str) {
    assert!(
        text.lines().any(|known| known == format!("traffictrace_controller_otlp_{line}")),
        "{line}: {text}"
    );
}

#[tokio::test]
async fn a_receiver_that_is_silent_or_away_is_counted_and_last_values_wait_for_it() {
    // This receiver accepts connections and never responds.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut begin = [0; 4];
        stream.read_exact(&mut begin).unwrap();
        sender.send(begin).unwrap();
        // Reads until the client gives up; then nobody listens any more.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (mut exporter, text) = exporter(&url, Limits::default());
    let news = OtlpNews::default();
    news.tell(&Change::Complete, now());
    news.tell(&Change::Apply(trace("over", Phase::Completed, 7, 1)), now());
    exporter.learn(news.take(), now());
    has_line(&text(), "series 4");
    exporter.export(now()).await;
    assert_eq!(&seen.recv().unwrap(), b"POST");
    has_line(&text(), "requests_total{result=\"unanswered\"} 1");
    exporter.export(now()).await;
    exporter.export(now()).await;
    has_line(&text(), "requests_total{result=\"unreachable\"} 2");
    assert_eq!(
        exporter.warnings.0[&Warning::Away].since,
        2,
        "one warning was told, and two wait for the next"
    );
    let later = now() + SignedDuration::from_mins(16);
    exporter.learn(BTreeMap::new(), later);
    has_line(&text(), "last_values_lost_total 1");
    has_line(&text(), "series 0");
}

#[tokio::test]
async fn traces_beyond_the_bound_are_counted_and_come_in_when_there_is_room() {
    let (mut exporter, text) = exporter("http://127.0.0.1:1", Limits { all: 4, trace: 100 });
    let news = OtlpNews::default();
    news.tell(&Change::Apply(trace("a", Phase::Running, 1, 0)), now());
    news.tell(&Change::Apply(trace("b", Phase::Running, 1, 0)), now());
    exporter.learn(news.take(), now());
    has_line(&text(), "series 4");
    has_line(&text(), "traces_left_out 1");
    exporter.book.gone(&id("a"), now());
    exporter.book.delivered(&[id("a")]);
    news.tell(&Change::Apply(trace("b", Phase::Running, 2, 0)), now());
    exporter.learn(news.take(), now());
    has_line(&text(), "traces_left_out 0");
    has_line(&text(), "series 4");
}

#[test]
fn last_values_of_a_trace_that_is_made_anew_in_an_interval_are_not_lost() {
    let (mut exporter, text) = exporter("http://127.0.0.1:1", Limits::default());
    let news = OtlpNews::default();
    // After an interruption of the watch, the list reports the new trace before the end of the old one.
    let mut new = trace("a", Phase::Running, 3, 0);
    new.metadata.uid = Some("another".into());
    news.tell(&Change::Apply(trace("a", Phase::Running, 5, 0)), now());
    news.tell(&Change::Apply(new), now());
    news.tell(&Change::Gone(Key { namespace: "shop".into(), name: "a".into(), uid: "uid-a".into() }), now());
    exporter.learn(news.take(), now());
    has_line(&text(), "series 8");
    let next = |exporter: &Exporter| exporter.book.batches(exporter.client.resource(), now()).pop().unwrap();
    assert_eq!(next(&exporter).traces, [id("a")]);
    exporter.book.delivered(&[id("a")]);
    assert_eq!(next(&exporter).traces[0].uid, "another");
}

/// Starts an HTTP receiver that gives these responses, one for each connection.
fn receiver(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while request.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            request.read_exact(&mut vec![0; length]).unwrap();
            let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            request.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

#[tokio::test]
async fn the_other_requests_are_sent_after_one_that_is_refused_for_good_and_kinds_have_pauses_of_their_own() {
    let url = receiver(&["413 Too Large", "200 OK", "503 Busy", "200 OK", "200 OK"]);
    let (mut exporter, text) = exporter(&url, Limits { all: 4000 * 2, trace: 4000 });
    // Two traces with so many series that each needs a request of its own.
    for name in ["a", "b"] {
        let mut trace = trace(name, Phase::Running, 4000, 0);
        let flow = |pod| {
            serde_json::json!({
                "namespace": "shop", "pod": format!("pod-{pod}"), "protocol": "TCP", "direction": "Inbound",
                "rxBytes": 1, "txBytes": 0,
            })
        };
        let flows = (0..600).map(|pod| serde_json::from_value(flow(pod)).unwrap()).collect();
        trace.status.as_mut().unwrap().top_flows = flows;
        exporter.book.update(&Snapshot::of(&trace).unwrap(), now());
    }
    assert_eq!(exporter.book.batches(exporter.client.resource(), now()).len(), 2);
    let kinds = |exporter: &Exporter| exporter.warnings.0.keys().copied().collect::<Vec<_>>();
    exporter.warnings.warn(Warning::LeftOut, "no room");
    exporter.export(now()).await;
    has_line(&text(), "requests_total{result=\"refused\"} 1");
    has_line(&text(), "requests_total{result=\"ok\"} 1");
    assert_eq!(
        kinds(&exporter),
        [Warning::LeftOut, Warning::Refused],
        "one request that is taken ends no pause"
    );
    exporter.export(now()).await;
    has_line(&text(), "requests_total{result=\"refused\"} 2");
    has_line(&text(), "requests_total{result=\"ok\"} 1");
    assert_eq!(kinds(&exporter), [Warning::LeftOut, Warning::Refused, Warning::Away]);
    exporter.export(now()).await;
    has_line(&text(), "requests_total{result=\"ok\"} 3");
    assert_eq!(kinds(&exporter), [Warning::LeftOut]);
}
