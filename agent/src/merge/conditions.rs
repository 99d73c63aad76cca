//! The conditions of a status, for programs that wait and for people.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use traffictrace_crd::{Phase, TrafficTraceStatus, condition_reason as reason, condition_type as kind};

use super::findings::{Finding, listed};
use super::life::Times;
use super::text::{shorten, wanted_pod};
use super::{Inputs, LAST_REPORTS_WITHIN, Nodes, life};

/// Maximum length of a condition's message, in characters.
const MESSAGE: usize = 1024;

/// A status condition before its transition time is set.
struct Draft {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
    generation: Option<i64>,
}

/// Makes all conditions of a status. Its other fields must be complete.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    status: &TrafficTraceStatus,
    times: Option<Times>,
    nodes: &Nodes,
    findings: &[Finding],
    now: Timestamp,
) -> Vec<Condition> {
    let generation = inputs.trace.metadata.generation;
    let ended = times.is_some_and(|times| inputs.now >= times.end);
    let draft = |kind, (holds, reason, message)| Draft { kind, holds, reason, message, generation };
    let (lowest, behind) = inputs.reports.behind(generation.unwrap_or(0));
    let tracing = Draft {
        generation: match lowest {
            Some(lowest) if !status.phase.is_some_and(life::is_over) => {
                generation.map(|newest| newest.min(lowest))
            }
            _ => generation,
        },
        ..draft(kind::TRACING, tracing(inputs, status, nodes, behind, ended))
    };
    [
        draft(kind::ACCEPTED, accepted(inputs)),
        tracing,
        draft(kind::COMPLETE, complete(status, nodes, ended)),
        draft(kind::FAILED, failed(inputs, before, status, nodes)),
        draft(kind::DEGRADED, degraded(findings)),
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
            observed_generation: draft.generation,
            // The time changes only with the condition's status; a new message is no transition.
            last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    })
    .collect()
}

/// Status, reason and message of a condition.
type Told = (bool, &'static str, String);

fn accepted(inputs: &Inputs<'_>) -> Told {
    match inputs.invalid {
        None => (true, reason::VALID, "The spec is valid.".into()),
        Some(why) => (false, reason::INVALID_SPEC, why.into()),
    }
}

/// Makes the condition Tracing. `behind` is the number of nodes that still trace by an older spec.
fn tracing(
    inputs: &Inputs<'_>,
    status: &TrafficTraceStatus,
    nodes: &Nodes,
    behind: usize,
    ended: bool,
) -> Told {
    if status.phase.is_some_and(life::is_over) {
        return (false, reason::ENDED, "The trace is over.".into());
    }
    // Once this reason is set, a CEL rule of the definition refuses changes of the spec: the trace cannot begin again,
    // even while its last reports are awaited.
    if ended {
        return (false, reason::ENDED, awaiting(nodes));
    }
    if nodes.reporting > 0 {
        let mut message =
            format!("{} of {} nodes with selected pods report.", nodes.reporting, nodes.matched);
        if behind > 0 {
            message.push_str(&format!(" {behind} of them still trace by the spec before its last change."));
        }
        return (true, reason::REPORTING, message);
    }
    if let Some((node, refused)) = inputs.reports.refusals().next() {
        let message = format!("Every node refuses, such as {node}: {}", refused.message);
        return (false, reason::REFUSED, message);
    }
    if inputs.live_pods.is_empty() {
        let message = format!(
            "No pod of this namespace that is placed on a node {}.",
            wanted_pod(&inputs.trace.spec.containers, false)
        );
        return (false, reason::NO_PODS, message);
    }
    let names = inputs.live_pods.keys().cloned().collect();
    let message = format!(
        "The first report of {} is awaited; if none comes, see whether the agent's pods run there.",
        listed(&names)
    );
    (false, reason::WAITING_FOR_NODES, message)
}

/// Makes the message of a trace that has ended and waits for last reports.
fn awaiting(nodes: &Nodes) -> String {
    format!("The trace has ended; the last numbers of {} are awaited.", listed(&nodes.awaited))
}

fn complete(status: &TrafficTraceStatus, nodes: &Nodes, ended: bool) -> Told {
    match status.phase {
        Some(Phase::Completed) if !status.missing_nodes.is_empty() => {
            let missing = nodes.all_missing(Phase::Completed).len();
            let message = format!(
                "The trace is over; {missing} of {} nodes did not send their last numbers within {} s.",
                status.nodes_matched,
                LAST_REPORTS_WITHIN.as_secs()
            );
            (true, reason::NODES_MISSING, message)
        }
        Some(Phase::Completed) => {
            (true, reason::ALL_NODES_REPORTED, "The trace is over; the numbers are final.".into())
        }
        Some(Phase::Failed) => {
            (false, reason::FAILED, "The trace could not be done; the condition Failed says why.".into())
        }
        _ if ended => (false, reason::ENDED, awaiting(nodes)),
        _ => (false, reason::RUNNING, "The trace has not ended yet.".into()),
    }
}

fn failed(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    status: &TrafficTraceStatus,
    nodes: &Nodes,
) -> Told {
    if status.phase != Some(Phase::Failed) {
        return (false, reason::NOT_FAILED, "The trace has not failed.".into());
    }
    // The reason that was shown first stays: later the reports and pods from which it followed may be gone.
    let told = before.conditions.iter().find(|old| old.type_ == kind::FAILED && old.status == "True");
    let (reason, message) = life::failure(inputs, nodes);
    match told {
        Some(told) if told.reason != reason => {
            let known = [reason::INVALID_SPEC, reason::REFUSED_BY_NODES, reason::NO_PODS, reason::NO_AGENT];
            let reason = known.into_iter().find(|known| *known == told.reason).unwrap_or(reason);
            (true, reason, told.message.clone())
        }
        _ => (true, reason, message),
    }
}

fn degraded(findings: &[Finding]) -> Told {
    match findings.first() {
        None => (false, reason::AS_ASKED, "Nothing is known to be missing.".into()),
        Some(first) => {
            let all: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
            (true, first.reason, all.join(" "))
        }
    }
}
