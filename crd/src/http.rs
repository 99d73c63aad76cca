//! HTTP requests, as specs, reports and statuses carry them.

mod totals;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;
use totals::is_zero;
pub use totals::{
    ClassCounts, HTTP_LOSSES, HttpTotals, REQUEST_CLASSES, RequestsByClass, UNOBSERVED_REASONS, by_class,
};

/// Settings for showing HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct HttpSpec {
    /// Read the requests inside TLS too, if the libraries of the processes allow it. Cannot be changed later.
    #[serde(default)]
    pub tls: bool,
    /// Maximum number of endpoints that the status lists, those with the most requests first, 1 to 100.
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

/// End of a connection that the traced container is.
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
    /// HTTP/2, except gRPC.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// gRPC.
    #[serde(rename = "gRPC")]
    Grpc,
}

/// The requests of one endpoint, received or sent by one process of a container. Counts since the trace began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Endpoint {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container that owns the socket. Absent until the kubelet has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the process, at most 15 characters, as the kernel keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Server: the container answers the requests. Client: the container sends them.
    pub side: HttpSide,
    /// HTTP/1.0, HTTP/1.1, HTTP/2 or gRPC.
    pub protocol: HttpProtocol,
    /// Request method; {other} stands for all unknown methods. Absent if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Requested host, without the ports 80 and 443. Absent if the requests named none or it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Request path without its query; parts that differ from object to object are folded, as in /users/{id}. {other} stands for all paths without a row of their own. Absent if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Number of requests.
    pub requests: i64,
    /// Number of requests by the class of their final status: 1xx, 2xx, 3xx, 4xx, 5xx, noResponse, unknown. Classes without requests are absent.
    #[serde(default, skip_serializing_if = "RequestsByClass::is_empty")]
    pub by_class: RequestsByClass,
    /// Number of gRPC calls whose own status was not 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub grpc_failed: i64,
    /// Median duration in microseconds, from the first byte of a request to the last byte of its response. Accurate to 3.2 %.
    pub p50_microseconds: i64,
    /// Duration in microseconds that 90 % of the requests did not exceed. Accurate to 3.2 %.
    pub p90_microseconds: i64,
    /// Duration in microseconds that 99 % of the requests did not exceed. Accurate to 3.2 %.
    pub p99_microseconds: i64,
    /// Duration of the longest request, in microseconds.
    pub max_microseconds: i64,
    /// Bytes of the requests, heads and bodies.
    pub request_bytes: i64,
    /// Bytes of the responses, heads and bodies.
    pub response_bytes: i64,
    /// False: some of the endpoint's requests are counted in another row, or in the totals only, because the endpoint had no row for some time, to limit the number of rows.
    pub complete: bool,
}

/// Processes of one container that speak TLS, and the reason if their requests cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct TlsProcesses {
    /// False: the requests of these processes are in no count.
    pub readable: bool,
    /// Name of the pod, in the trace's namespace.
    pub pod: String,
    /// Name of the container. Absent until the kubelet has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the processes, at most 15 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// TLS library with its version, such as OpenSSL 3.0.19. Absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The reason, if the requests cannot be read or only some of them can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// Number of these processes since the agent started.
    pub processes: i64,
}

/// Maximum number of [`TlsProcesses`] entries in a report and in a status.
pub const TLS_LISTED: usize = 16;
/// Maximum length of the reason of a [`TlsProcesses`] entry, in characters.
pub const TLS_REASON: usize = 256;

/// The HTTP requests that one node counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct HttpReport {
    /// Sums over all requests of this node.
    pub totals: HttpTotals,
    /// The part of totals that was counted by earlier runs of the node's agent. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<HttpTotals>,
    /// Names of the values of an endpoint, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
    /// The endpoints with the most requests, in descending order. Each is a JSON array of the values named by columns; null means not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<String>,
    /// Number of endpoints seen, listed or not.
    #[schemars(range(min = 0))]
    pub endpoints_total: i64,
    /// True if the list is shorter than requested, to keep the object small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Processes that speak TLS; those whose requests cannot be read come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tls: Vec<TlsProcesses>,
    /// Number of entries that tls would have without its limit of 16.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub tls_total: i64,
}

/// The HTTP requests of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct HttpStatus {
    /// Sums over all requests, including those of endpoints that are not listed.
    pub totals: HttpTotals,
    /// The endpoints with the most requests, in descending order, at most spec.http.topEndpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub top_endpoints: Vec<Endpoint>,
    /// Number of endpoints seen, listed or not.
    #[schemars(range(min = 0))]
    pub endpoints_total: i64,
    /// True if the list is shorter than requested, to keep the object small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Processes that speak TLS, at most 16 entries; those whose requests cannot be read come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tls: Vec<TlsProcesses>,
    /// Number of entries that tls would have without its limit of 16.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub tls_total: i64,
}
