//! Traces as the API server stores them, for tests.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::client::Body;
use serde_json::{Value, json};
use traffictrace_crd::{
    Phase, TrafficTrace, TrafficTraceProfile, TrafficTraceProfileSpec, TrafficTraceSpec, TrafficTraceStatus,
    condition_reason as reason, condition_type as kind,
};
use traffictrace_profile::Graph;

use crate::cluster::Cluster;

/// A cluster whose API server responds to each path with a status code and an object.
pub(crate) fn cluster(answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> Cluster {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (status, object) = answer(&request.uri().to_string());
            let body = Body::from(object.to_string().into_bytes());
            http::Response::builder().status(status).body(body)
        }
    });
    let client = kube::Client::new(service, "shop");
    Cluster { client, url: "https://k".to_owned(), namespace: "shop".to_owned() }
}

/// The response to a user who has no permission.
pub(crate) fn forbidden() -> (u16, Value) {
    let status =
        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
    (403, status)
}

/// The profile of a node, as its agent writes it.
pub(crate) fn profile(trace_uid: &str, node: &str, graph: &Graph) -> TrafficTraceProfile {
    let spec = TrafficTraceProfileSpec {
        trace_uid: trace_uid.to_owned(),
        node_name: node.to_owned(),
        profile: STANDARD.encode(graph.pprof().unwrap()),
        ..TrafficTraceProfileSpec::default()
    };
    let mut profile = TrafficTraceProfile { metadata: ObjectMeta::default(), spec };
    profile.metadata.name = Some(format!("{trace_uid}.{node}"));
    profile
}

/// A running trace in which some numbers of every kind are missing.
pub(crate) fn running() -> TrafficTrace {
    serde_json::from_str(include_str!("running.json")).unwrap()
}

/// Returns the status of a trace.
pub(crate) fn status(trace: &mut TrafficTrace) -> &mut TrafficTraceStatus {
    trace.status.as_mut().unwrap()
}

/// The trace [`running`] after its end, with nothing missing.
pub(crate) fn completed() -> TrafficTrace {
    let mut trace = running();
    let status = status(&mut trace);
    status.phase = Some(Phase::Completed);
    status.update_time = status.end_time.clone();
    status.oldest_update_time = status.end_time.clone();
    status.nodes_matched = 2;
    status.truncated = false;
    status.lost.clear();
    status.interruptions.clear();
    status.refused_nodes.clear();
    status.skewed_clocks.clear();
    status.missing_nodes.clear();
    status.not_visible.clear();
    status.not_seen.clear();
    let http = status.http.as_mut().unwrap();
    (http.totals.unobserved, http.totals.lost) = Default::default();
    http.tls.retain(|tls| tls.readable);
    http.tls_total = 1;
    for condition in &mut status.conditions {
        let (holds, why, message) = match condition.type_.as_str() {
            kind::TRACING => ("False", reason::ENDED, "The trace is over."),
            kind::COMPLETE => {
                ("True", reason::ALL_NODES_REPORTED, "The trace is over; the numbers are final.")
            }
            kind::DEGRADED => ("False", reason::AS_ASKED, "Nothing is known to be missing."),
            _ => continue,
        };
        (condition.status, condition.reason, condition.message) =
            (holds.to_owned(), why.to_owned(), message.to_owned());
        condition.observed_generation = Some(2);
    }
    trace
}

/// A trace that was just created, before the controller has seen it.
pub(crate) fn created() -> TrafficTrace {
    let mut trace = TrafficTrace::new("new", TrafficTraceSpec::default());
    trace.metadata = running().metadata;
    trace.metadata.name = Some("new".to_owned());
    trace
}

/// A time on the day of [`running`].
pub(crate) fn at(time: &str) -> Timestamp {
    format!("2026-11-23T{time}Z").parse().unwrap()
}

/// Names that try to harm a terminal, a page, a spreadsheet or a layout.
pub(crate) const HOSTILE: [&str; 6] = [
    "\u{1b}[2J\u{1b}]0;x\u{7}\n",
    "a\u{202e}b\u{200f}\u{feff}",
    "=HYPERLINK(\"http://x\")",
    "<script>alert(1)</script>",
    "$(reboot) `reboot` '\"; reboot",
    "",
];

/// The trace [`running`], with every name that other people can choose replaced by `name`.
pub(crate) fn hostile(name: &str) -> TrafficTrace {
    let mut trace = running();
    let long = name.repeat(40);
    let status = status(&mut trace);
    for flow in &mut status.top_flows {
        (flow.pod, flow.namespace, flow.node_name) = (long.clone(), name.to_owned(), Some(name.into()));
        (flow.container, flow.command, flow.peer) =
            (Some(name.into()), Some(name.into()), Some(long.clone()));
    }
    for condition in &mut status.conditions {
        condition.message.push_str(name);
    }
    let http = status.http.as_mut().unwrap();
    for endpoint in &mut http.top_endpoints {
        (endpoint.pod, endpoint.command) = (long.clone(), Some(name.into()));
        (endpoint.method, endpoint.host, endpoint.path) =
            (Some(name.into()), Some(name.into()), Some(long.clone()));
        endpoint.by_class.insert(name.to_owned(), 1);
    }
    http.totals.unobserved.insert(name.to_owned(), 1);
    http.tls[0].pod = long.clone();
    http.tls[0].reason = Some(name.to_owned());
    status.lost.insert(name.to_owned(), 3);
    status.refused_nodes[0].message = long.clone();
    status.refused_nodes[0].node_name = name.to_owned();
    status.missing_nodes.push(name.to_owned());
    status.not_visible[0].pod = name.to_owned();
    status.interruptions[0].reason = name.to_owned();
    status.not_seen.push(name.to_owned());
    status.stacks.as_mut().unwrap().picture = long;
    trace
}

/// Panics if a text has anything that controls a terminal.
pub(crate) fn assert_harmless(text: &str) {
    let harmful = |c: char| {
        c != '\n' && c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.contains(harmful), "{text:?}");
}
