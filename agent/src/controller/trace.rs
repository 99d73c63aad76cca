//! One trace as the controller knows it, and when its status is to be looked at again.

use std::time::Duration;

use jiff::Timestamp;
use kube::core::Selector;
use traffictrace_crd::{DirectionFilter, Protocol, TrafficTrace, condition_type};

use super::pace::after;
use crate::kubeapi::Pause;
use crate::merge::{LAST_REPORTS_WITHIN, NodeReports, is_over};

/// The shortest time between two writes of one status, when something happened that nobody should wait for.
const SHORTEST: Duration = Duration::from_secs(1);

/// The part of a spec that may change and that changes what is counted.
#[derive(Clone, Debug, PartialEq)]
struct Filters {
    protocols: Vec<Protocol>,
    ports: Vec<String>,
    remote_cidrs: Vec<String>,
    direction: DirectionFilter,
}

/// One trace.
#[derive(Debug)]
pub(super) struct Trace {
    /// The newest version that was read or written.
    pub(super) object: TrafficTrace,
    /// Why the spec cannot be used, if it cannot.
    pub(super) invalid: Option<String>,
    /// The selector, if it can be used.
    pub(super) selector: Option<Selector>,
    /// Something has changed since the status was last made.
    pub(super) dirty: bool,
    /// When the status was last made, whether or not it was news.
    pub(super) looked: Option<Timestamp>,
    /// A write is under way.
    pub(super) writing: bool,
    /// The filters that the shown status was made for, if this process has made it.
    shown_filters: Option<Filters>,
    written: Option<Timestamp>,
    not_before: Option<Timestamp>,
    pause: Pause,
}

impl Trace {
    pub(super) fn new(object: TrafficTrace) -> Self {
        let mut trace = Self {
            object,
            invalid: None,
            selector: None,
            dirty: true,
            looked: None,
            writing: false,
            shown_filters: None,
            written: None,
            not_before: None,
            pause: Pause::default(),
        };
        trace.read_spec();
        trace
    }

    /// Takes another version of the object; one that is older than what is known changes nothing.
    ///
    /// Versions of one resource are numbers that grow (Kubernetes 1.35 says so, and it was never otherwise with etcd).
    pub(super) fn update(&mut self, object: TrafficTrace) {
        let number = |object: &TrafficTrace| object.metadata.resource_version.as_ref()?.parse::<u64>().ok();
        if let (Some(known), Some(new)) = (number(&self.object), number(&object))
            && new <= known
        {
            return;
        }
        let respecified = object.metadata.generation != self.object.metadata.generation;
        self.object = object;
        self.dirty = true;
        if respecified {
            self.read_spec();
        }
    }

    fn read_spec(&mut self) {
        self.invalid = self.object.validate().err().map(|failed| failed.to_string());
        self.selector = Selector::try_from(self.object.spec.selector.clone()).ok();
    }

    fn filters(&self) -> Filters {
        let spec = &self.object.spec;
        Filters {
            protocols: spec.protocols.clone(),
            ports: spec.ports.iter().map(|port| format!("{port:?}")).collect(),
            remote_cidrs: spec.remote_cidrs.clone(),
            direction: spec.direction,
        }
    }

    /// Whether the filters differ from those that the shown status was made for. Another process may have made it: then
    /// a changed spec counts as changed filters.
    pub(super) fn filters_changed(&self) -> bool {
        match &self.shown_filters {
            Some(shown) => *shown != self.filters(),
            None => self.respecified(),
        }
    }

    /// Whether the shown status was made for another spec.
    fn respecified(&self) -> bool {
        let shown = self.object.status.as_ref().and_then(|status| status.observed_generation);
        shown.is_some() && shown != self.object.metadata.generation
    }

    pub(super) fn is_over(&self) -> bool {
        self.object.status.as_ref().and_then(|status| status.phase).is_some_and(is_over)
    }

    /// When the status is to be looked at, if nothing more happens.
    pub(super) fn due(
        &self,
        reports: Option<&NodeReports>,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.writing {
            return None;
        }
        let due = match (self.dirty, self.next_of_life()) {
            (true, Some(life)) => Some(self.next_write(reports, interval, now).min(life)),
            (true, None) => Some(self.next_write(reports, interval, now)),
            (false, life) => life,
        };
        due.map(|due| self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    /// When the status may be written next: at once what people wait for, the rest once in an interval.
    fn next_write(&self, reports: Option<&NodeReports>, interval: Duration, now: Timestamp) -> Timestamp {
        let Some(status) = &self.object.status else { return now };
        let Some(written) = self.written.filter(|_| !self.respecified()) else { return now };
        let (is, was) = (reports.map_or(0, NodeReports::reporting), status.nodes_reporting);
        // In a large cluster nodes come one by one: not each of them is worth a write, but twice as many are, and all.
        let many_more = is > was && (is >= was.saturating_mul(2) || is >= status.nodes_matched);
        let ending = !self.is_over() && status.end_time.as_ref().is_some_and(|end| now >= end.0);
        let gap = if many_more || ending { SHORTEST } else { interval };
        after(written, gap)
    }

    /// When the trace ends, and after that, when its last reports are waited for no longer.
    fn next_of_life(&self) -> Option<Timestamp> {
        let end = self.object.status.as_ref().filter(|_| !self.is_over())?.end_time.as_ref()?.0;
        let seen = self.looked.is_some_and(|looked| looked >= end);
        Some(if seen { after(end, LAST_REPORTS_WITHIN) } else { end })
    }

    /// When the object is to be deleted.
    pub(super) fn deleted_at(&self) -> Option<Timestamp> {
        if self.writing || !self.is_over() {
            return None;
        }
        let ttl = self.object.spec.ttl_after_finished.as_ref()?.get().ok()?;
        let conditions = &self.object.status.as_ref()?.conditions;
        let complete = conditions.iter().find(|condition| condition.type_ == condition_type::COMPLETE)?;
        let at = after(complete.last_transition_time.0, ttl);
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// A write has been done; `object` is the answer.
    pub(super) fn written(&mut self, object: TrafficTrace, now: Timestamp) {
        self.shown_filters = Some(self.filters());
        let dirty = self.dirty;
        self.update(object);
        self.dirty = dirty;
        self.writing = false;
        self.written = Some(now);
        self.not_before = None;
        self.pause.reset();
    }

    /// A write has failed; it is tried again after a pause, at least as long as the server asks.
    pub(super) fn failed(&mut self, asked: Option<Duration>, now: Timestamp) {
        self.writing = false;
        self.dirty = true;
        self.not_before = Some(after(now, self.pause.next(asked)));
    }
}
