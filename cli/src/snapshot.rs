//! Conversion of a trace's status into a snapshot, from which all output is made.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{ResourceExt as _, core::Selector};
use traffictrace_crd::{
    Endpoint, Flow, HttpSide, HttpStatus, Phase, StacksStatus, TrafficTrace, TrafficTraceReportSpec,
    TrafficTraceStatus, condition_type as kind,
};
use traffictrace_view::snapshot::{self as view, Seconds, Snapshot, State};

/// Converts the status of a trace. The rates of the totals are sums over the listed flows only, since a status has no others.
///
/// Only nodes with a notice are named; [`add_nodes`] adds the others.
pub(crate) fn of(trace: &TrafficTrace) -> Snapshot {
    let nothing = TrafficTraceStatus::default();
    let status = trace.status.as_ref().unwrap_or(&nothing);
    let flows: Vec<view::Flow> = status.top_flows.iter().map(flow).collect();
    let sum = |of: fn(&view::Flow) -> u64| flows.iter().map(of).fold(0, u64::saturating_add);
    let state = state(status.phase);
    let newest = status.update_time.as_ref().or(trace.metadata.creation_timestamp.as_ref());
    let newest = newest.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let oldest = time(status.oldest_update_time.as_ref()).filter(|oldest| *oldest < newest);
    Snapshot {
        time: newest,
        oldest_time: oldest.filter(|_| state == State::Live),
        subject: subject(trace),
        state,
        interval_seconds: interval(trace, status),
        start_time: time(status.start_time.as_ref()),
        end_time: time(status.end_time.as_ref()),
        totals: view::Totals {
            rx_bytes: unsigned(status.totals.rx_bytes),
            tx_bytes: unsigned(status.totals.tx_bytes),
            rx_bytes_per_second: sum(|flow| flow.rx_bytes_per_second),
            tx_bytes_per_second: sum(|flow| flow.tx_bytes_per_second),
            connections: unsigned(status.totals.connections),
            connections_open: unsigned(status.totals.connections_open),
            connect_failures: unsigned(status.totals.connect_failures),
            retransmits: unsigned(status.totals.retransmits),
            unattributed_bytes: Some(unsigned(status.totals.unattributed_bytes)),
            unknown_direction_bytes: Some(unsigned(status.totals.unknown_direction_bytes)),
        },
        flows_total: unsigned(status.flows_total).max(flows.len() as u64),
        flows,
        not_seen: status.not_seen.clone(),
        lost: counts(&status.lost),
        pods: Some(unsigned(status.pods_matched)),
        containers: Some(unsigned(status.containers_matched)),
        nodes_matched: Some(unsigned(status.nodes_matched)),
        nodes_reporting: Some(unsigned(status.nodes_reporting)),
        nodes: nodes(status),
        notices: notices(trace, status),
        http: status.http.as_ref().map(http),
        functions: status.stacks.as_ref().map(functions),
        ..Snapshot::default()
    }
}

/// Adds every node that has reported, with the time of its numbers.
pub(crate) fn add_nodes(snapshot: &mut Snapshot, reports: &[TrafficTraceReportSpec]) {
    for report in reports.iter().filter(|report| report.refused.is_none()) {
        let update_time = time(report.update_time.as_ref());
        match snapshot.nodes.iter_mut().find(|node| node.name == report.node_name) {
            Some(node) => node.update_time = update_time,
            None => {
                let notice = (!report.not_enforced.is_empty()).then(|| report.not_enforced.join(" "));
                snapshot.nodes.push(view::Node { name: report.node_name.clone(), update_time, notice });
            }
        }
    }
    snapshot.nodes.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Describes the selected pods: `app=web,tier in (a,b)`, or `all pods`.
pub(crate) fn selected(selector: &LabelSelector) -> String {
    match Selector::try_from(selector.clone()) {
        Ok(selector) if selector.selects_all() => "all pods".to_owned(),
        Ok(selector) => selector.to_string(),
        // Unreachable: the definition accepts no other operators.
        Err(error) => error.to_string(),
    }
}

/// Returns the condition of a type, if it is true.
pub(crate) fn holds<'a>(status: &'a TrafficTraceStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

fn subject(trace: &TrafficTrace) -> String {
    let namespace = trace.namespace().unwrap_or_default();
    format!("trace {namespace}/{} ({})", trace.name_any(), selected(&trace.spec.selector))
}

fn state(phase: Option<Phase>) -> State {
    match phase {
        None | Some(Phase::Pending) => State::Waiting,
        Some(Phase::Running) => State::Live,
        Some(Phase::Completed) => State::Completed,
        Some(Phase::Failed) => State::Failed,
    }
}

fn interval(trace: &TrafficTrace, status: &TrafficTraceStatus) -> Seconds {
    let asked = || trace.spec.interval.get().map(|interval| interval.as_secs()).unwrap_or_default();
    let seconds = status.report_interval_seconds.map_or_else(asked, unsigned);
    Seconds(u32::try_from(seconds).unwrap_or(u32::MAX).into())
}

fn flow(flow: &Flow) -> view::Flow {
    let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<IpAddr>().ok());
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
    let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    view::Flow {
        namespace: Some(flow.namespace.clone()),
        pod: Some(flow.pod.clone()),
        node: flow.node_name.clone(),
        container: flow.container.clone(),
        caller_container: flow.caller_container.clone(),
        pid: small(flow.pid),
        container_pid: small(flow.container_pid),
        command: flow.command.clone(),
        state: flow.state.unwrap_or_default(),
        local_address: address(&flow.local_address),
        local_port: port(flow.local_port),
        remote_address: address(&flow.remote_address),
        remote_port: port(flow.remote_port),
        peer: flow.peer.clone(),
        local_services: flow.local_services.clone(),
        rx_bytes: unsigned(flow.rx_bytes),
        tx_bytes: unsigned(flow.tx_bytes),
        rx_calls: unsigned(flow.rx_calls),
        tx_calls: unsigned(flow.tx_calls),
        rx_bytes_per_second: unsigned(flow.rx_bytes_per_second),
        tx_bytes_per_second: unsigned(flow.tx_bytes_per_second),
        connections: unsigned(flow.connections),
        connections_open: unsigned(flow.connections_open),
        connect_failures: unsigned(flow.connect_failures),
        retransmits: unsigned(flow.retransmits),
        rtt_microseconds: small(flow.rtt_microseconds),
        ..view::Flow::new(flow.protocol, flow.direction)
    }
}

fn http(http: &HttpStatus) -> view::Http {
    let totals = &http.totals;
    view::Http {
        endpoints: http.top_endpoints.iter().map(endpoint).collect(),
        endpoints_total: Some(unsigned(http.endpoints_total)),
        requests: unsigned(totals.requests),
        by_class: counts(&totals.by_class),
        grpc_failed: unsigned(totals.grpc_failed),
        request_bytes: unsigned(totals.request_bytes),
        response_bytes: unsigned(totals.response_bytes),
        unobserved: counts(&totals.unobserved),
        lost: counts(&totals.lost),
        tls: http
            .tls
            .iter()
            .map(|tls| view::TlsProcesses {
                readable: tls.readable,
                pod: tls.pod.clone(),
                container: tls.container.clone(),
                command: tls.command.clone(),
                library: tls.library.clone(),
                reason: tls.reason.clone(),
                processes: unsigned(tls.processes),
            })
            .collect(),
    }
}

fn endpoint(endpoint: &Endpoint) -> view::Endpoint {
    let side = match endpoint.side {
        HttpSide::Server => "Server",
        HttpSide::Client => "Client",
    };
    // The protocol's name is the one that the definition gives it in JSON.
    let protocol = serde_json::to_value(endpoint.protocol).ok();
    let protocol = protocol.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
    view::Endpoint {
        namespace: Some(endpoint.namespace.clone()),
        pod: Some(endpoint.pod.clone()),
        container: endpoint.container.clone(),
        command: endpoint.command.clone(),
        side: side.to_owned(),
        protocol: protocol.to_owned(),
        method: endpoint.method.clone(),
        host: endpoint.host.clone(),
        path: endpoint.path.clone(),
        requests: unsigned(endpoint.requests),
        by_class: counts(&endpoint.by_class),
        grpc_failed: unsigned(endpoint.grpc_failed),
        p50_microseconds: unsigned(endpoint.p50_microseconds),
        p90_microseconds: unsigned(endpoint.p90_microseconds),
        p99_microseconds: unsigned(endpoint.p99_microseconds),
        max_microseconds: unsigned(endpoint.max_microseconds),
        request_bytes: unsigned(endpoint.request_bytes),
        response_bytes: unsigned(endpoint.response_bytes),
        incomplete: !endpoint.complete,
    }
}

/// Converts the sums of the stacks. Functions are only in the profiles.
fn functions(stacks: &StacksStatus) -> view::Functions {
    view::Functions {
        functions: Vec::new(),
        notice: None,
        bytes: unsigned(stacks.totals.bytes),
        nodes: Some(unsigned(stacks.nodes)),
        stacks: unsigned(stacks.totals.stacks),
        bytes_at_own_call: unsigned(stacks.totals.bytes_at_own_call),
        bytes_without_stack: unsigned(stacks.totals.bytes_without_stack),
    }
}

/// Returns the nodes that the status names: those that do not trace, and those whose numbers are missing.
fn nodes(status: &TrafficTraceStatus) -> Vec<view::Node> {
    let node = |name: &str, notice: String| view::Node {
        name: name.to_owned(),
        update_time: None,
        notice: Some(notice),
    };
    let refused = status.refused_nodes.iter();
    let refused = refused.map(|refused| {
        node(&refused.node_name, format!("does not trace ({}): {}", refused.reason, refused.message))
    });
    let is_refused = |name: &str| status.refused_nodes.iter().any(|refused| refused.node_name == name);
    let missing = status.missing_nodes.iter().filter(|name| !is_refused(name));
    let missing = missing.map(|name| node(name, "numbers from there are missing".to_owned()));
    let mut nodes: Vec<view::Node> = refused.chain(missing).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

/// Returns notices for the user, the most important first. Losses are not among them, since they are shown as
/// numbers.
fn notices(trace: &TrafficTrace, status: &TrafficTraceStatus) -> Vec<String> {
    let mut notices = Vec::new();
    let rejected = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind::ACCEPTED && condition.status == "False");
    let failed = holds(status, kind::FAILED);
    // If the trace failed because its spec is not valid, that is the reason to show.
    let first = failed.or(rejected.filter(|_| status.phase != Some(Phase::Running)));
    notices.extend(first.map(|condition| condition.message.clone()));
    let tracing = status.conditions.iter().find(|condition| condition.type_ == kind::TRACING);
    let is_behind = tracing.is_some_and(|tracing| tracing.observed_generation < trace.metadata.generation);
    if status.phase.is_none_or(|phase| phase == Phase::Pending) || is_behind && failed.is_none() {
        notices.extend(tracing.map(|condition| condition.message.clone()));
    }
    if let Some(degraded) = holds(status, kind::DEGRADED) {
        let sentences = sentences(&degraded.message);
        notices.extend(sentences.filter(|sentence| !has_a_place(sentence)).map(str::to_owned));
    }
    if let Some(changed) = &status.filters_changed_time {
        let changed = changed.0;
        notices
            .push(format!("The filters were changed at {changed}: what was counted before stays counted."));
    }
    let http_truncated = status.http.as_ref().is_some_and(|http| http.truncated);
    for (what, is_truncated) in [("flows", status.truncated), ("HTTP endpoints", http_truncated)] {
        if is_truncated {
            notices.push(format!(
                "The status lists fewer {what} than were asked for, so that it stays small; its totals are exact."
            ));
        }
    }
    notices
}

/// Splits a message into sentences, at a full stop before a capital letter.
pub(crate) fn sentences(message: &str) -> impl Iterator<Item = &str> {
    let mut rest = message.trim();
    std::iter::from_fn(move || {
        let ends = rest.match_indices(". ").map(|(at, _)| at + 1);
        let mut ends = ends.filter(|at| rest[at + 1..].starts_with(char::is_uppercase));
        let end = ends.next().unwrap_or(rest.len());
        let (sentence, after) = rest.split_at(end);
        rest = after.trim_start();
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// Returns true if a sentence of the condition Degraded is about losses or nodes that refuse, which every view shows
/// elsewhere.
fn has_a_place(sentence: &str) -> bool {
    let begins = ["Lost: ", "HTTP requests are missing from the counts", "Refused by "];
    begins.iter().any(|begin| sentence.starts_with(begin))
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

fn counts(counts: &BTreeMap<String, i64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| (name.clone(), unsigned(*count))).collect()
}

/// Converts a count, which is never negative.
fn unsigned(count: impl TryInto<u64>) -> u64 {
    count.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests;
