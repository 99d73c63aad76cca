//! The conditions of a status: what programs wait for, and what people should know.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use traffictrace_crd::{Phase, TrafficTraceStatus, condition_reason as reason, condition_type as kind};

use super::failure::failure;
use super::findings::findings;
use super::flow_key::clean;
use super::life::{Moment, is_over};
use super::text::{nodes, sentence, shorten};
use super::{Inputs, LAST_REPORTS_WITHIN, Tally};

/// Longest message of a condition, in characters.
const MESSAGE: usize = 1024;

/// A status condition before its transition time is set.
struct Draft {
    kind: &'static str,
    holds: bool,
    reason: String,
    message: String,
    /// The generation of the spec of which it tells.
    generation: Option<i64>,
}

/// All conditions of a status whose other fields are done. Every status has all five.
pub(super) fn conditions(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    status: &TrafficTraceStatus,
    tally: &Tally,
    moment: Moment,
) -> Vec<Condition> {
    let drafts = [
        accepted(inputs),
        tracing(inputs, status, tally, moment),
        complete(inputs, status, tally, moment),
        failed(inputs, before, status, tally),
        degraded(inputs, status, tally, moment),
    ];
    let condition = |draft: Draft| {
        let holds = if draft.holds { "True" } else { "False" };
        let same = before.conditions.iter().find(|old| old.type_ == draft.kind && old.status == holds);
        Condition {
            type_: draft.kind.into(),
            status: holds.into(),
            reason: draft.reason,
            message: shorten(draft.message, MESSAGE),
            observed_generation: draft.generation,
            // The time tells since when it holds; another message is no transition.
            last_transition_time: same.map_or(Time(moment.now), |old| old.last_transition_time.clone()),
        }
    };
    drafts.into_iter().map(condition).collect()
}

impl Draft {
    fn new(inputs: &Inputs<'_>, kind: &'static str, holds: bool, reason: &str, message: String) -> Self {
        Self { kind, holds, reason: reason.into(), message, generation: inputs.trace.metadata.generation }
    }
}

fn accepted(inputs: &Inputs<'_>) -> Draft {
    match inputs.invalid {
        None => Draft::new(inputs, kind::ACCEPTED, true, reason::VALID, "The spec is valid.".into()),
        Some(why) => Draft::new(inputs, kind::ACCEPTED, false, reason::INVALID_SPEC, sentence(why)),
    }
}

/// The rule of the definition that a trace does not start again goes by the reason Ended of this condition.
fn tracing(inputs: &Inputs<'_>, status: &TrafficTraceStatus, tally: &Tally, moment: Moment) -> Draft {
    let draft =
        |holds, reason: &str, message: String| Draft::new(inputs, kind::TRACING, holds, reason, message);
    if moment.ended {
        let message = match status.phase {
            Some(Phase::Completed) => "The trace is over.".into(),
            Some(Phase::Failed) => "The trace has failed, and nothing is traced.".into(),
            _ => awaiting(tally),
        };
        return draft(false, reason::ENDED, message);
    }
    if status.nodes_reporting > 0 {
        let (reporting, matched) = (status.nodes_reporting, status.nodes_matched);
        let mut draft = draft(
            true,
            reason::REPORTING,
            format!("{reporting} of {matched} nodes with selected pods report."),
        );
        if let Some(lowest) = inputs.reports.generations().min() {
            let current = draft.generation.unwrap_or(lowest);
            let behind = inputs.reports.generations().filter(|generation| *generation < current).count();
            if behind > 0 {
                let trace = if behind == 1 { "traces" } else { "trace" };
                draft.message.push_str(&format!(
                    " {behind} of {reporting} nodes still {trace} by the spec before its last change."
                ));
            }
            draft.generation = Some(lowest.min(current));
        }
        return draft;
    }
    if let Some((node, refused)) = inputs.reports.refusals().next() {
        let message = format!("Every node refuses, such as {node}: {}", sentence(&clean(&refused.message)));
        return draft(false, reason::REFUSED, message);
    }
    if inputs.live_pods.is_empty() {
        let message = "No pod of this namespace that is placed on a node matches the selector.".into();
        return draft(false, reason::NO_PODS, message);
    }
    let message = format!(
        "No node reports yet; {} with selected pods should. Does the agent run there?",
        inputs.live_pods.len()
    );
    draft(false, reason::WAITING_FOR_NODES, message)
}

/// The message of a trace that has ended and is not over.
fn awaiting(tally: &Tally) -> String {
    format!("The trace has ended; the last numbers of {} are awaited.", nodes(tally.unfinished.len()))
}

fn complete(inputs: &Inputs<'_>, status: &TrafficTraceStatus, tally: &Tally, moment: Moment) -> Draft {
    let draft =
        |holds, reason: &str, message: String| Draft::new(inputs, kind::COMPLETE, holds, reason, message);
    match status.phase {
        Some(Phase::Completed) => {
            let missing = tally.unfinished.len() + tally.left.len();
            if missing == 0 {
                let message = "The trace is over; the numbers are final.".into();
                return draft(true, reason::ALL_NODES_REPORTED, message);
            }
            let message = format!(
                "The trace is over; the last numbers of {missing} of {} nodes did not come within {} s.",
                status.nodes_matched,
                LAST_REPORTS_WITHIN.as_secs()
            );
            draft(true, reason::NODES_MISSING, message)
        }
        Some(Phase::Failed) => {
            draft(false, reason::FAILED, "The trace has failed: the condition Failed says why.".into())
        }
        _ if moment.ended => draft(false, reason::ENDED, awaiting(tally)),
        _ => draft(false, reason::RUNNING, "The trace has not ended yet.".into()),
    }
}

fn failed(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    status: &TrafficTraceStatus,
    tally: &Tally,
) -> Draft {
    if status.phase == Some(Phase::Failed) {
        let (reason, message) = failure(inputs, before, tally);
        return Draft::new(inputs, kind::FAILED, true, &reason, message);
    }
    Draft::new(inputs, kind::FAILED, false, reason::NOT_FAILED, "The trace has not failed.".into())
}

/// The reason is that of the first finding, the message has all of them.
fn degraded(inputs: &Inputs<'_>, status: &TrafficTraceStatus, tally: &Tally, moment: Moment) -> Draft {
    debug_assert!(!status.phase.is_some_and(is_over) || moment.ended, "a trace that is over has ended");
    let found = findings(inputs, status, tally, moment);
    match found.first() {
        None => {
            let message = "Nothing is known to be missing.".into();
            Draft::new(inputs, kind::DEGRADED, false, reason::AS_ASKED, message)
        }
        Some(first) => {
            let all: Vec<&str> = found.iter().map(|finding| finding.sentence.as_str()).collect();
            Draft::new(inputs, kind::DEGRADED, true, first.reason, all.join(" "))
        }
    }
}
