//! One trace as the controller knows it, and when it is to be looked at again.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::Selector;
use traffictrace_crd::{TrafficTrace, TrafficTraceStatus, condition_type};

use super::filters::Filters;
use super::metadata::{self, Paces};
use super::pace::after;
use crate::kubeapi::{Backoff, compare_versions};
use crate::merge::{LAST_REPORTS_WITHIN, NodeReports, UNTRACED_AFTER, is_over};

/// The shortest time between two writes of one status, when something happened that nobody should wait for.
const SHORTEST: Duration = Duration::from_secs(1);
/// The last reports of missing nodes are taken until so long after the end of a trace.
pub(super) const LATE: Duration = Duration::from_secs(600);

/// The request about a trace that is under way, or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Nothing.
    None,
    /// One request is under way; the next waits for its answer.
    UnderWay,
    /// The last one failed: nothing before this moment.
    Pausing(Timestamp),
}

/// One trace.
#[derive(Debug)]
pub(super) struct Trace {
    /// The newest version that was read or written.
    pub(super) object: TrafficTrace,
    /// Why the spec cannot be used, if it cannot; known once the spec is checked.
    pub(super) invalid: Option<String>,
    is_checked: bool,
    /// The selector, if it can be used.
    pub(super) selector: Option<Selector>,
    /// There may be reports of it at the API server.
    pub(super) has_reports: bool,
    request: Request,
    backoff: Backoff,
    /// Since when something has changed that the status does not have yet.
    changed: Option<Timestamp>,
    /// The time at which the status was last made, also if it was no news.
    looked: Option<Timestamp>,
    written: Option<Timestamp>,
    /// The moment at which the status says more than now although nothing happens until then.
    pub(super) look_again: Option<Timestamp>,
    /// The filters that the shown status was made for, if this process has made it.
    shown_filters: Option<Filters>,
}

impl Trace {
    pub(super) fn new(object: TrafficTrace, now: Timestamp) -> Self {
        let mut trace = Self {
            object,
            invalid: None,
            is_checked: false,
            selector: None,
            has_reports: false,
            request: Request::None,
            backoff: Backoff::default(),
            changed: Some(now),
            looked: None,
            written: None,
            look_again: None,
            shown_filters: None,
        };
        trace.read_spec();
        trace
    }

    /// Takes another version of the object; one that is older than what is known changes nothing.
    pub(super) fn update(&mut self, object: TrafficTrace, now: Timestamp) {
        if self.take(object) {
            self.touch(now);
        }
    }

    fn take(&mut self, object: TrafficTrace) -> bool {
        let [new, known] = [&object, &self.object].map(|object| object.metadata.resource_version.as_deref());
        if compare_versions(new, known).is_some_and(Ordering::is_le) {
            return false;
        }
        let respecified = object.metadata.generation != self.object.metadata.generation;
        self.object = object;
        if respecified {
            self.read_spec();
        }
        true
    }

    /// Something has changed that the status depends on.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.changed.get_or_insert(now);
    }

    /// Since when something waits to be shown.
    pub(super) fn changed(&self) -> Option<Timestamp> {
        self.changed
    }

    fn read_spec(&mut self) {
        self.is_checked = false;
        self.selector = Selector::try_from(self.object.spec.selector.clone()).ok();
    }

    /// Checks the spec, unless that is done. Each check compiles the rules of the definition: finished traces, of which no
    /// status is made any more, are not checked when the controller begins.
    pub(super) fn check_spec(&mut self) {
        if !std::mem::replace(&mut self.is_checked, true) {
            self.invalid = self.object.validate().err().map(|failed| failed.to_string());
        }
    }

    /// Says that the filters differ from those that the shown status was made for. Another process may have made it: then
    /// a changed spec counts as changed filters.
    pub(super) fn filters_changed(&self) -> bool {
        match &self.shown_filters {
            Some(shown) => *shown != Filters::of(&self.object),
            None => self.respecified(),
        }
    }

    /// Says that the shown status was made for another spec.
    fn respecified(&self) -> bool {
        let shown = self.status().and_then(|status| status.observed_generation);
        shown.is_some() && shown != self.object.metadata.generation
    }

    pub(super) fn status(&self) -> Option<&TrafficTraceStatus> {
        self.object.status.as_ref()
    }

    /// The status as it is, said of the newest spec: of a trace that is over only `ttlAfterFinished` can change.
    pub(super) fn status_of_this_spec(&self) -> Option<TrafficTraceStatus> {
        let mut status = self.status()?.clone();
        let generation = self.object.metadata.generation;
        if status.observed_generation != generation {
            status.observed_generation = generation;
            for condition in &mut status.conditions {
                condition.observed_generation = generation;
            }
        }
        Some(status)
    }

    pub(super) fn namespace(&self) -> &str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Says that the written status is that of a trace that is over.
    pub(super) fn is_over(&self) -> bool {
        self.status().and_then(|status| status.phase).is_some_and(is_over)
    }

    /// Until when reports of a trace that is over are taken: for a while if some are missing, else no more.
    pub(super) fn reports_until(&self) -> Option<Timestamp> {
        let status = self.status().filter(|_| self.is_over())?;
        let end = status.end_time.as_ref().map_or(Timestamp::MIN, |end| end.0);
        Some(if status.missing_nodes.is_empty() { end } else { after(end, LATE) })
    }

    /// The time at which the trace is to be looked at next, if nothing more happens. Its status is written once in
    /// the interval of its reports.
    pub(super) fn due(
        &self,
        reports: Option<&NodeReports>,
        paces: &Paces,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let interval = paces.reports;
        let wanted = [
            self.deleted_at(),
            self.changed.map(|_| self.next_write(reports, interval, now)),
            self.next_of_life(),
            self.next_look(interval),
            metadata::patch(&self.object, paces).map(|_| now),
            self.reports_until().filter(|_| self.has_reports),
        ];
        let wanted = wanted.into_iter().flatten().min()?;
        match self.request {
            Request::None => Some(wanted),
            Request::UnderWay => None,
            Request::Pausing(until) => Some(wanted.max(until)),
        }
    }

    /// Says that the status is to be made now.
    pub(super) fn is_status_due(
        &self,
        reports: Option<&NodeReports>,
        interval: Duration,
        now: Timestamp,
    ) -> bool {
        self.changed.is_some_and(|_| self.next_write(reports, interval, now) <= now)
            || [self.next_of_life(), self.next_look(interval)].into_iter().flatten().any(|at| at <= now)
    }

    /// The time of the next write of the status: at once for what people wait for, else once in an interval.
    fn next_write(&self, reports: Option<&NodeReports>, interval: Duration, now: Timestamp) -> Timestamp {
        let Some(status) = self.status() else { return now };
        let Some(written) = self.written.filter(|_| !self.respecified()) else { return now };
        let (is, was) = (reports.map_or(0, NodeReports::reporting), status.nodes_reporting);
        // In a large cluster nodes come one by one: not each of them is worth a write, but twice as many are, and all.
        let many_more = is > was && (is >= was.saturating_mul(2) || is >= status.nodes_matched);
        let ending = !self.is_over() && status.end_time.as_ref().is_some_and(|end| now >= end.0);
        let gap = if many_more || ending { SHORTEST } else { interval };
        after(written, gap)
    }

    /// The moment at which nodes that said nothing are to be named, at most once in their time or in an interval.
    fn next_look(&self, interval: Duration) -> Option<Timestamp> {
        let at = self.look_again?;
        Some(self.written.map_or(at, |written| at.max(after(written, interval.min(UNTRACED_AFTER)))))
    }

    /// The end of the trace, and after that, the end of the wait for its last reports.
    fn next_of_life(&self) -> Option<Timestamp> {
        let end = self.status().filter(|_| !self.is_over())?.end_time.as_ref()?.0;
        let seen = self.looked.is_some_and(|looked| looked >= end);
        Some(if seen { after(end, LAST_REPORTS_WITHIN) } else { end })
    }

    /// The time at which the object is to be deleted.
    pub(super) fn deleted_at(&self) -> Option<Timestamp> {
        let status = self.status().filter(|_| self.is_over())?;
        let ttl = self.object.spec.ttl().ok().flatten()?;
        let over = [condition_type::COMPLETE, condition_type::FAILED];
        let ended = status.conditions.iter().filter(|condition| over.contains(&condition.type_.as_str()));
        let ended = ended.filter(|condition| condition.status == "True");
        Some(after(ended.map(|condition| condition.last_transition_time.0).min()?, ttl))
    }

    /// The status has been made; it may be the one that is shown already.
    pub(super) fn looked(&mut self, now: Timestamp) {
        self.changed = None;
        self.looked = Some(now);
    }

    /// A request begins.
    pub(super) fn begin_request(&mut self) {
        self.request = Request::UnderWay;
    }

    /// A request is done; `object` is the answer, if it has one.
    pub(super) fn done(&mut self, object: Option<TrafficTrace>) {
        self.request = Request::None;
        self.backoff.reset();
        if let Some(object) = object {
            self.take(object);
        }
    }

    /// The status has been written; `object` is the answer. A newer version with other filters may be known by now.
    pub(super) fn written(&mut self, object: &TrafficTrace, now: Timestamp) {
        self.shown_filters = Some(Filters::of(object));
        self.written = Some(now);
    }

    /// A request has failed; there is another after a pause, at least as long as the server asks.
    pub(super) fn failed(&mut self, asked: Option<Duration>, now: Timestamp) {
        self.touch(now);
        self.request = Request::Pausing(after(now, self.backoff.next(asked)));
    }

    /// Says that a request is under way, or that the pause after a failed one is not over.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        match self.request {
            Request::None => false,
            Request::UnderWay => true,
            Request::Pausing(until) => now < until,
        }
    }
}
