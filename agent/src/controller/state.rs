//! The controller's knowledge, and the decisions that follow from it. No I/O: changes come in, actions go out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use kube::core::SelectorExt as _;
use serde_json::Value;
use traffictrace_crd::{MAX_PROFILE_KIBIBYTES, PROFILE_INTERVAL, TrafficTrace, TrafficTraceReport};

use super::events::{Notice, events};
use super::metadata::{self, Paces};
use super::pace::{ProfilePace, ReportPace, profile_kibibytes};
use super::peers::{Addresses, Directory, NodeSet, PeerScope, Peers};
use super::pods::{Labels, PodRecord, Pods};
use super::reports::{Reports, trace_of};
use super::schedule::Schedule;
use super::services::{ServiceRecord, Services};
use super::trace::Trace;
use crate::kubeapi::{Change, Key};
use crate::merge::{Inputs, Merged, NodeReports, merge};

/// A change of a watched object.
#[derive(Debug)]
pub(super) enum Told {
    Trace(Change<TrafficTrace>),
    Report(Change<TrafficTraceReport>),
    Pod(Change<PodRecord>),
    Service(Change<ServiceRecord>),
    Node(Change<Addresses>),
}

/// A request to the API server.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Write the status of this object, if the object still has this version, and then send these Events about it.
    Write(Box<TrafficTrace>, Vec<Notice>),
    /// Patch the metadata of this object.
    Patch(Box<TrafficTrace>, Value),
    /// Delete this object, because its `ttlAfterFinished` is over.
    Delete(Box<TrafficTrace>),
    /// Delete the reports of this object, because its status is final.
    DeleteReports(Box<TrafficTrace>),
}

impl Action {
    /// Returns the trace that the action is about.
    pub(super) fn object(&self) -> &TrafficTrace {
        let (Self::Write(object, _)
        | Self::Patch(object, _)
        | Self::Delete(object)
        | Self::DeleteReports(object)) = self;
        object
    }
}

/// Result of an action.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object with its new status.
    Written(Box<TrafficTrace>),
    /// The object with its new metadata.
    Patched(Box<TrafficTrace>),
    /// The request succeeded, and the object has not changed.
    Done,
    /// The action failed, or its effect is not visible yet. It is tried again later, after the server's Retry-After if
    /// there was one. Possible causes: somebody else has changed the object, the server was unreachable, or the object
    /// is gone, which the watch will report.
    Again(Option<Duration>),
}

/// The controller's knowledge.
#[derive(Debug, Default)]
pub(super) struct State {
    peer_scope: PeerScope,
    /// Milliseconds by which this machine's clock is ahead of the API server's; `None` if unknown or tolerated.
    clock_offset: Option<i64>,
    /// Traces by UID.
    traces: HashMap<String, Trace>,
    /// UIDs of the traces of each namespace.
    of_namespace: HashMap<String, BTreeSet<String>>,
    reports: Reports,
    schedule: Schedule,
    pace: ReportPace,
    profile_pace: ProfilePace,
    pods: Pods,
    services: Services,
    nodes: Directory,
    node_names: NodeSet,
    complete: Complete,
    /// Number of times that a status was made, for tests.
    merges: u64,
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

impl State {
    pub(super) fn new(peer_scope: PeerScope) -> Self {
        Self { peer_scope, ..Self::default() }
    }

    /// Sets the milliseconds by which this machine's clock is ahead of the API server's; `None` if unknown or
    /// tolerated.
    pub(super) fn set_clock_offset(&mut self, offset: Option<i64>) {
        self.clock_offset = offset;
    }

    /// Returns true if all first lists are complete. Before that, a status would be made from incomplete data.
    pub(super) fn is_complete(&self) -> bool {
        let Complete { traces, reports, pods, services, nodes } = self.complete;
        traces && reports && pods && services && nodes
    }

    /// Records a change.
    pub(super) fn tell(&mut self, told: Told, now: Timestamp) {
        match told {
            Told::Trace(Change::Apply(trace)) => self.apply_trace(trace, now),
            Told::Trace(Change::Gone(key)) => self.forget_trace(&key),
            Told::Trace(Change::Complete) => self.complete.traces = true,
            Told::Report(Change::Apply(report)) => self.apply_report(report, now),
            Told::Report(Change::Gone(key)) => {
                let traces = &self.traces;
                self.reports.gone(&key, |trace| traces.contains_key(&trace.uid));
            }
            Told::Report(Change::Complete) => self.complete.reports = true,
            Told::Pod(Change::Apply(pod)) => {
                let namespace = pod.namespace().to_owned();
                let labels = self.pods.apply(pod, now);
                self.pods_changed(&namespace, &labels, now);
            }
            Told::Pod(Change::Gone(key)) => {
                let labels = self.pods.remove(&key, now);
                self.pods_changed(&key.namespace, labels.as_slice(), now);
            }
            Told::Pod(Change::Complete) => self.complete.pods = true,
            // Names are looked up when a status is made, so a changed address alone is no reason to make one.
            Told::Service(Change::Apply(service)) => self.services.apply(service),
            Told::Service(Change::Gone(key)) => self.services.remove(&key),
            Told::Service(Change::Complete) => self.complete.services = true,
            Told::Node(Change::Apply(node)) => {
                self.node_names.apply(node.key());
                self.nodes.apply(node);
            }
            Told::Node(Change::Gone(key)) => self.node_gone(&key, now),
            Told::Node(Change::Complete) => self.complete.nodes = true,
        }
    }

    fn apply_trace(&mut self, mut object: TrafficTrace, now: Timestamp) {
        let key = Key::of(&object);
        if key.uid.is_empty() {
            return;
        }
        // `managedFields` is not needed and larger than the rest of the object. A write without it leaves it unchanged.
        object.metadata.managed_fields = None;
        match self.traces.get_mut(&key.uid) {
            Some(trace) => trace.update(object, now),
            None => {
                let mut trace = Trace::new(object, now);
                trace.has_reports = self.reports.claim(&key);
                self.traces.insert(key.uid.clone(), trace);
                self.of_namespace.entry(key.namespace).or_default().insert(key.uid.clone());
            }
        }
        self.reckon(&key.uid, now);
    }

    fn forget_trace(&mut self, key: &Key) {
        self.traces.remove(&key.uid);
        self.reports.forget(key);
        self.schedule.set(&key.uid, None);
        self.pace.remove(&key.uid);
        self.profile_pace.remove(&key.uid);
        if let Some(uids) = self.of_namespace.get_mut(&key.namespace) {
            uids.remove(&key.uid);
            if uids.is_empty() {
                self.of_namespace.remove(&key.namespace);
            }
        }
    }

    fn apply_report(&mut self, report: TrafficTraceReport, now: Timestamp) {
        let (key, of) = (Key::of(&report), trace_of(&report));
        let known = of.as_ref().and_then(|of| Some(Key::of(&self.traces.get(&of.uid)?.object) == *of));
        let counts = known.unwrap_or_else(|| !self.complete.traces || self.reports.may_wait(&key));
        let Some(of) = of.filter(|_| counts) else {
            tracing::debug!("report {key} is of no trace that can be, and ignored");
            return;
        };
        let uid = of.uid.clone();
        self.reports.apply(of, report);
        if let Some(trace) = self.traces.get_mut(&uid) {
            trace.has_reports = true;
            trace.touch(now);
            self.reckon(&uid, now);
        }
    }

    /// Schedules the traces whose selector matches one of a pod's old or new labels.
    fn pods_changed(&mut self, namespace: &str, labels: &[Labels], now: Timestamp) {
        if labels.is_empty() {
            return;
        }
        let uids = self.of_namespace.get(namespace).into_iter().flatten();
        let selects = |uid: &&String| {
            let selector = self.traces.get(*uid).and_then(|trace| trace.selector.as_ref());
            selector.is_some_and(|selector| labels.iter().any(|labels| selector.matches(labels)))
        };
        let uids = uids.filter(selects).cloned().collect();
        self.touch(uids, now);
    }

    fn node_gone(&mut self, key: &Key, now: Timestamp) {
        self.nodes.remove(key);
        self.node_names.remove(key);
        self.touch(self.reports.traces_on(&key.name), now);
    }

    /// Schedules traces whose status depends on something that has changed, unless they are over.
    fn touch(&mut self, uids: Vec<String>, now: Timestamp) {
        for uid in uids {
            if let Some(trace) = self.traces.get_mut(&uid).filter(|trace| !trace.is_over()) {
                trace.touch(now);
                self.reckon(&uid, now);
            }
        }
    }

    /// Returns the actions that are due. There are none before all first lists are complete, since a status from
    /// incomplete data would be wrong.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Action> {
        if !self.is_complete() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for uid in self.schedule.take(now) {
            actions.extend(self.action(&uid, now));
            self.reckon(&uid, now);
        }
        actions
    }

    /// Returns the time of the next action, if no change comes before.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        if self.is_complete() { self.schedule.next() } else { None }
    }

    /// Records the result of an action. The watch may have reported it already.
    pub(super) fn done(&mut self, uid: &str, outcome: Outcome, now: Timestamp) {
        let Some(trace) = self.traces.get_mut(uid) else { return };
        match outcome {
            Outcome::Written(mut object) => {
                object.metadata.managed_fields = None;
                trace.written(&object, now);
                trace.done(Some(*object));
            }
            Outcome::Patched(mut object) => {
                object.metadata.managed_fields = None;
                trace.done(Some(*object));
            }
            Outcome::Done => {
                // Of the actions that end like this, only the deletion of reports leaves the trace in place.
                trace.has_reports = false;
                trace.done(None);
            }
            Outcome::Again(asked) => trace.failed(asked, now),
        }
        self.reckon(uid, now);
    }

    /// Updates the time at which a trace has to be looked at next, and its part of all writes, after anything about it
    /// has changed.
    fn reckon(&mut self, uid: &str, now: Timestamp) {
        let Some(trace) = self.traces.get(uid) else { return };
        let reports = self.reports.of(&Key::of(&trace.object));
        let writing = if trace.is_over() { 0 } else { reports.map_or(0, NodeReports::writing) };
        self.pace.set(uid, trace.namespace(), writing, asked(trace));
        let wants_stacks = trace.object.spec.stacks.is_some();
        let kibibytes = if wants_stacks { writing * profile_kibibytes(nodes(reports)) } else { 0 };
        self.profile_pace.set(uid, trace.namespace(), kibibytes, PROFILE_INTERVAL);
        let due = trace.due(reports, &self.paces(trace, reports), now);
        self.schedule.set(uid, due);
    }

    /// Returns the interval of a trace's node reports, which is also the interval at which its status is written.
    fn interval(&self, trace: &Trace) -> Duration {
        self.pace.interval(trace.namespace(), asked(trace))
    }

    /// Returns how often and how much the nodes of a trace may write.
    fn paces(&self, trace: &Trace, reports: Option<&NodeReports>) -> Paces {
        let reports_every = self.interval(trace);
        if trace.object.spec.stacks.is_none() {
            let profile_kibibytes = MAX_PROFILE_KIBIBYTES;
            return Paces { reports: reports_every, profiles: PROFILE_INTERVAL, profile_kibibytes };
        }
        Paces {
            reports: reports_every,
            profiles: self.profile_pace.interval(trace.namespace(), PROFILE_INTERVAL),
            profile_kibibytes: profile_kibibytes(nodes(reports)),
        }
    }

    fn action(&mut self, uid: &str, now: Timestamp) -> Option<Action> {
        let trace = self.traces.get(uid)?;
        if trace.is_busy(now) {
            return None;
        }
        let object = || Box::new(trace.object.clone());
        let of = Key::of(&trace.object);
        let action = if trace.deleted_at().is_some_and(|at| at <= now) {
            Some(Action::Delete(object()))
        } else if trace.reports_until().is_some_and(|until| until <= now) && trace.has_reports {
            // The status is final, so the reports are no longer needed.
            let action = Action::DeleteReports(object());
            self.reports.forget(&of);
            self.traces.get_mut(uid)?.looked(now);
            Some(action)
        } else {
            self.status_action(uid, &of, now)
        };
        let action = action.or_else(|| {
            let trace = self.traces.get(uid)?;
            let paces = self.paces(trace, self.reports.of(&of));
            let patch = metadata::patch(&trace.object, &paces)?;
            Some(Action::Patch(Box::new(trace.object.clone()), patch))
        })?;
        self.traces.get_mut(uid)?.begin_request();
        Some(action)
    }

    fn status_action(&mut self, uid: &str, of: &Key, now: Timestamp) -> Option<Action> {
        let trace = self.traces.get(uid)?;
        let interval = self.interval(trace);
        let reports = self.reports.of(of);
        if !trace.is_status_due(reports, interval, now) {
            return None;
        }
        // The reports of a finished trace are deleted. Its status is not made again without them.
        let Merged { status, look_again } = if trace.is_over() && reports.is_none() {
            Merged { status: trace.status_of_this_spec()?, look_again: None }
        } else {
            self.merges += 1;
            self.traces.get_mut(uid)?.check_spec();
            self.merge(self.traces.get(uid)?, self.reports.of(of), interval, now)
        };
        let trace = self.traces.get_mut(uid)?;
        trace.looked(now);
        trace.look_again = look_again;
        if trace.object.status.as_ref() == Some(&status) {
            return None;
        }
        // The Events are made before the write, by comparison with the status that is shown now. Once the write is
        // done, the watch may already have put the new status in its place.
        let events = events(trace.object.status.as_ref(), &status);
        let mut object = trace.object.clone();
        object.status = Some(status);
        Some(Action::Write(Box::new(object), events))
    }

    fn merge(
        &self,
        trace: &Trace,
        reports: Option<&NodeReports>,
        report_interval: Duration,
        now: Timestamp,
    ) -> Merged {
        let none = NodeReports::default();
        let namespace = trace.namespace();
        let live_pods = match &trace.selector {
            Some(selector) => self.pods.by_node(namespace, selector, &trace.object.spec.containers),
            None => BTreeMap::new(),
        };
        let only = match self.peer_scope {
            PeerScope::Cluster => None,
            PeerScope::Namespace => Some(namespace),
        };
        merge(&Inputs {
            trace: &trace.object,
            invalid: trace.invalid.as_deref(),
            reports: reports.unwrap_or(&none),
            live_pods: &live_pods,
            existing_nodes: Some(&self.node_names),
            clock_offset: self.clock_offset,
            peers: &Peers { pods: &self.pods, services: &self.services, nodes: &self.nodes, only, now },
            report_interval,
            filters_changed: trace.filters_changed(),
            now,
        })
    }

    /// Returns the longest time for which a change has waited to be in a status, beyond the report interval of its
    /// trace.
    pub(super) fn oldest_news(&self, now: Timestamp) -> Duration {
        let late = |trace: &Trace| {
            let age = Duration::try_from(now.duration_since(trace.changed()?)).ok()?;
            age.checked_sub(self.pace.interval(trace.namespace(), asked(trace)))
        };
        self.traces.values().filter_map(late).max().unwrap_or_default()
    }

    /// Numbers of traces, of reports, and of nodes that keep writing reports (summed over traces).
    pub(super) fn counts(&self) -> (usize, usize, u64) {
        (self.traces.len(), self.reports.len(), self.pace.writing())
    }
}

/// Number of nodes that have reported on a trace.
fn nodes(reports: Option<&NodeReports>) -> u64 {
    reports.map_or(0, |reports| reports.names().count() as u64)
}

/// Returns the interval of reports in a trace's spec; 10 s if it cannot be parsed.
fn asked(trace: &Trace) -> Duration {
    trace.object.spec.interval.get().unwrap_or(Duration::from_secs(10))
}

#[cfg(test)]
mod tests;
