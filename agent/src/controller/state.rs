//! The controller's knowledge, and what follows from it. No I/O: events come in, actions go out.
//!
//! Every event finds by key what it changes, and sets the time in the schedule at which that is looked at. Nothing is
//! looked at before its time, so that the work of an event does not grow with the number of traces.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use kube::core::SelectorExt as _;
use traffictrace_crd::{TrafficTrace, TrafficTraceReport, TrafficTraceStatus};

use super::events::{Notice, notices};
use super::indexes::Indexes;
use super::metadata;
use super::peers::{Addresses, Directory, Names, PeerScope, Peers};
use super::pods::{Labels, PodRecord, Pods};
use super::reports::{Reports, trace_of};
use super::timing::Step;
use super::trace::Trace;
use crate::kubeapi::{Change, Key};
use crate::merge::{Inputs, NodeReports, merge};

/// A change of something that is watched.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "at most a queue of them exists, and most are of the large ones"
)]
pub(super) enum Event {
    Trace(Change<TrafficTrace>),
    Report(Change<TrafficTraceReport>),
    Pod(Change<PodRecord>),
    Service(Change<Addresses>),
    Node(Change<Addresses>),
}

/// Something to be done at the API server for a trace.
#[derive(Clone, Debug)]
pub(super) struct Action {
    /// The trace as it is known; in its status the one to write, if that is what is to be done.
    pub(super) object: Box<TrafficTrace>,
    pub(super) work: Work,
}

/// The work of an action.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Write the status, if the object still has the version that it was made for, and then tell of these changes.
    WriteStatus(Vec<Notice>),
    /// Apply this merge patch to the object.
    PatchMetadata(serde_json::Value),
    /// Delete the trace's reports.
    DeleteReports,
    /// Delete the trace.
    Delete,
}

impl Work {
    pub(super) fn step(&self) -> Step {
        match self {
            Self::WriteStatus(_) => Step::Status,
            Self::PatchMetadata(_) => Step::Metadata,
            Self::DeleteReports => Step::Reports,
            Self::Delete => Step::Deletion,
        }
    }
}

/// The result of an action.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object as it is now.
    Written(Box<TrafficTrace>),
    /// Done, with no object to show for it.
    Done,
    /// Not done: try again after a pause, at least as long as the server asks. Somebody else has changed the object, the
    /// server was away, or the object is gone and the watch will tell.
    Again(Option<Duration>),
}

/// The watches that have delivered their first list.
#[derive(Debug, Default)]
struct Complete {
    traces: bool,
    reports: bool,
    pods: bool,
    services: bool,
    nodes: bool,
}

impl Complete {
    fn all(&self) -> bool {
        self.traces && self.reports && self.pods && self.services && self.nodes
    }
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct State {
    traces: HashMap<Key, Trace>,
    reports: Reports,
    indexes: Indexes,
    pods: Pods,
    services: Directory,
    nodes: Directory,
    node_names: Names,
    complete: Complete,
    peer_scope: PeerScope,
    clock_offset: Option<i64>,
    counts: Counts,
}

/// Events counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Statuses made, written or not.
    pub(super) merges: u64,
    /// Actions that were done.
    pub(super) done: u64,
    /// Actions that have to be done again.
    pub(super) again: u64,
}

/// Numbers about the controller's work, each of them at hand without a sum over all traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Traces by phase: Pending, Running, Completed, Failed.
    pub(super) traces: [usize; 4],
    /// Reports that are kept.
    pub(super) reports: usize,
    /// How long the oldest change has not been shown.
    pub(super) oldest_change: Duration,
    /// How late the next step is.
    pub(super) late: Duration,
    pub(super) counts: Counts,
}

impl State {
    pub(super) fn new(peer_scope: PeerScope) -> Self {
        Self { peer_scope, ..Self::default() }
    }

    /// Takes in a change.
    pub(super) fn apply(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Trace(Change::Apply(trace)) => self.apply_trace(trace, now),
            // One that was made anew under the name has another UID.
            Event::Trace(Change::Gone(key)) => self.forget_trace(&key),
            Event::Trace(Change::Complete) => self.complete.traces = true,
            Event::Report(Change::Apply(report)) => self.apply_report(report, now),
            Event::Report(Change::Gone(key)) => self.reports.gone(&key),
            Event::Report(Change::Complete) => self.complete.reports = true,
            Event::Pod(Change::Apply(pod)) => {
                let namespace = pod.key().namespace.clone();
                let labels = self.pods.apply(pod);
                self.pods_changed(&namespace, &labels, now);
            }
            Event::Pod(Change::Gone(key)) => {
                let labels: Vec<Labels> = self.pods.remove(&key).into_iter().collect();
                self.pods_changed(&key.namespace, &labels, now);
            }
            Event::Pod(Change::Complete) => self.complete.pods = true,
            // A name for an address is looked up when a status is made; it is no reason to make one.
            Event::Service(Change::Apply(service)) => self.services.apply(service),
            Event::Service(Change::Gone(key)) => self.services.remove(&key),
            Event::Service(Change::Complete) => self.complete.services = true,
            Event::Node(Change::Apply(node)) => {
                if self.node_names.apply(node.key()) {
                    self.node_changed(&node.key().name.clone(), now);
                }
                self.nodes.apply(node);
            }
            Event::Node(Change::Gone(key)) => {
                self.nodes.remove(&key);
                if self.node_names.remove(&key) {
                    self.node_changed(&key.name, now);
                }
            }
            Event::Node(Change::Complete) => self.complete.nodes = true,
        }
    }

    /// Takes note of by how many milliseconds this process's clock is ahead of the API server's, if it is off.
    pub(super) fn set_clock_offset(&mut self, milliseconds: Option<i64>) {
        self.clock_offset = milliseconds;
    }

    fn apply_trace(&mut self, mut object: TrafficTrace, now: Timestamp) {
        // The owners of the fields are not needed here and are larger than the rest. A write without them changes
        // nothing of them.
        object.metadata.managed_fields = None;
        let key = Key::of(&object);
        match self.traces.get_mut(&key) {
            Some(trace) => trace.update(object, now),
            None => {
                self.traces.insert(key.clone(), Trace::new(object, now));
                for report in self.reports.waited(&key) {
                    self.take_report(&key, report, now);
                }
            }
        }
        self.refresh(&key, now);
    }

    fn forget_trace(&mut self, key: &Key) {
        if let Some(trace) = self.traces.remove(key) {
            self.indexes.remove(key, trace.namespace());
        }
        self.reports.forget(key);
        self.reports.waited(key);
    }

    fn apply_report(&mut self, report: TrafficTraceReport, now: Timestamp) {
        let Some(key) = trace_of(&report) else {
            tracing::debug!(
                "ignoring report {}: its name is not that of its trace and node",
                Key::of(&report)
            );
            return;
        };
        if self.traces.contains_key(&key) {
            self.take_report(&key, report, now);
            self.refresh(&key, now);
        } else {
            self.reports.wait(key, report, self.complete.traces);
        }
    }

    fn take_report(&mut self, key: &Key, report: TrafficTraceReport, now: Timestamp) {
        let Some(trace) = self.traces.get_mut(key) else { return };
        trace.has_reports = true;
        if !trace.takes_reports(now) {
            return;
        }
        // The status of a trace that is over has what its reports had, but for the last ones of nodes that were missing.
        if !trace.is_over() || (report.spec.is_final && trace.misses(&report.spec.node_name)) {
            trace.timing.change(now);
        }
        self.reports.apply(key, report);
    }

    /// Looks at the traces of a namespace whose selector takes a pod with some of these labels.
    fn pods_changed(&mut self, namespace: &str, labels: &[Labels], now: Timestamp) {
        if labels.is_empty() {
            return;
        }
        for key in self.indexes.running_in(namespace) {
            if let Some(trace) = self.traces.get_mut(&key)
                && trace
                    .selector
                    .as_ref()
                    .is_some_and(|selector| labels.iter().any(|labels| selector.matches(labels)))
            {
                trace.timing.change(now);
                self.refresh(&key, now);
            }
        }
    }

    /// Looks at the running traces that know a node which has come or gone. Nodes come and go rarely enough that all
    /// running traces are asked.
    fn node_changed(&mut self, node: &str, now: Timestamp) {
        if !self.complete.all() {
            return;
        }
        for key in self.indexes.running() {
            if self.reports.of(&key).is_some_and(|reports| reports.has(node))
                && let Some(trace) = self.traces.get_mut(&key)
            {
                trace.timing.change(now);
                self.refresh(&key, now);
            }
        }
    }

    /// The actions to begin now. Nothing before all that exists is known: a status from half of it would be wrong.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Action> {
        if !self.complete.all() {
            return Vec::new();
        }
        self.indexes.pace.refresh(now);
        let mut actions = Vec::new();
        // A key whose time is set anew in this round is left for the next one, so that a round ends.
        let due: Vec<Key> = std::iter::from_fn(|| self.indexes.schedule.pop_due(now)).collect();
        for key in due {
            actions.extend(self.act(&key, now));
            self.refresh(&key, now);
        }
        actions
    }

    /// When there may be something to do next, if nothing happens.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        if self.complete.all() { self.indexes.schedule.next() } else { None }
    }

    /// Takes in the result of an action.
    pub(super) fn done(&mut self, key: &Key, step: Step, outcome: Outcome, now: Timestamp) {
        match &outcome {
            Outcome::Again(_) => self.counts.again += 1,
            Outcome::Written(_) | Outcome::Done => self.counts.done += 1,
        }
        let Some(trace) = self.traces.get_mut(key) else { return };
        match outcome {
            Outcome::Written(mut object) => {
                object.metadata.managed_fields = None;
                trace.written(step, *object, now);
                tracing::debug!(trace = %key, phase = ?trace.phase(), ?step, "written");
            }
            Outcome::Done => {
                trace.has_reports &= step != Step::Reports;
                trace.timing.done(step, now);
            }
            Outcome::Again(asked) => trace.timing.failed(step, asked, now),
        }
        self.refresh(key, now);
    }

    /// The first action that is due for a trace, if there is one.
    fn act(&mut self, key: &Key, now: Timestamp) -> Option<Action> {
        Step::ALL.into_iter().find_map(|step| {
            let trace = self.traces.get(key)?;
            let interval = self.indexes.pace.interval(trace.namespace(), trace.asked_interval());
            if trace.due_at(step, self.reports.of(key), interval, now)? > now {
                return None;
            }
            let object = trace.object.clone();
            let action = match step {
                Step::Deletion => Action { object: Box::new(object), work: Work::Delete },
                Step::Reports => {
                    self.reports.forget(key);
                    Action { object: Box::new(object), work: Work::DeleteReports }
                }
                Step::Status => self.status(key, interval, now)?,
                Step::Metadata => {
                    let patch = metadata::patch(&object)?;
                    Action { object: Box::new(object), work: Work::PatchMetadata(patch) }
                }
            };
            self.traces.get_mut(key)?.timing.begin(step);
            Some(action)
        })
    }

    /// The write of a trace's status, if that is another than the one shown.
    fn status(&mut self, key: &Key, report_interval: Duration, now: Timestamp) -> Option<Action> {
        let trace = self.traces.get(key)?;
        let status = if trace.keeps_status(self.reports.of(key), now) {
            trace.status_of_this_spec()?
        } else {
            self.counts.merges += 1;
            self.merge(key, trace, report_interval, now)
        };
        let trace = self.traces.get_mut(key)?;
        trace.timing.looked(now);
        if trace.object.status.as_ref() == Some(&status) {
            return None;
        }
        let mut object = trace.object.clone();
        let before = object.status.replace(status).unwrap_or_default();
        let notices = notices(&before, object.status.as_ref()?);
        Some(Action { object: Box::new(object), work: Work::WriteStatus(notices) })
    }

    fn merge(
        &self,
        key: &Key,
        trace: &Trace,
        report_interval: Duration,
        now: Timestamp,
    ) -> TrafficTraceStatus {
        let none = NodeReports::default();
        let namespace = trace.namespace();
        let live_pods = match &trace.selector {
            Some(selector) => self.pods.by_node(namespace, selector),
            None => BTreeMap::new(),
        };
        merge(&Inputs {
            trace: &trace.object,
            invalid: trace.invalid.as_deref(),
            reports: self.reports.of(key).unwrap_or(&none),
            live_pods: &live_pods,
            node_exists: Some(&|name| self.node_names.has(name)),
            peers: &Peers {
                pods: &self.pods,
                services: &self.services,
                nodes: &self.nodes,
                scope: self.peer_scope,
                namespace,
            },
            report_interval,
            filters_changed: trace.filters_changed(),
            clock_offset_milliseconds: self.clock_offset,
            now,
        })
    }

    /// Brings the indexes up to date with a trace.
    fn refresh(&mut self, key: &Key, now: Timestamp) {
        let Some(trace) = self.traces.get(key) else { return };
        self.indexes.refresh(key, trace, self.reports.of(key), now);
    }

    /// Numbers for metrics.
    pub(super) fn numbers(&self, now: Timestamp) -> Numbers {
        let since = |time: Option<Timestamp>| {
            time.and_then(|time| Duration::try_from(now.duration_since(time)).ok()).unwrap_or_default()
        };
        Numbers {
            traces: self.indexes.phases,
            reports: self.reports.kept(),
            oldest_change: since(self.indexes.changes.next()),
            // A step that may be taken at once has the earliest time there is: it is not late.
            late: since(self.indexes.schedule.next().filter(|due| *due > Timestamp::MIN)),
            counts: self.counts,
        }
    }
}

#[cfg(test)]
mod tests;
