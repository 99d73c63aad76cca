//! The texts of a status that `kubectl get` shows in its columns.

use std::collections::BTreeSet;

use traffictrace_crd::{Flow, HttpTotals, Losses, Summary, TrafficTraceStatus, condition_type, human};

use super::Nodes;
use super::text::shorten;

/// Maximum length of a column's text, in characters.
const COLUMN: usize = 96;
/// Maximum length of the message column, in characters.
const MESSAGE: usize = 160;

/// Makes the columns' texts. The status's other fields must be complete. `without_http` is the number of nodes that do
/// not count the requested HTTP requests.
pub(super) fn summary(status: &TrafficTraceStatus, nodes: &Nodes, without_http: usize) -> Summary {
    Summary {
        rx: human::bytes(unsigned(status.totals.rx_bytes)),
        tx: human::bytes(unsigned(status.totals.tx_bytes)),
        nodes: format!("{}/{}", status.nodes_reporting, status.nodes_matched),
        top_talker: status.top_flows.first().map(|flow| shorten(talker(flow), COLUMN)).unwrap_or_default(),
        http: status.http.as_ref().map(|http| requests(&http.totals)).unwrap_or_default(),
        lost: shorten(lost(status, nodes, without_http), COLUMN),
        message: shorten(message(status), MESSAGE),
    }
}

/// Makes the column of losses and of numbers that may be missing. It says `none` only if nothing is known to be
/// missing.
fn lost(status: &TrafficTraceStatus, nodes: &Nodes, without_http: usize) -> String {
    let mut parts = Vec::new();
    if !status.lost.is_empty() {
        parts.push(losses(&status.lost));
    }
    if let Some(http) = status.http.as_ref().and_then(|http| http_losses(&http.totals)) {
        parts.push(format!("HTTP: {http}"));
    }
    let interrupted: BTreeSet<_> = status.interruptions.iter().map(|i| i.node_name.as_deref()).collect();
    let unfinished = status.missing_nodes.iter().filter(|name| !nodes.untraced.contains(*name)).count();
    for (what, count) in [
        ("maybe: interrupted on", interrupted.len()),
        ("maybe: the last interval of", nodes.drained.len()),
        ("not traced on", nodes.refusals + nodes.untraced.len()),
        ("no last numbers of", unfinished),
        ("HTTP not counted on", without_http),
    ] {
        if count > 0 {
            parts.push(format!("{what} {}", human::number_of(count as u64, "node")));
        }
    }
    if !status.not_visible.is_empty() {
        parts.push(format!("pods not visible: {}", status.not_visible.len()));
    }
    if parts.is_empty() { "none".into() } else { parts.join("; ") }
}

/// Formats losses by reason, for example `tableFull 12, other 3`.
pub(super) fn losses(lost: &Losses) -> String {
    let each: Vec<String> = lost.iter().map(|(reason, times)| format!("{reason} {times}")).collect();
    each.join(", ")
}

/// Formats missing HTTP requests by reason, for example `unobserved: malformed 2; lost: records 3`.
pub(super) fn http_losses(totals: &HttpTotals) -> Option<String> {
    let parts = [("unobserved", &totals.unobserved), ("lost", &totals.lost)];
    let told = parts.into_iter().filter(|(_, counts)| !counts.is_empty());
    let told: Vec<String> = told.map(|(what, counts)| format!("{what}: {}", losses(counts))).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Formats the requests and failures, for example `1,234 requests, 5 5xx`.
fn requests(totals: &HttpTotals) -> String {
    let number = |count: i64| human::count(unsigned(count));
    let plural = if totals.requests == 1 { "" } else { "s" };
    let mut text = format!("{} request{plural}", number(totals.requests));
    let of = |class: &str| totals.by_class.get(class).copied().unwrap_or(0);
    for (count, what) in
        [(of("5xx"), "5xx"), (totals.grpc_failed, "gRPC failed"), (of("noResponse"), "without response")]
    {
        if count > 0 {
            text.push_str(&format!(", {} {what}", number(count)));
        }
    }
    text
}

/// Formats one flow: pod and process, peer, and bytes.
fn talker(flow: &Flow) -> String {
    let peer = flow.peer.as_deref().or(flow.remote_address.as_deref());
    let process = flow.command.as_deref().map(|command| format!("/{command}")).unwrap_or_default();
    let to = peer.map(|peer| format!(" - {peer}")).unwrap_or_default();
    format!("{}{process}{to} ({})", flow.pod, human::bytes(unsigned(flow.weight())))
}

/// Returns the most important message: why the trace failed, what is missing, or the state of the trace.
fn message(status: &TrafficTraceStatus) -> String {
    let of = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let rejected = of(condition_type::ACCEPTED).filter(|condition| condition.status == "False");
    let degraded = of(condition_type::DEGRADED).filter(|condition| condition.status == "True");
    let failed = of(condition_type::FAILED).filter(|condition| condition.status == "True");
    let complete = of(condition_type::COMPLETE).filter(|condition| condition.status == "True");
    let shown = rejected.or(failed).or(degraded).or(complete).or(of(condition_type::TRACING));
    shown.map(|condition| condition.message.clone()).unwrap_or_default()
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
