//! HTTP requests, in a spec, a report and a status.

mod totals;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;
use totals::is_zero;
pub use totals::{
    ClassCounts, HTTP_LOSSES, HttpTotals, REQUEST_CLASSES, RequestsByClass, UNOBSERVED_REASONS, by_class,
};

/// Which HTTP requests to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct HttpSpec {
    /// Whether to read the requests inside TLS too, where the libraries of the processes allow it. It cannot be changed later.
    #[serde(default)]
    pub tls: bool,
    /// How many endpoints the status lists, those with the most requests first, 1 to 100.
    #[serde(default = "default_top_endpoints")]
    #[schemars(range(min = 1, max = 100))]
    pub top_endpoints: i32,
}

impl Default for HttpSpec {
    fn default() -> Self {
        Self { tls: false, top_endpoints: default_top_endpoints() }
    }
}

fn default_top_endpoints() -> i32 {
    20
}

/// The end of a connection that the traced container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum HttpSide {
    /// The container answers requests.
    Server,
    /// The container sends requests.
    Client,
}

/// The protocol of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum HttpProtocol {
    /// HTTP/1.0.
    #[serde(rename = "HTTP/1.0")]
    Http10,
    /// HTTP/1.1.
    #[serde(rename = "HTTP/1.1")]
    Http11,
    /// HTTP/2, but for gRPC.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// gRPC.
    #[serde(rename = "gRPC")]
    Grpc,
}

/// The requests of one endpoint: what a process of a container is asked, or asks. Counts since the trace began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Endpoint {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container whose socket it is. Absent while the kubelet has not told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the process, at most 15 characters, as the kernel keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Server: the container answers. Client: the container asks.
    pub side: HttpSide,
    /// HTTP/1.0, HTTP/1.1, HTTP/2 or gRPC.
    pub protocol: HttpProtocol,
    /// The method; {other} for those that are no known ones. Absent where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The host that was asked for, without the ports 80 and 443. Absent where there was none or it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path without its query; what differs from object to object is folded, as in /users/{id}. {other}: all that have no row of their own. Absent where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Requests.
    pub requests: i64,
    /// The same by the class of their final status: 1xx, 2xx, 3xx, 4xx, 5xx, noResponse, unknown. Classes without requests are absent.
    #[serde(default, skip_serializing_if = "RequestsByClass::is_empty")]
    pub by_class: RequestsByClass,
    /// gRPC calls whose own status was not 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub grpc_failed: i64,
    /// Half of the requests took no longer, from their first byte to the last one of the response, in microseconds. Right to 3.2 %.
    pub p50_microseconds: i64,
    /// Nine of ten requests took no longer, in microseconds. Right to 3.2 %.
    pub p90_microseconds: i64,
    /// 99 of 100 requests took no longer, in microseconds. Right to 3.2 %.
    pub p99_microseconds: i64,
    /// The longest request, in microseconds.
    pub max_microseconds: i64,
    /// Bytes of the requests.
    pub request_bytes: i64,
    /// Bytes of the responses.
    pub response_bytes: i64,
    /// False: some of the endpoint's requests are in another row or in the totals alone, because its row was given up or left out for a time to keep within bounds.
    pub complete: bool,
}

/// Processes that speak TLS, and whether their requests can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct TlsProcesses {
    /// False: their requests are in no count.
    pub readable: bool,
    /// Name of the pod, in the trace's namespace.
    pub pod: String,
    /// Name of the container. Absent while the kubelet has not told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The library with its version, such as OpenSSL 3.0.19. Absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Why they are not readable, or not all of what they say is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Number of these processes since the agent began.
    pub processes: i64,
}

/// Most entries of [`TlsProcesses`] in a report and in a status.
pub const TLS_LISTED: usize = 16;
/// Longest reason of [`TlsProcesses`], in characters.
pub const TLS_REASON: usize = 256;

/// The HTTP requests that one node counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct HttpReport {
    /// Sums over all requests of this node.
    pub totals: HttpTotals,
    /// The part of totals that runs before this one counted. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<HttpTotals>,
    /// What the values of an endpoint mean, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
    /// The endpoints with the most requests, most first. Each is a JSON array of the values named by columns; null is unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<String>,
    /// Endpoints seen, listed or not.
    #[schemars(range(min = 0))]
    pub endpoints_total: i64,
    /// True when the list is shorter than asked for, so that the object stays small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Processes that speak TLS, those that are not readable first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tls: Vec<TlsProcesses>,
    /// Entries of tls, listed or not.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub tls_total: i64,
}

/// The HTTP requests of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct HttpStatus {
    /// Sums over all requests, also those of endpoints that are not listed.
    pub totals: HttpTotals,
    /// The endpoints with the most requests, most first, at most spec.http.topEndpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub top_endpoints: Vec<Endpoint>,
    /// Endpoints seen, listed or not.
    #[schemars(range(min = 0))]
    pub endpoints_total: i64,
    /// True when the list is shorter than asked for, so that the object stays small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Processes that speak TLS and whether their requests can be read, those that are not readable first, at most 16 entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tls: Vec<TlsProcesses>,
    /// Entries of tls, listed or not.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub tls_total: i64,
}
