//! Lines of HTTP endpoints.

use serde::Serialize;
use traffictrace_crd::REQUEST_CLASSES;

use super::OTHER;
use crate::{Snapshot, endpoints::unlisted, names, snapshot::Endpoint};

/// One endpoint, or the sums of the endpoints that are not listed: then `command` is [`OTHER`] and `side` is absent. The
/// requests of all classes add up to `requests`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of `snapshot::Endpoint`")]
pub struct EndpointLine {
    /// Time at which the numbers were read, in UTC.
    pub time: String,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub command: Option<String>,
    pub side: Option<String>,
    pub protocol: Option<String>,
    pub method: Option<String>,
    pub host: Option<String>,
    pub path: Option<String>,
    pub requests: u64,
    #[serde(rename = "1xx")]
    pub informational: u64,
    #[serde(rename = "2xx")]
    pub success: u64,
    #[serde(rename = "3xx")]
    pub redirection: u64,
    #[serde(rename = "4xx")]
    pub client_error: u64,
    #[serde(rename = "5xx")]
    pub server_error: u64,
    pub no_response: u64,
    pub unknown: u64,
    pub grpc_failed: u64,
    pub p50_microseconds: Option<u64>,
    pub p90_microseconds: Option<u64>,
    pub p99_microseconds: Option<u64>,
    pub max_microseconds: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub incomplete: Option<bool>,
}

/// Returns the lines of a snapshot's endpoints. The last line has the sums of the endpoints that the snapshot does not
/// list. There are no lines if the snapshot has no requests.
pub fn endpoints(snapshot: &Snapshot) -> impl Iterator<Item = EndpointLine> + '_ {
    let time = names::second(snapshot.time);
    snapshot.http.iter().flat_map(move |http| {
        let other = EndpointLine {
            side: None,
            protocol: None,
            p50_microseconds: None,
            p90_microseconds: None,
            p99_microseconds: None,
            max_microseconds: None,
            incomplete: None,
            command: Some(OTHER.to_owned()),
            ..EndpointLine::of(time.clone(), &unlisted(http))
        };
        let time = time.clone();
        http.endpoints.iter().map(move |endpoint| EndpointLine::of(time.clone(), endpoint)).chain([other])
    })
}

impl EndpointLine {
    fn of(time: String, endpoint: &Endpoint) -> Self {
        let class = |name: &str| endpoint.by_class.get(name).copied().unwrap_or(0);
        let [informational, success, redirection, client_error, server_error, no_response, unknown] =
            REQUEST_CLASSES.map(class);
        let endpoint = endpoint.clone();
        Self {
            time,
            namespace: endpoint.namespace,
            pod: endpoint.pod,
            container: endpoint.container,
            command: endpoint.command,
            side: Some(endpoint.side),
            protocol: Some(endpoint.protocol),
            method: endpoint.method,
            host: endpoint.host,
            path: endpoint.path,
            requests: endpoint.requests,
            informational,
            success,
            redirection,
            client_error,
            server_error,
            no_response,
            unknown,
            grpc_failed: endpoint.grpc_failed,
            p50_microseconds: Some(endpoint.p50_microseconds),
            p90_microseconds: Some(endpoint.p90_microseconds),
            p99_microseconds: Some(endpoint.p99_microseconds),
            max_microseconds: Some(endpoint.max_microseconds),
            request_bytes: endpoint.request_bytes,
            response_bytes: endpoint.response_bytes,
            incomplete: Some(endpoint.incomplete),
        }
    }

    /// Returns the texts that come from traced processes and traffic, so that a caller can make them safe.
    pub(crate) fn names(&mut self) -> [&mut Option<String>; 9] {
        let Self { namespace, pod, container, command, side, protocol, method, host, path, .. } = self;
        [namespace, pod, container, command, side, protocol, method, host, path]
    }
}
