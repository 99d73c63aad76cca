//! A trace as the controller knows it, and the time of its next look.

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

/// Minimum time between two writes of one status, even for urgent news.
const SHORTEST: Duration = Duration::from_secs(1);
/// Time after a trace's end for which late last reports of nodes are still added to its status. The trace does not wait
/// for them longer than [`LAST_REPORTS_WITHIN`].
pub(super) const LATE: Duration = Duration::from_secs(600);

/// State of the requests about a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// No request is under way.
    None,
    /// A request is under way, and the next one waits for its answer.
    UnderWay,
    /// The last request failed, and the next one must not begin before this time.
    Pausing(Timestamp),
}

/// One trace.
#[derive(Debug)]
pub(super) struct Trace {
    /// The newest version that was read or written.
    pub(super) object: TrafficTrace,
    /// The reason why the spec cannot be used, if there is one. Known once the spec is checked.
    pub(super) invalid: Option<String>,
    is_checked: bool,
    /// The selector, if it is valid.
    pub(super) selector: Option<Selector>,
    /// Set if the API server may have reports of the trace.
    pub(super) has_reports: bool,
    request: Request,
    backoff: Backoff,
    /// Time of the oldest change that is not in the status yet.
    changed: Option<Timestamp>,
    /// Time when the status was last made, even if it had not changed.
    looked: Option<Timestamp>,
    written: Option<Timestamp>,
    /// Time at which the status has to be made again even if nothing changes, for example to say that a node is silent.
    pub(super) look_again: Option<Timestamp>,
    /// The filters for which the shown status was made, if this process made it.
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

    /// Records another version of the object. A version older than the known one is ignored.
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

    /// Records a change on which the status depends.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.changed.get_or_insert(now);
    }

    /// Returns the time of the oldest change that is not shown yet.
    pub(super) fn changed(&self) -> Option<Timestamp> {
        self.changed
    }

    fn read_spec(&mut self) {
        self.is_checked = false;
        self.selector = Selector::try_from(self.object.spec.selector.clone()).ok();
    }

    /// Validates the spec, once. Each validation compiles the CEL rules of the definition. Finished traces need no new
    /// status, so they are not validated when the controller starts.
    pub(super) fn check_spec(&mut self) {
        if !std::mem::replace(&mut self.is_checked, true) {
            self.invalid = self.object.validate().err().map(|failed| failed.to_string());
        }
    }

    /// Returns true if the filters differ from those of the shown status. If another process made that status, any
    /// changed spec counts as changed filters.
    pub(super) fn filters_changed(&self) -> bool {
        match &self.shown_filters {
            Some(shown) => *shown != Filters::of(&self.object),
            None => self.respecified(),
        }
    }

    /// Returns true if the shown status was made for another spec.
    fn respecified(&self) -> bool {
        let shown = self.status().and_then(|status| status.observed_generation);
        shown.is_some() && shown != self.object.metadata.generation
    }

    pub(super) fn status(&self) -> Option<&TrafficTraceStatus> {
        self.object.status.as_ref()
    }

    /// Returns the status with the newest spec's generation. In a trace that is over, only `ttlAfterFinished` can
    /// change.
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

    /// Returns true if the written status says that the trace is over.
    pub(super) fn is_over(&self) -> bool {
        self.status().and_then(|status| status.phase).is_some_and(is_over)
    }

    /// Returns the time until which reports of a finished trace are accepted: [`LATE`] after its end if some are
    /// missing, otherwise its end.
    pub(super) fn reports_until(&self) -> Option<Timestamp> {
        let status = self.status().filter(|_| self.is_over())?;
        let end = status.end_time.as_ref().map_or(Timestamp::MIN, |end| end.0);
        Some(if status.missing_nodes.is_empty() { end } else { after(end, LATE) })
    }

    /// Returns the time of the trace's next work if nothing else happens: a write of its status ([`Self::next_write`]),
    /// its end, a patch of its metadata, or its deletion. `None` if there is none, or while a request is under way.
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

    /// Returns true if the status has to be made now: for a change, at the trace's end, after the wait for last
    /// reports, or because of [`Trace::look_again`].
    pub(super) fn is_status_due(
        &self,
        reports: Option<&NodeReports>,
        interval: Duration,
        now: Timestamp,
    ) -> bool {
        self.changed.is_some_and(|_| self.next_write(reports, interval, now) <= now)
            || [self.next_of_life(), self.next_look(interval)].into_iter().flatten().any(|at| at <= now)
    }

    /// Returns the time of the next write of the status: soon for urgent news, otherwise once per interval.
    fn next_write(&self, reports: Option<&NodeReports>, interval: Duration, now: Timestamp) -> Timestamp {
        let Some(status) = self.status() else { return now };
        let Some(written) = self.written.filter(|_| !self.respecified()) else { return now };
        let (is, was) = (reports.map_or(0, NodeReports::reporting), status.nodes_reporting);
        // In a large cluster nodes report one by one. A write is worthwhile only when their number has doubled, or when
        // all have reported.
        let many_more = is > was && (is >= was.saturating_mul(2) || is >= status.nodes_matched);
        let ending = !self.is_over() && status.end_time.as_ref().is_some_and(|end| now >= end.0);
        let gap = if many_more || ending { SHORTEST } else { interval };
        after(written, gap)
    }

    /// Returns the time at which silent nodes have to be named. This happens at most once per interval or per
    /// [`UNTRACED_AFTER`], whichever is shorter.
    fn next_look(&self, interval: Duration) -> Option<Timestamp> {
        let at = self.look_again?;
        Some(self.written.map_or(at, |written| at.max(after(written, interval.min(UNTRACED_AFTER)))))
    }

    /// Returns the end of the trace or, after that, the end of the wait for its last reports.
    fn next_of_life(&self) -> Option<Timestamp> {
        let end = self.status().filter(|_| !self.is_over())?.end_time.as_ref()?.0;
        let seen = self.looked.is_some_and(|looked| looked >= end);
        Some(if seen { after(end, LAST_REPORTS_WITHIN) } else { end })
    }

    /// Returns the time at which the object has to be deleted.
    pub(super) fn deleted_at(&self) -> Option<Timestamp> {
        let status = self.status().filter(|_| self.is_over())?;
        let ttl = self.object.spec.ttl().ok().flatten()?;
        let over = [condition_type::COMPLETE, condition_type::FAILED];
        let ended = status.conditions.iter().filter(|condition| over.contains(&condition.type_.as_str()));
        let ended = ended.filter(|condition| condition.status == "True");
        Some(after(ended.map(|condition| condition.last_transition_time.0).min()?, ttl))
    }

    /// Records that the status was made, even if it equals the shown one.
    pub(super) fn looked(&mut self, now: Timestamp) {
        self.changed = None;
        self.looked = Some(now);
    }

    /// Records that a request begins.
    pub(super) fn begin_request(&mut self) {
        self.request = Request::UnderWay;
    }

    /// Records that a request succeeded. `object` is the answer, if it has one.
    pub(super) fn done(&mut self, object: Option<TrafficTrace>) {
        self.request = Request::None;
        self.backoff.reset();
        if let Some(object) = object {
            self.take(object);
        }
    }

    /// Records that the status was written. `object` is the answer; a newer version with other filters may be known by
    /// now.
    pub(super) fn written(&mut self, object: &TrafficTrace, now: Timestamp) {
        self.shown_filters = Some(Filters::of(object));
        self.written = Some(now);
    }

    /// Records that a request failed. The next one follows after a pause, at least as long as the server `asked` for.
    pub(super) fn failed(&mut self, asked: Option<Duration>, now: Timestamp) {
        self.touch(now);
        self.request = Request::Pausing(after(now, self.backoff.next(asked)));
    }

    /// Returns true if a request is under way, or the pause after a failed one is not over.
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        match self.request {
            Request::None => false,
            Request::UnderWay => true,
            Request::Pausing(until) => now < until,
        }
    }
}
