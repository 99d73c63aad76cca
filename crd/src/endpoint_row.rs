//! One HTTP endpoint as a compact text, the form that reports carry.

use serde_json::Value;

use crate::columns::{self, Reader, Row, RowError, read_as};
use crate::http::{ClassCounts, Endpoint, HttpProtocol, HttpSide, REQUEST_CLASSES, by_class};

/// Names of the columns of a row, in the order in which this version writes their values. Requests have one column
/// for each class of status code.
pub const ENDPOINT_COLUMNS: [&str; 20] = [
    "pod",
    "container",
    "command",
    "side",
    "protocol",
    "method",
    "host",
    "path",
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "noResponse",
    "unknown",
    "grpcFailed",
    "requestBytes",
    "responseBytes",
    "durations",
    "complete",
];

/// One endpoint of a report. A method, host or path that could not be read is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRow {
    /// Name of the pod.
    pub pod: String,
    /// Container that owns the socket, if its name is known.
    pub container: Option<String>,
    /// Name of the process.
    pub command: Option<String>,
    /// End of the connection that the container is: server or client.
    pub side: HttpSide,
    /// The protocol.
    pub protocol: HttpProtocol,
    /// The method.
    pub method: Option<String>,
    /// The requested host.
    pub host: Option<String>,
    /// Path of the request, with the parts that differ from object to object folded, as in `/users/{id}`.
    pub path: Option<String>,
    /// Number of requests since the trace began, by class.
    pub requests: ClassCounts,
    /// Number of gRPC calls whose own status was not 0.
    pub grpc_failed: i64,
    /// Bytes of the requests, heads and bodies.
    pub request_bytes: i64,
    /// Bytes of the responses, heads and bodies.
    pub response_bytes: i64,
    /// Histogram of durations in microseconds, in the text form of the `traffictrace-http` crate.
    pub durations: String,
    /// True if the counts include every request of the endpoint.
    pub complete: bool,
}

/// Percentiles of durations, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Median.
    pub p50: i64,
    /// Duration that 90 % of the requests did not exceed.
    pub p90: i64,
    /// Duration that 99 % of the requests did not exceed.
    pub p99: i64,
    /// Longest duration.
    pub max: i64,
}

/// The names of [`ENDPOINT_COLUMNS`], as written into a report.
#[must_use]
pub fn endpoint_column_names() -> Vec<String> {
    columns::names::<EndpointRow>()
}

/// Reads the endpoints of a report, whose values are in the order of `columns`, the report's own column names. A row that
/// cannot be read yields an error, and the rows after it are still read.
///
/// # Errors
///
/// Each item is a [`RowError`], which names the row, if that row cannot be read.
pub fn decode_endpoints<'a>(
    columns: &'a [String],
    rows: &'a [String],
) -> impl Iterator<Item = Result<EndpointRow, RowError>> + 'a {
    columns::decode(columns, rows)
}

impl Row for EndpointRow {
    const KIND: &'static str = "endpoint";
    const COLUMNS: &'static [&'static str] = &ENDPOINT_COLUMNS;

    fn read(values: &Reader<'_>) -> Result<Self, RowError> {
        let mut requests = ClassCounts::default();
        for (count, class) in requests.iter_mut().zip(REQUEST_CLASSES) {
            *count = values.count(class)?;
        }
        Ok(Self {
            pod: values.required("pod", |value| value.as_str().map(str::to_owned))?,
            container: values.text("container")?,
            command: values.text("command")?,
            side: values.required("side", read_as)?,
            protocol: values.required("protocol", read_as)?,
            method: values.text("method")?,
            host: values.text("host")?,
            path: values.text("path")?,
            requests,
            grpc_failed: values.count("grpcFailed")?,
            request_bytes: values.count("requestBytes")?,
            response_bytes: values.count("responseBytes")?,
            durations: values.text("durations")?.unwrap_or_default(),
            complete: values.optional("complete", Value::as_bool)?.unwrap_or(true),
        })
    }
}

impl EndpointRow {
    /// Encodes the row as text, its values in the order of [`ENDPOINT_COLUMNS`].
    #[must_use]
    pub fn encode(&self) -> String {
        let [informational, success, redirection, client_error, server_error, no_response, unknown] =
            self.requests;
        let values: [Value; ENDPOINT_COLUMNS.len()] = [
            self.pod.as_str().into(),
            self.container.as_deref().into(),
            self.command.as_deref().into(),
            side_name(self.side).into(),
            protocol_name(self.protocol).into(),
            self.method.as_deref().into(),
            self.host.as_deref().into(),
            self.path.as_deref().into(),
            informational.into(),
            success.into(),
            redirection.into(),
            client_error.into(),
            server_error.into(),
            no_response.into(),
            unknown.into(),
            self.grpc_failed.into(),
            self.request_bytes.into(),
            self.response_bytes.into(),
            self.durations.as_str().into(),
            self.complete.into(),
        ];
        Value::from(values.to_vec()).to_string()
    }

    /// Number of requests over all classes.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.requests.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Converts the row into an endpoint of a status; `namespace` is the namespace of its pod.
    #[must_use]
    pub fn into_endpoint(self, namespace: &str, durations: Percentiles) -> Endpoint {
        Endpoint {
            namespace: namespace.to_owned(),
            requests: self.total(),
            by_class: by_class(&self.requests),
            pod: self.pod,
            container: self.container,
            command: self.command,
            side: self.side,
            protocol: self.protocol,
            method: self.method,
            host: self.host,
            path: self.path,
            grpc_failed: self.grpc_failed,
            p50_microseconds: durations.p50,
            p90_microseconds: durations.p90,
            p99_microseconds: durations.p99,
            max_microseconds: durations.max,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            complete: self.complete,
        }
    }
}

fn side_name(side: HttpSide) -> &'static str {
    match side {
        HttpSide::Server => "Server",
        HttpSide::Client => "Client",
    }
}

fn protocol_name(protocol: HttpProtocol) -> &'static str {
    match protocol {
        HttpProtocol::Http10 => "HTTP/1.0",
        HttpProtocol::Http11 => "HTTP/1.1",
        HttpProtocol::Http2 => "HTTP/2",
        HttpProtocol::Grpc => "gRPC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> EndpointRow {
        EndpointRow {
            pod: "checkout-7f9c6d8b5-x2x9p".into(),
            container: Some("app".into()),
            command: Some("ng\"in]x\n".into()),
            side: HttpSide::Server,
            protocol: HttpProtocol::Http11,
            method: Some("GET".into()),
            host: Some("shop.example:8080".into()),
            path: Some("/users/{id}".into()),
            requests: [1, i64::MAX, 3, 4, 5, 6, 7],
            grpc_failed: 8,
            request_bytes: 9,
            response_bytes: 10,
            durations: "gHACE".into(),
            complete: false,
        }
    }

    fn decode(columns: &[String], rows: &[String]) -> Vec<Result<EndpointRow, RowError>> {
        decode_endpoints(columns, rows).collect()
    }

    #[test]
    fn every_value_survives_the_way() {
        let bare = EndpointRow {
            container: None,
            command: None,
            side: HttpSide::Client,
            protocol: HttpProtocol::Grpc,
            method: None,
            host: None,
            path: None,
            durations: String::new(),
            complete: true,
            ..row()
        };
        let rows = [row(), bare];
        let texts: Vec<String> = rows.iter().map(EndpointRow::encode).collect();
        assert_eq!(decode(&endpoint_column_names(), &texts), rows.map(Ok));
    }

    #[test]
    fn names_of_values_are_those_of_a_status() {
        for side in [HttpSide::Server, HttpSide::Client] {
            assert_eq!(serde_json::to_value(side).unwrap(), side_name(side));
        }
        for protocol in [HttpProtocol::Http10, HttpProtocol::Http11, HttpProtocol::Http2, HttpProtocol::Grpc]
        {
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol_name(protocol));
        }
        assert_eq!(ENDPOINT_COLUMNS[8..15], REQUEST_CLASSES);
    }

    #[test]
    fn one_bad_row_does_not_stop_the_others() {
        let rows = [
            "{}".to_owned(),
            row().encode(),
            row().encode().replace("\"Server\"", "\"Middle\""),
            row().encode().replace(&i64::MAX.to_string(), "-1"),
        ];
        let decoded = decode(&endpoint_column_names(), &rows);
        assert!(matches!(decoded[0], Err(RowError::NotAnArray { row: 0, .. })));
        assert_eq!(decoded[1], Ok(row()));
        let wrong = |row, column| Err(RowError::Column { kind: "endpoint", row, column });
        assert_eq!(decoded[2], wrong(2, "side"));
        assert_eq!(decoded[3], wrong(3, "2xx"));
    }

    #[test]
    fn an_endpoint_of_a_status_names_the_classes_that_have_requests() {
        let row = EndpointRow { requests: [0, 3, 0, 0, 2, 0, 0], ..row() };
        let endpoint = row.into_endpoint("shop", Percentiles { p50: 1, p90: 2, p99: 3, max: 4 });
        assert_eq!((endpoint.requests, endpoint.namespace.as_str()), (5, "shop"));
        let json = serde_json::to_value(&endpoint).unwrap();
        assert_eq!(json["byClass"], serde_json::json!({ "2xx": 3, "5xx": 2 }));
        assert_eq!(json["p99Microseconds"], 3);
    }
}
