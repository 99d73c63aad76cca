//! Tests that send a trace to receivers on loopback, which are made from the protocol's own types.

use std::time::{Duration, Instant};

use crate::{ExportError, Settings, export};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

use super::support::{Received, Reply, grpc_receiver, http_receiver, trace};

fn settings(url: &str, variables: &[(&str, &str)]) -> Settings {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::of_endpoint("--otlp", url, variable).unwrap()
}

/// Asserts that the request has the trace's numbers: sums by metric and direction, times, and the sender's attributes.
fn assert_numbers(received: &Received) {
    let [resource] = received.request.resource_metrics.as_slice() else { panic!("{received:?}") };
    assert!(format!("{:?}", resource.resource).contains("service.instance.id"));
    let metrics = &resource.scope_metrics[0].metrics;
    assert_eq!(metrics.len(), 3);
    for metric in metrics.iter().filter(|metric| metric.name.ends_with("network.io")) {
        assert_eq!(metric.unit, "By");
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        let mut sums = [0, 0];
        for point in &sum.data_points {
            assert_eq!(
                (point.start_time_unix_nano, point.time_unix_nano),
                (1_795_860_000_000_000_000, 1_795_860_060_000_000_000)
            );
            let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
            let receive = format!("{:?}", point.attributes).contains("\"receive\"");
            sums[usize::from(!receive)] += value;
        }
        // A floating-point number could not represent the first value.
        assert_eq!(sums, [9_007_199_254_740_993, 4000], "{}", metric.name);
    }
}

#[tokio::test]
async fn http_with_headers_and_compression() {
    let (url, received) = http_receiver(Reply::taken(&ExportMetricsServiceResponse::default())).await;
    for compression in ["none", "gzip"] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret, x-scope=a"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
        ];
        let exported = export(&trace(), &settings(&format!("{url}/tenant/"), &variables)).await.unwrap();
        assert_eq!((exported.series, exported.warning), (12, None));
        let received = received.lock().unwrap().pop_front().unwrap();
        assert_eq!(received.path, "/tenant/v1/metrics");
        assert_eq!(received.headers["authorization"], "Bearer secret");
        assert_eq!(received.headers["x-scope"], "a");
        assert_eq!(received.headers["content-type"], "application/x-protobuf");
        assert_numbers(&received);
    }
}

#[tokio::test]
async fn grpc_with_headers_and_compression() {
    let (url, received) = grpc_receiver(Ok(ExportMetricsServiceResponse::default())).await;
    for compression in ["none", "gzip"] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
        ];
        let exported = export(&trace(), &settings(&url, &variables)).await.unwrap();
        assert_eq!(exported.series, 12);
        let received = received.lock().unwrap().pop_front().unwrap();
        assert_eq!(received.headers["authorization"], "Bearer secret");
        assert_numbers(&received);
    }
}

#[tokio::test]
async fn names_of_processes_can_be_left_out() {
    let (url, received) = http_receiver(Reply::taken(&ExportMetricsServiceResponse::default())).await;
    let mut settings = settings(&url, &[]);
    settings.processes = false;
    assert_eq!(export(&trace(), &settings).await.unwrap().series, 6);
    let received = received.lock().unwrap().pop_front().unwrap();
    assert!(!format!("{received:?}").contains("nginx"));
}

#[tokio::test]
async fn refusals_say_why() {
    // A google.rpc.Status with the code 3 and a message.
    let status = b"\x08\x03\x12\x0bwrong token".to_vec();
    for (code, body, message, is_later) in [
        (401, status.clone(), "wrong token", false),
        (400, b"<html>\nnone of mine".to_vec(), "<html>?none of mine", false),
        (503, Vec::new(), "", true),
        (429, status, "wrong token", true),
    ] {
        let (url, _) = http_receiver(Reply::of(code, body)).await;
        let error = export(&trace(), &settings(&url, &[])).await.unwrap_err();
        let ExportError::Refused { status, message: told, again, .. } = &error else { panic!("{error}") };
        assert!(status.starts_with(&code.to_string()), "{status}");
        assert_eq!((told.as_str(), *again, error.is_final()), (message, is_later, !is_later));
        assert!(
            error.to_string().starts_with(&format!("{url}/v1/metrics refused the metrics: {code}")),
            "{error}"
        );
    }
    let (url, _) = grpc_receiver(Err(tonic::Status::unauthenticated("wrong token"))).await;
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let error = export(&trace(), &settings(&url, &grpc)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/ refused the metrics: Unauthenticated: wrong token"));
    let (url, _) = grpc_receiver(Err(tonic::Status::unavailable("full"))).await;
    let error = export(&trace(), &settings(&url, &grpc)).await.unwrap_err();
    assert!(matches!(error, ExportError::Refused { again: true, .. }), "{error}");
}

#[tokio::test]
async fn points_that_are_not_taken_are_an_error_and_warnings_are_none() {
    let partial = |rejected_data_points| ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points,
            error_message: "too old".into(),
        }),
    };
    let (url, _) = http_receiver(Reply::taken(&partial(3))).await;
    let error = export(&trace(), &settings(&url, &[])).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/v1/metrics did not take 3 of the data points: too old"));
    let (url, _) = http_receiver(Reply::taken(&partial(0))).await;
    let exported = export(&trace(), &settings(&url, &[])).await.unwrap();
    assert_eq!(exported.warning.as_deref(), Some("too old"));
}

#[tokio::test]
async fn a_receiver_that_is_slow_dead_or_none_at_all() {
    let slow =
        Reply { after: Duration::from_secs(60), ..Reply::taken(&ExportMetricsServiceResponse::default()) };
    let (url, _) = http_receiver(slow).await;
    let begin = Instant::now();
    let error =
        export(&trace(), &settings(&url, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")])).await.unwrap_err();
    assert!(
        matches!(error, ExportError::Unanswered { .. }) && begin.elapsed() < Duration::from_secs(30),
        "{error}"
    );

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let url = format!("http://{closed}");
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let error = export(&trace(), &settings(&url, &variables)).await.unwrap_err();
        assert!(matches!(error, ExportError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("Connection refused") && text.contains(&url) && text.contains(protocol),
            "{text}"
        );
    }

    let (url, _) = http_receiver(Reply::of(200, b"<html>It works!</html>".to_vec())).await;
    let error = export(&trace(), &settings(&url, &[])).await.unwrap_err();
    assert!(error.to_string().contains("something else is listening there"), "{error}");
}

#[tokio::test]
async fn a_trace_that_has_not_begun_has_nothing_to_send() {
    let mut trace = trace();
    trace.status = None;
    let error = export(&trace, &settings("http://127.0.0.1:1", &[])).await.unwrap_err();
    assert!(matches!(error, ExportError::NoNumbers { .. }), "{error}");
}
