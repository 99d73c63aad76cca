//! One trace as the controller knows it, and when each step is to be taken for it.

use std::time::Duration;

use jiff::Timestamp;
use kube::core::Selector;
use traffictrace_crd::{DirectionFilter, Phase, Protocol, TrafficTrace, TrafficTraceStatus, condition_type};

use super::metadata;
use super::pace::after;
use super::timing::{Step, Timing};
use crate::merge::{LAST_REPORTS_WITHIN, NodeReports, has_ended, is_over};

/// The shortest time between two writes of one status, when something happened that nobody should wait for.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long after its end a finished trace takes last numbers of the nodes that are missing.
const LATE_REPORTS_WITHIN: Duration = Duration::from_secs(600);

/// A list of so many missing nodes may have been cut: a status has 16 of them, or 4 if it has little room.
const MISSING_LISTED: usize = 4;

/// The part of a spec that may change and that changes what is counted.
#[derive(Clone, Debug, PartialEq)]
struct Filters {
    protocols: Vec<Protocol>,
    ports: Vec<String>,
    remote_cidrs: Vec<String>,
    direction: DirectionFilter,
}

impl Filters {
    fn of(object: &TrafficTrace) -> Self {
        let spec = &object.spec;
        Self {
            protocols: spec.protocols.clone(),
            ports: spec.ports.iter().map(|port| format!("{port:?}")).collect(),
            remote_cidrs: spec.remote_cidrs.clone(),
            direction: spec.direction,
        }
    }
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
    pub(super) timing: Timing,
    /// There may be reports of it at the API server.
    pub(super) has_reports: bool,
    /// The filters that the shown status was made for, if this process has made it.
    shown_filters: Option<Filters>,
}

impl Trace {
    pub(super) fn new(object: TrafficTrace, now: Timestamp) -> Self {
        let mut trace = Self {
            object,
            invalid: None,
            selector: None,
            timing: Timing::default(),
            has_reports: false,
            shown_filters: None,
        };
        // The status of a trace that is over stays as it is: the reports it was made of may be gone.
        if !trace.is_over() || trace.respecified() {
            trace.timing.change(now);
        }
        trace.read_spec();
        trace
    }

    /// Takes another version of the object; one that is older than what is known changes nothing.
    ///
    /// Versions of one resource are numbers that grow (Kubernetes 1.35 says so, and it was never otherwise with etcd).
    pub(super) fn update(&mut self, object: TrafficTrace, now: Timestamp) {
        if self.replace(object) {
            self.timing.change(now);
        }
    }

    /// Returns whether the version was newer.
    fn replace(&mut self, object: TrafficTrace) -> bool {
        let number = |object: &TrafficTrace| object.metadata.resource_version.as_ref()?.parse::<u64>().ok();
        if let (Some(known), Some(new)) = (number(&self.object), number(&object))
            && new <= known
        {
            return false;
        }
        let respecified = object.metadata.generation != self.object.metadata.generation;
        self.object = object;
        if respecified {
            self.read_spec();
        }
        true
    }

    fn read_spec(&mut self) {
        self.invalid = self.object.validate().err().map(|failed| failed.to_string());
        self.selector = Selector::try_from(self.object.spec.selector.clone()).ok();
    }

    pub(super) fn namespace(&self) -> &str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// How often the spec asks its nodes to report.
    pub(super) fn asked_interval(&self) -> Duration {
        self.object.spec.interval.get().unwrap_or(Duration::from_secs(10))
    }

    /// Whether the filters differ from those that the shown status was made for. Another process may have made it: then
    /// a changed spec counts as changed filters.
    pub(super) fn filters_changed(&self) -> bool {
        match &self.shown_filters {
            Some(shown) => *shown != Filters::of(&self.object),
            None => self.respecified(),
        }
    }

    /// Whether the shown status was made for another spec.
    fn respecified(&self) -> bool {
        let shown = self.status().and_then(|status| status.observed_generation);
        shown.is_some() && shown != self.object.metadata.generation
    }

    fn status(&self) -> Option<&TrafficTraceStatus> {
        self.object.status.as_ref()
    }

    pub(super) fn phase(&self) -> Phase {
        self.status().and_then(|status| status.phase).unwrap_or_default()
    }

    pub(super) fn is_over(&self) -> bool {
        is_over(self.phase())
    }

    /// Whether a report of this node can still change the status. A finished trace waits for the nodes that are missing,
    /// for a while; of them the status may list only the first.
    pub(super) fn takes_reports(&self, now: Timestamp) -> bool {
        self.reports_end().is_none_or(|end| now < end)
    }

    /// When reports no longer matter: once the final status is written, if no node is missing. `None` while it runs.
    fn reports_end(&self) -> Option<Timestamp> {
        let status = self.status().filter(|_| self.is_over())?;
        let end = status.end_time.as_ref().filter(|_| !status.missing_nodes.is_empty());
        Some(end.map_or(Timestamp::MIN, |end| after(end.0, LATE_REPORTS_WITHIN)))
    }

    /// The step to take now, if there is one.
    pub(super) fn due_at(
        &self,
        step: Step,
        reports: Option<&NodeReports>,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let wanted = match step {
            Step::Deletion => self.deleted_at(),
            Step::Reports => self.reports_end().filter(|_| self.has_reports),
            Step::Status => self.status_at(reports, interval, now),
            Step::Metadata => metadata::patch(&self.object).map(|_| Timestamp::MIN),
        };
        self.timing.allowed(step, wanted)
    }

    /// When some step is to be taken next, if nothing more happens.
    pub(super) fn next_due(
        &self,
        reports: Option<&NodeReports>,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        Step::ALL.iter().filter_map(|step| self.due_at(*step, reports, interval, now)).min()
    }

    /// When the status is to be made anew.
    fn status_at(
        &self,
        reports: Option<&NodeReports>,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let changed = self.timing.changed().map(|_| self.next_write(reports, interval));
        if self.keeps_status(reports, now) {
            return changed.filter(|_| self.respecified());
        }
        let life = self.next_of_life().filter(|_| !self.is_over());
        [changed, life].into_iter().flatten().min()
    }

    /// Whether the status stays as it is: the trace is over, and nothing is made of reports that are not there.
    pub(super) fn keeps_status(&self, reports: Option<&NodeReports>, now: Timestamp) -> bool {
        self.is_over() && (reports.is_none() || !self.takes_reports(now))
    }

    /// The status as it is, which also holds for a spec that has changed since: of a trace that is over only
    /// `ttlAfterFinished` can change.
    pub(super) fn status_of_this_spec(&self) -> Option<TrafficTraceStatus> {
        let mut status = self.status()?.clone();
        status.observed_generation = self.object.metadata.generation;
        for condition in &mut status.conditions {
            condition.observed_generation = self.object.metadata.generation;
        }
        Some(status)
    }

    /// Whether a finished trace waits for the last numbers of a node. Of many missing nodes the status lists some.
    pub(super) fn misses(&self, node: &str) -> bool {
        let missing = self.status().map_or(&[][..], |status| &status.missing_nodes);
        missing.len() >= MISSING_LISTED || missing.iter().any(|missing| missing == node)
    }

    /// When the status may be written next: at once what people wait for, the rest once in an interval.
    fn next_write(&self, reports: Option<&NodeReports>, interval: Duration) -> Timestamp {
        let Some(status) = self.status() else { return Timestamp::MIN };
        let Some(written) = self.timing.written().filter(|_| !self.respecified()) else {
            return Timestamp::MIN;
        };
        let (is, was) = (reports.map_or(0, NodeReports::reporting), status.nodes_reporting);
        // In a large cluster nodes come one by one: not each of them is worth a write, but twice as many are, and all.
        let many_more = is > was && (is >= was.saturating_mul(2) || is >= status.nodes_matched);
        let ending = !self.is_over() && has_ended(status);
        let gap = if many_more || ending { SHORTEST } else { interval };
        after(written, gap)
    }

    /// When a running trace ends, and after that, when its last reports are waited for no longer.
    fn next_of_life(&self) -> Option<Timestamp> {
        let status = self.status()?;
        let end = status.end_time.as_ref()?.0;
        Some(if has_ended(status) { after(end, LAST_REPORTS_WITHIN) } else { end })
    }

    /// When the object is to be deleted.
    fn deleted_at(&self) -> Option<Timestamp> {
        let status = self.status().filter(|_| self.is_over())?;
        let ttl = self.object.spec.ttl().ok()??;
        // Versions before the condition Failed set Complete on failed traces too.
        let finished = |kind: &str| {
            let mut conditions = status.conditions.iter();
            conditions.find(|condition| condition.type_ == kind && condition.status == "True")
        };
        let finished = finished(condition_type::COMPLETE).or_else(|| finished(condition_type::FAILED))?;
        Some(after(finished.last_transition_time.0, ttl))
    }

    /// A write of the status or of the metadata has been done; `object` is the answer.
    pub(super) fn written(&mut self, step: Step, object: TrafficTrace, now: Timestamp) {
        if step == Step::Status {
            self.shown_filters = Some(Filters::of(&object));
        }
        self.replace(object);
        self.timing.done(step, now);
    }
}
