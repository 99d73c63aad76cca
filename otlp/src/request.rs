//! Conversion of series into a request of the protocol.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_semantic_conventions::attribute::{
    K8S_CONTAINER_NAME, K8S_NAMESPACE_NAME, K8S_POD_NAME, NETWORK_IO_DIRECTION, NETWORK_TRANSPORT,
    PROCESS_EXECUTABLE_NAME,
};
use opentelemetry_semantic_conventions::metric::{K8S_POD_NETWORK_IO, PROCESS_NETWORK_IO};
use traffictrace_crd::Protocol;

use crate::book::TraceId;
use crate::series::TraceSeries;
use crate::snapshot::Io;

/// Attribute with the name of the trace. Several traces may count the same traffic, so only series of one trace may
/// be added up.
const TRACE_NAME: &str = "traffictrace.trace.name";
/// Name of the metric for the number of a trace's series.
const SERIES: &str = "traffictrace.trace.series";
/// The protocol's attribute that marks the series of everything without a series of its own.
const OVERFLOW: &str = "otel.metric.overflow";
/// Values of `network.io.direction`, in the order of [`Io`].
const DIRECTIONS: [&str; 2] = ["receive", "transmit"];

/// A trace and its series.
pub(crate) struct TraceView<'a> {
    pub(crate) id: &'a TraceId,
    pub(crate) start: Timestamp,
    pub(crate) series: &'a TraceSeries,
}

/// Makes a request with the series of some traces.
pub(crate) fn request(
    resource: &Resource,
    traces: &[TraceView<'_>],
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let (mut pods, mut processes, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for trace in traces {
        let times = (nanoseconds(trace.start), nanoseconds(now));
        let of_trace =
            [key_value(K8S_NAMESPACE_NAME, &trace.id.namespace), key_value(TRACE_NAME, &trace.id.name)];
        let group = &trace.series.pods;
        for (pod, io) in group.iter() {
            let own =
                [key_value(K8S_POD_NAME, &pod.name), key_value(NETWORK_TRANSPORT, transport(pod.protocol))];
            points(&mut pods, &of_trace, &own, *io, times);
        }
        points(&mut pods, &of_trace, &[overflow()], group.other, times);
        if let Some(group) = &trace.series.processes {
            for (process, io) in group.iter() {
                let own = [
                    (K8S_POD_NAME, &process.pod),
                    (K8S_CONTAINER_NAME, &process.container),
                    (PROCESS_EXECUTABLE_NAME, &process.command),
                ];
                // Values that are not known have no attribute.
                let own = own.into_iter().filter(|(_, value)| !value.is_empty());
                let own: Vec<KeyValue> = own.map(|(key, value)| key_value(key, value)).collect();
                points(&mut processes, &of_trace, &own, *io, times);
            }
            points(&mut processes, &of_trace, &[overflow()], group.other, times);
        }
        let count = i64::try_from(trace.series.len()).unwrap_or(i64::MAX);
        counts.push(NumberDataPoint { start_time_unix_nano: 0, ..point(of_trace.to_vec(), count, times) });
    }
    let mut metrics =
        vec![sum(K8S_POD_NETWORK_IO, "Bytes that a pod's applications moved by their sockets", pods)];
    if !processes.is_empty() {
        metrics.push(sum(PROCESS_NETWORK_IO, "Bytes that a process moved by its sockets", processes));
    }
    metrics.push(Metric {
        name: SERIES.into(),
        description: "Series that a trace has in the metrics of its traffic".into(),
        unit: "{series}".into(),
        data: Some(Data::Gauge(Gauge { data_points: counts })),
        ..Metric::default()
    });
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let schema_url: String = opentelemetry_semantic_conventions::SCHEMA_URL.into();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: schema_url.clone() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource.clone()), scope_metrics, schema_url }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn sum(name: &str, description: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric {
        name: name.into(),
        description: description.into(),
        unit: "By".into(),
        data: Some(Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        })),
        ..Metric::default()
    }
}

/// Adds the data points of both directions.
fn points(
    points: &mut Vec<NumberDataPoint>,
    of_trace: &[KeyValue],
    own: &[KeyValue],
    io: Io,
    times: (u64, u64),
) {
    for (direction, bytes) in DIRECTIONS.into_iter().zip(io) {
        let mut attributes = [of_trace, own].concat();
        attributes.push(key_value(NETWORK_IO_DIRECTION, direction));
        points.push(point(attributes, bytes, times));
    }
}

fn point(attributes: Vec<KeyValue>, value: i64, (start, now): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(Value::AsInt(value)),
        ..NumberDataPoint::default()
    }
}

/// Makes an attribute whose value is a text.
pub(crate) fn key_value(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn overflow() -> KeyValue {
    attribute(OVERFLOW, any_value::Value::BoolValue(true))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn transport(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        // The semantic conventions have no name for ICMP, but allow names of one's own.
        Protocol::Icmp => "icmp",
    }
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}
