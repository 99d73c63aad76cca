//! Findings that make a trace Degraded: missing numbers, and parts of the spec that are not applied.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{Interruption, Phase, TrafficTraceStatus, condition_reason as reason};

use super::life::{Times, is_over};
use super::text::{and_more, when};
use super::{Inputs, Nodes};

/// Number of intervals for which a node may be silent before that is reported. A node writes at least once in three.
const SILENT_INTERVALS: u32 = 4;
/// Time that is added to [`SILENT_INTERVALS`], since a report takes some time until it is seen here.
const SILENT_MORE: Duration = Duration::from_secs(30);

/// A problem with the numbers: a reason for programs, and a sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Returns all known problems, the worst first.
pub(super) fn findings(
    inputs: &Inputs<'_>,
    status: &TrafficTraceStatus,
    times: Option<Times>,
    nodes: &Nodes,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |reason, message| found.push(Finding { reason, message });
    if let Some(why) = inputs.invalid.filter(|_| status.phase == Some(Phase::Running)) {
        add(reason::INVALID_SPEC, format!("The last change of the spec is not in force: {why}."));
    }
    if times.is_some_and(|times| times.changed_too_late) {
        let message =
            "The duration was changed after the trace had ended, which changes nothing: create a new trace.";
        add(reason::NOT_ENFORCED, message.to_owned());
    }
    if let Some((node, refused)) = inputs.reports.refusals().next() {
        let others = and_more(inputs.reports.refusals().count() - 1);
        add(reason::REFUSED_BY_NODES, format!("Refused by {node}{others}: {}", sentence(&refused.message)));
    }
    if !nodes.left.is_empty() {
        let names = listed(&nodes.left);
        let message = format!(
            "The last numbers of {names} are missing: the node left the cluster while pods of the trace ran on it."
        );
        add(reason::NODES_MISSING, message);
    }
    if !nodes.untraced.is_empty() {
        let names = listed(&nodes.untraced);
        let message = format!(
            "No agent has reported from {names}, and the traffic of selected pods there is not counted: see whether \
             the node is Ready and the agent's pod runs there."
        );
        add(reason::NODES_MISSING, message);
    }
    let unfinished: BTreeSet<String> = nodes.awaited.difference(&nodes.untraced).cloned().collect();
    if status.phase.is_some_and(is_over) && !unfinished.is_empty() {
        let names = listed(&unfinished);
        let message = format!("The last numbers of {names} are missing: no agent has sent them from there.");
        add(reason::NODES_MISSING, message);
    }
    if !nodes.drained.is_empty() {
        add(reason::NODES_LEFT, drained(inputs, nodes));
    }
    if let Some(silent) = silent(inputs, status) {
        add(reason::NODES_SILENT, silent);
    }
    if !status.lost.is_empty() {
        add(reason::LOST, format!("Lost: {}.", super::summary::losses(&status.lost)));
    }
    if let Some(lost) = status.http.as_ref().and_then(|http| super::summary::http_losses(&http.totals)) {
        let message = format!(
            "HTTP requests are missing from the counts ({lost}): where many were lost, trace fewer pods or only some ports."
        );
        add(reason::LOST, message);
    }
    if let Some(first) = status.not_visible.first() {
        let others = and_more(status.not_visible.len() - 1);
        let message = format!("The traffic of pod {}{others} cannot be seen: {}.", first.pod, first.reason);
        add(reason::NOT_VISIBLE, message);
    }
    if let Some(message) = inside_tls(inputs, status) {
        add(reason::NOT_VISIBLE, message);
    }
    if let Some(last) = status.interruptions.last() {
        add(reason::INTERRUPTED, interrupted(last, status.interruptions.len()));
    }
    for (part, nodes) in inputs.reports.not_enforced() {
        add(reason::NOT_ENFORCED, format!("Not done on {}: {}", listed(&nodes), sentence(part)));
    }
    if let Some(first) = status.skewed_clocks.first() {
        let others = and_more(status.skewed_clocks.len() - 1);
        let (by, side) = (
            first.offset_seconds.unsigned_abs(),
            if first.offset_seconds < 0 { "behind" } else { "ahead of" },
        );
        let message = format!(
            "The clock of {}{others} is {by} s {side} the API server's, which the trace went by: set it right (NTP).",
            first.node_name
        );
        add(reason::CLOCK_SKEW, message);
    }
    found
}

/// Makes the message about processes whose TLS is asked for but cannot be read, if there are any.
fn inside_tls(inputs: &Inputs<'_>, status: &TrafficTraceStatus) -> Option<String> {
    inputs.trace.spec.http.as_ref().filter(|http| http.tls)?;
    let mut unread = status.http.as_ref()?.tls.iter().filter(|entry| !entry.readable);
    let first = unread.next()?;
    let command = first.command.as_deref().unwrap_or("a process");
    let others = and_more(unread.count());
    let why = first.reason.as_deref().unwrap_or("its library is not known");
    let pod = &first.pod;
    Some(format!(
        "The requests inside the TLS of {command} in pod {pod}{others} cannot be read: {}",
        sentence(why)
    ))
}

/// Makes the message about nodes whose report is overdue, if there are any.
fn silent(inputs: &Inputs<'_>, status: &TrafficTraceStatus) -> Option<String> {
    if status.phase != Some(Phase::Running) || status.end_time.as_ref().is_some_and(|end| inputs.now >= end.0)
    {
        return None;
    }
    let longest = silent_after(inputs);
    let names = inputs.reports.silent_since(inputs.now.checked_sub(longest).ok()?);
    if names.is_empty() {
        return None;
    }
    let names = listed(&names.into_iter().map(str::to_owned).collect());
    Some(format!(
        "Nothing new came from {names} for more than {} s: see whether the node is Ready and the agent runs there.",
        longest.as_secs()
    ))
}

/// Returns the earliest time at which a node will count as silent, if it sends no further report.
pub(super) fn next_silence(inputs: &Inputs<'_>, status: &TrafficTraceStatus) -> Option<Timestamp> {
    let longest = silent_after(inputs);
    let oldest = inputs.reports.oldest_since(inputs.now.checked_sub(longest).ok()?)?;
    let moment = oldest.checked_add(longest).ok()?.checked_add(Duration::from_secs(1)).ok()?;
    Some(moment).filter(|_| status.phase == Some(Phase::Running))
}

fn silent_after(inputs: &Inputs<'_>) -> Duration {
    inputs.report_interval * SILENT_INTERVALS + SILENT_MORE
}

/// Makes the message about nodes that were removed properly, but before their agents had reported the last bytes.
fn drained(inputs: &Inputs<'_>, nodes: &Nodes) -> String {
    let names = listed(&nodes.drained);
    let since = nodes.drained.iter().filter_map(|node| inputs.reports.update_time_of(node)).min();
    let since = since.map(|time| format!(" after {time}")).unwrap_or_default();
    format!(
        "The selected pods had gone from {names} when the node left the cluster, but its agent had not reported that: \
         bytes that they moved in the last interval{since} may be missing."
    )
}

fn interrupted(last: &Interruption, count: usize) -> String {
    let node = last.node_name.as_deref().unwrap_or("a node");
    let earlier = match count {
        1 => String::new(),
        more => format!("; {} more before", more - 1),
    };
    let (when, reason) = (when(last), &last.reason);
    format!("Tracing on {node} was interrupted, and bytes {when} may be missing ({reason}{earlier}).")
}

/// Adds a full stop to a text, unless it ends with a full stop or a parenthesis.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', ')']) { text.to_owned() } else { format!("{text}.") }
}

/// Lists the first two names of a set, and the number of the others.
pub(super) fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(2).map(String::as_str).collect();
    match names.len().saturating_sub(first.len()) {
        0 => first.join(" and "),
        more => format!("{}{}", first.join(", "), and_more(more)),
    }
}
