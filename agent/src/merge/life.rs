//! The life of a trace: its beginning, its end and its phase.

use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{Phase, TrafficTrace, TrafficTraceStatus, condition_reason as reason, human};

use super::text::{and_more, wanted_pod};
use super::{Inputs, NodeReports, Nodes};

/// Time after a trace's end for which the last reports of its nodes are awaited.
pub(crate) const LAST_REPORTS_WITHIN: Duration = Duration::from_secs(30);

/// Age above which a trace begins now instead of at its creation, if the controller sees it for the first time and no
/// node has traced it.
const SEEN_LATE: Duration = Duration::from_secs(60);

/// The beginning and the end of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// Set if the spec was changed after the end and asks for another end, which is no longer possible.
    pub(crate) changed_too_late: bool,
}

impl Times {
    /// Returns the times of a trace, or `None` if its duration cannot be read.
    ///
    /// A trace begins when it is created: agents begin then, and know the end without the controller. Only a trace that
    /// was created long ago and that no node has traced (because nothing was installed) begins now.
    pub(crate) fn of(trace: &TrafficTrace, reports: &NodeReports, now: Timestamp) -> Option<Self> {
        let before = trace.status.as_ref();
        let shown =
            before.and_then(|status| Some((status.start_time.as_ref()?.0, status.end_time.as_ref()?.0)));
        let over = before.is_some_and(|status| status.phase.is_some_and(is_over));
        let asked_end = |start: Timestamp| start.checked_add(trace.spec.duration.get().ok()?).ok();
        // An end that has passed is final, because agents have stopped.
        if let Some((start, end)) = shown.filter(|(_, end)| over || now >= *end) {
            return Some(Self { start, end, changed_too_late: asked_end(start) != Some(end) });
        }
        if over {
            return None;
        }
        let created = trace.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let start = shown.map(|(start, _)| start).unwrap_or_else(|| {
            let late = created.checked_add(SEEN_LATE).is_ok_and(|limit| now > limit);
            if late && reports.is_empty() { now } else { created }
        });
        // The end follows the spec: a running trace may be made longer or shorter.
        Some(Self { start, end: asked_end(start)?, changed_too_late: false })
    }
}

/// Returns true for the phases that a trace never leaves.
pub(crate) fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Failed)
}

/// Returns the current phase of a trace.
pub(super) fn phase(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    times: Option<Times>,
    nodes: &Nodes,
) -> Phase {
    let shown = before.phase.unwrap_or_default();
    if is_over(shown) {
        return shown;
    }
    let Some(times) = times else { return Phase::Failed };
    // An invalid change does not end a running trace. Agents keep using the last valid spec.
    if inputs.invalid.is_some() && shown == Phase::Pending {
        return Phase::Failed;
    }
    let traced = shown == Phase::Running || inputs.reports.reporting() > 0;
    let waited = times.end.checked_add(LAST_REPORTS_WITHIN).is_ok_and(|limit| inputs.now >= limit);
    if inputs.now >= times.end && (nodes.awaited.is_empty() || waited) {
        // A trace that no node traced has no result.
        return if traced { Phase::Completed } else { Phase::Failed };
    }
    if traced { Phase::Running } else { Phase::Pending }
}

/// Returns why a trace has failed: a reason, and a sentence with the remedy.
pub(super) fn failure(inputs: &Inputs<'_>, nodes: &Nodes) -> (&'static str, String) {
    if let Some(why) = inputs.invalid {
        return (reason::INVALID_SPEC, format!("The spec cannot be used: {why}."));
    }
    if let Some((node, refused)) = inputs.reports.refusals().next() {
        let others = and_more(nodes.refusing.len().saturating_sub(1));
        let message = format!("No node traced it. Refused by {node}{others}: {}", refused.message);
        return (reason::REFUSED_BY_NODES, message);
    }
    if nodes.matched == 0 {
        let message = format!(
            "No pod of this namespace that was placed on a node {} while the trace ran.",
            wanted_pod(&inputs.trace.spec.containers, true)
        );
        return (reason::NO_PODS, message);
    }
    let message = format!(
        "No agent reported from {} with selected pods: see whether the agent's pods run there.",
        human::number_of(nodes.matched, "node")
    );
    (reason::NO_AGENT, message)
}
