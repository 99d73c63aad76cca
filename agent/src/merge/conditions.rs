//! The conditions of a status: what programs wait for, and what people should know.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use traffictrace_crd::{Phase, TrafficTraceStatus, condition_reason as reason, condition_type as kind};

use super::{Inputs, LAST_REPORTS_WITHIN, Nodes, life};

/// Longest message of a condition, in characters.
const MESSAGE: usize = 256;

/// One condition before it has a time.
struct Draft {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// All conditions of a status whose other fields are done.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    status: &TrafficTraceStatus,
    nodes: &Nodes,
    now: Timestamp,
) -> Vec<Condition> {
    let generation = inputs.trace.metadata.generation;
    [
        accepted(inputs),
        tracing(inputs, status, nodes),
        complete(status, nodes),
        degraded(inputs, status, nodes),
    ]
    .into_iter()
    .map(|draft| {
        let holds = if draft.holds { "True" } else { "False" };
        let same = before.conditions.iter().find(|old| old.type_ == draft.kind && old.status == holds);
        Condition {
            type_: draft.kind.into(),
            status: holds.into(),
            reason: draft.reason.into(),
            message: shorten(draft.message, MESSAGE),
            observed_generation: generation,
            // The time tells since when it holds; another message is no transition.
            last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    })
    .collect()
}

fn accepted(inputs: &Inputs<'_>) -> Draft {
    match inputs.invalid {
        None => Draft {
            kind: kind::ACCEPTED,
            holds: true,
            reason: reason::VALID,
            message: "The spec is valid.".into(),
        },
        Some(why) => {
            Draft { kind: kind::ACCEPTED, holds: false, reason: reason::INVALID_SPEC, message: why.into() }
        }
    }
}

fn tracing(inputs: &Inputs<'_>, status: &TrafficTraceStatus, nodes: &Nodes) -> Draft {
    let draft = |holds, reason, message| Draft { kind: kind::TRACING, holds, reason, message };
    if status.phase.is_some_and(life::is_over) {
        return draft(false, reason::ENDED, "The trace is over.".into());
    }
    if nodes.reporting > 0 {
        let message = format!("{} of {} nodes with selected pods report.", nodes.reporting, nodes.matched);
        return draft(true, reason::REPORTING, message);
    }
    if let Some((node, refused)) = inputs.reports.refusals().next() {
        let message = format!("Every node refuses, such as {node}: {}", refused.message);
        return draft(false, reason::REFUSED, message);
    }
    if nodes.matched == 0 {
        let message = "No pod of this namespace that is placed on a node matches the selector.".into();
        return draft(false, reason::NO_PODS, message);
    }
    let message = format!(
        "No node reports yet; {} with selected pods should. Does the agent run there?",
        nodes.matched
    );
    draft(false, reason::WAITING_FOR_NODES, message)
}

fn complete(status: &TrafficTraceStatus, nodes: &Nodes) -> Draft {
    let draft = |holds, reason, message: String| Draft { kind: kind::COMPLETE, holds, reason, message };
    match status.phase {
        Some(Phase::Completed) if !status.missing_nodes.is_empty() => {
            let message = format!(
                "The trace is over; {} of {} nodes did not send their last numbers within {} s.",
                nodes.unfinished.len(),
                status.nodes_matched,
                LAST_REPORTS_WITHIN.as_secs()
            );
            draft(true, reason::NODES_MISSING, message)
        }
        Some(Phase::Completed) => {
            draft(true, reason::ALL_NODES_REPORTED, "The trace is over; the numbers are final.".into())
        }
        Some(Phase::Failed) => draft(true, reason::ENDED, "The trace could not be done.".into()),
        _ => draft(false, reason::RUNNING, "The trace has not ended yet.".into()),
    }
}

/// What is missing from the numbers, the worst first; all of it is in the message.
fn degraded(inputs: &Inputs<'_>, status: &TrafficTraceStatus, nodes: &Nodes) -> Draft {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    if let Some(why) = inputs.invalid.filter(|_| status.phase == Some(Phase::Running)) {
        found.push((reason::INVALID_SPEC, format!("the last change of the spec is not in force: {why}")));
    }
    let refusals: Vec<_> = inputs.reports.refusals().collect();
    if let Some((node, refused)) = refusals.first() {
        let others =
            if refusals.len() > 1 { format!(" and {} more", refusals.len() - 1) } else { String::new() };
        found.push((reason::REFUSED_BY_NODES, format!("{node}{others} refused: {}", refused.message)));
    }
    if !status.missing_nodes.is_empty() {
        let names = listed(&nodes.unfinished);
        found.push((reason::NODES_MISSING, format!("the last numbers of {names} are missing")));
    }
    if !status.lost.is_empty() {
        found.push((reason::LOST, format!("lost: {}", super::summary::losses(&status.lost))));
    }
    if let Some(first) = status.not_visible.first() {
        let more = if status.not_visible.len() > 1 { " and others" } else { "" };
        found
            .push((reason::NOT_VISIBLE, format!("pod {}{more} cannot be seen: {}", first.pod, first.reason)));
    }
    if let Some(last) = status.interruptions.last() {
        let node = last.node_name.as_deref().unwrap_or("a node");
        found.push((
            reason::INTERRUPTED,
            format!(
                "tracing on {node} was interrupted until {} ({}); bytes of that time may be missing",
                last.time.0, last.reason
            ),
        ));
    }
    let not_enforced: Vec<&str> = inputs.reports.not_enforced().into_iter().collect();
    if !not_enforced.is_empty() {
        found.push((reason::NOT_ENFORCED, format!("not enforced: {}", not_enforced.join(", "))));
    }
    match found.first() {
        None => Draft {
            kind: kind::DEGRADED,
            holds: false,
            reason: reason::AS_ASKED,
            message: "Nothing is known to be missing.".into(),
        },
        Some((reason, _)) => {
            let all: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
            let mut message = all.join("; ");
            if let Some(first) = message.get(..1).map(str::to_uppercase) {
                message.replace_range(..1, &first);
            }
            message.push('.');
            Draft { kind: kind::DEGRADED, holds: true, reason, message }
        }
    }
}

/// The first names of a set, and how many more there are.
fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(2).map(String::as_str).collect();
    match names.len().saturating_sub(first.len()) {
        0 => first.join(" and "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A text of at most so many characters, cut with an ellipsis.
pub(super) fn shorten(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let mut short: String = text.chars().take(most.saturating_sub(3)).collect();
    short.push_str("...");
    short
}
