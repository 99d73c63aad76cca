//! When a trace begins and ends, and which phase it is in.

use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{Phase, TrafficTrace, TrafficTraceStatus};

use super::{Inputs, NodeReports, Nodes};

/// How long after the end of a trace its nodes' last reports are waited for.
pub(crate) const LAST_REPORTS_WITHIN: Duration = Duration::from_secs(30);

/// How old a trace may be when the controller first sees it and still count from its creation, if no node has traced it.
const SEEN_LATE: Duration = Duration::from_secs(60);

/// When a trace began and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl Times {
    /// The times of a trace; `None` when its duration cannot be read.
    ///
    /// A trace begins when it is created: agents begin then, and know its end without the controller. Only a trace that
    /// was created long ago and that no node has traced (nothing was installed then) begins now.
    pub(crate) fn of(trace: &TrafficTrace, reports: &NodeReports, now: Timestamp) -> Option<Self> {
        let before = trace.status.as_ref();
        let over = before.is_some_and(|status| status.phase.is_some_and(is_over));
        if over {
            let start = before.and_then(|status| status.start_time.as_ref())?.0;
            return Some(Self { start, end: before.and_then(|status| status.end_time.as_ref())?.0 });
        }
        let created = trace.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let shown = before.and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        let start = shown.unwrap_or_else(|| {
            let late = created.checked_add(SEEN_LATE).is_ok_and(|limit| now > limit);
            if late && reports.is_empty() { now } else { created }
        });
        // The end follows the spec: a trace that runs may be made longer or shorter.
        let end = start.checked_add(trace.spec.duration.get().ok()?).ok()?;
        Some(Self { start, end })
    }
}

/// Whether a phase is one that a trace does not leave.
pub(crate) fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Failed)
}

/// The phase of a trace now.
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
    // A change for the worse of a trace that runs does not throw away what it has: agents keep to the spec they know.
    if inputs.invalid.is_some() && shown == Phase::Pending {
        return Phase::Failed;
    }
    let traced = shown == Phase::Running || inputs.reports.reporting() > 0;
    let waited = times.end.checked_add(LAST_REPORTS_WITHIN).is_ok_and(|limit| inputs.now >= limit);
    if inputs.now >= times.end && (nodes.unfinished.is_empty() || waited) {
        // Nodes that only refused leave nothing to show.
        return if traced || nodes.refusing.is_empty() { Phase::Completed } else { Phase::Failed };
    }
    if traced { Phase::Running } else { Phase::Pending }
}
