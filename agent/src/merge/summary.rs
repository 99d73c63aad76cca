//! The texts of a status that `kubectl get` shows in its columns.

use std::collections::BTreeSet;

use traffictrace_crd::{Flow, Losses, Summary, TrafficTraceStatus, condition_type, human};

use super::Tally;
use super::text::{named, nodes, shorten};

/// Longest text of a column, in characters.
const COLUMN: usize = 96;
/// Longest message column, in characters.
const MESSAGE: usize = 160;

/// The columns' texts, from a status whose other fields are done.
pub(super) fn summary(status: &TrafficTraceStatus, tally: &Tally) -> Summary {
    Summary {
        rx: human::bytes(unsigned(status.totals.rx_bytes)),
        tx: human::bytes(unsigned(status.totals.tx_bytes)),
        nodes: format!("{}/{}", status.nodes_reporting, status.nodes_matched),
        top_talker: status.top_flows.first().map(|flow| shorten(talker(flow), COLUMN)).unwrap_or_default(),
        lost: shorten(lost(status, tally), COLUMN),
        message: shorten(message(status), MESSAGE),
    }
}

/// What was lost, and what may be missing; `none` only if nothing is known to be.
fn lost(status: &TrafficTraceStatus, tally: &Tally) -> String {
    let mut known = Vec::new();
    if !status.lost.is_empty() {
        known.push(losses(&status.lost));
    }
    if tally.refusals > 0 {
        known.push(format!("not traced on {}", nodes(tally.refusals)));
    }
    let missing = status.phase.map_or(0, |phase| tally.missing(phase).len());
    if missing > 0 {
        known.push(format!("last numbers of {} missing", nodes(missing)));
    }
    if !status.not_visible.is_empty() {
        known.push(format!("pods not seen: {}", status.not_visible.len()));
    }
    let interrupted: BTreeSet<String> =
        status.interruptions.iter().filter_map(|interruption| interruption.node_name.clone()).collect();
    if !interrupted.is_empty() {
        known.push(format!("maybe: interrupted on {}", named(&interrupted)));
    }
    if known.is_empty() { "none".into() } else { known.join("; ") }
}

/// Losses by reason as a text: `tableFull 12, other 3`.
pub(super) fn losses(lost: &Losses) -> String {
    let each: Vec<String> = lost.iter().map(|(reason, times)| format!("{reason} {times}")).collect();
    each.join(", ")
}

/// One flow as a text: who, with whom, how much.
fn talker(flow: &Flow) -> String {
    let peer = flow.peer.as_deref().or(flow.remote_address.as_deref());
    let process = flow.command.as_deref().map(|command| format!("/{command}")).unwrap_or_default();
    let to = peer.map(|peer| format!(" - {peer}")).unwrap_or_default();
    format!("{}{process}{to} ({})", flow.pod, human::bytes(unsigned(flow.weight())))
}

/// The most important message: why the trace failed, what is missing, or where the trace is in its life.
fn message(status: &TrafficTraceStatus) -> String {
    let of = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let failed = of(condition_type::FAILED).filter(|condition| condition.status == "True");
    let rejected = of(condition_type::ACCEPTED).filter(|condition| condition.status == "False");
    let degraded = of(condition_type::DEGRADED).filter(|condition| condition.status == "True");
    let complete = of(condition_type::COMPLETE).filter(|condition| condition.status == "True");
    let shown = failed.or(rejected).or(degraded).or(complete).or(of(condition_type::TRACING));
    shown.map(|condition| condition.message.clone()).unwrap_or_default()
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
