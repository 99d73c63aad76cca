//! When a trace begins and ends, and which phase it is in.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{Phase, TrafficTrace, TrafficTraceStatus, condition_reason, condition_type};

use super::{Inputs, NodeReports, Tally};

/// How long after the end of a trace its nodes' last reports are waited for.
pub(crate) const LAST_REPORTS_WITHIN: Duration = Duration::from_secs(30);

/// How old a trace may be when the controller first sees it and still count from its creation, if no node has traced it.
const SEEN_LATE: Duration = Duration::from_secs(60);

/// When a trace began and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// The spec asks for another end, but asked too late: the end had passed.
    pub(crate) changed_too_late: bool,
}

impl Times {
    /// The times of a trace; `None` when its duration cannot be read.
    ///
    /// A trace begins when it is created: agents begin then, and know its end without the controller. Only a trace that
    /// was created long ago and that no node has traced (nothing was installed then) begins now.
    pub(super) fn of(trace: &TrafficTrace, reports: &NodeReports, now: Timestamp) -> Option<Self> {
        let shown = |time: fn(&TrafficTraceStatus) -> Option<&Time>| Some(time(trace.status.as_ref()?)?.0);
        let shown_end = shown(|status| status.end_time.as_ref());
        let start = shown(|status| status.start_time.as_ref());
        let over = trace.status.as_ref().and_then(|status| status.phase).is_some_and(is_over);
        if over && (start.is_none() || shown_end.is_none()) {
            return None;
        }
        let created = trace.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let start = start.unwrap_or_else(|| {
            let late = created.checked_add(SEEN_LATE).is_ok_and(|limit| now > limit);
            if late && reports.is_empty() { now } else { created }
        });
        // The end follows the spec while the trace runs: it may be made longer or shorter. Nodes that have stopped do not
        // start again, so that an end that has passed stays.
        let asked = trace.spec.duration.get().ok().and_then(|duration| start.checked_add(duration).ok());
        match shown_end.filter(|end| over || now >= *end) {
            Some(end) => Some(Self { start, end, changed_too_late: asked.is_some_and(|asked| asked != end) }),
            None => Some(Self { start, end: asked?, changed_too_late: false }),
        }
    }
}

/// The moment for which a status is made, in the life of its trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) times: Option<Times>,
    /// Nothing is traced any more, though last numbers may still come.
    pub(super) ended: bool,
}

/// Whether a phase is one that a trace does not leave.
pub(crate) fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Failed)
}

/// Whether a status says that its trace has ended, which is before it is over if last numbers are awaited.
pub(crate) fn has_ended(status: &TrafficTraceStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| {
        condition.type_ == condition_type::TRACING && condition.reason == condition_reason::ENDED
    })
}

/// The phase of a trace now. One that no node has traced is never completed.
pub(super) fn phase(
    inputs: &Inputs<'_>,
    before: &TrafficTraceStatus,
    times: Option<Times>,
    tally: &Tally,
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
    let over = inputs.now >= times.end && (tally.unfinished.is_empty() || waited);
    match (over, traced) {
        (true, true) => Phase::Completed,
        (true, false) => Phase::Failed,
        (false, true) => Phase::Running,
        (false, false) => Phase::Pending,
    }
}
