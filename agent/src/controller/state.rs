//! What the controller knows, and what follows from it. No I/O: changes come in, actions go out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{TrafficTrace, TrafficTraceReport};

use super::pace::report_interval;
use super::peers::{Addresses, Directory, Peers};
use super::pods::{PodRecord, Pods};
use super::trace::Trace;
use super::watch::{Change, Key};
use crate::merge::{Inputs, NodeReports, merge};

/// A change of something that is watched.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "at most a queue of them exists, and most are of the large ones"
)]
pub(super) enum Told {
    Trace(Change<TrafficTrace>),
    Report(Change<TrafficTraceReport>),
    Pod(Change<PodRecord>),
    Service(Change<Addresses>),
    Node(Change<Addresses>),
}

/// What is to be done at the API server.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Write the status of this object, which has the version that it was made for.
    Write(Box<TrafficTrace>),
    /// Delete this object, whose time has come.
    Delete(Box<TrafficTrace>),
}

/// What has become of an action on the trace with this UID.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object as it is now.
    Written(Box<TrafficTrace>),
    /// Not done, or not yet visible: look again after a pause, as long as the server says if it does. Somebody else has
    /// changed the object, the server was away, or the object is gone and the watch will tell.
    Again(Option<Duration>),
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Traces by UID.
    traces: HashMap<String, Trace>,
    /// UIDs of traces by name.
    names: HashMap<Key, String>,
    /// Reports by the UID of their trace, which may not be known yet.
    reports: HashMap<String, NodeReports>,
    /// UIDs of traces by the name of the report.
    report_names: HashMap<Key, String>,
    pods: Pods,
    services: Directory,
    nodes: Directory,
    complete: Complete,
}

/// Of what the first list is complete.
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

impl State {
    /// Takes in a change.
    pub(super) fn tell(&mut self, told: Told) {
        match told {
            Told::Trace(Change::Apply(trace)) => self.apply_trace(trace),
            Told::Trace(Change::Gone(key)) => self.forget_trace(&key),
            Told::Trace(Change::Complete) => self.complete.traces = true,
            Told::Report(Change::Apply(report)) => self.apply_report(report),
            Told::Report(Change::Gone(key)) => self.forget_report(&key),
            Told::Report(Change::Complete) => self.complete.reports = true,
            Told::Pod(Change::Apply(pod)) => {
                let namespace = pod.namespace().to_owned();
                if self.pods.apply(pod) {
                    self.pods_changed(&namespace);
                }
            }
            Told::Pod(Change::Gone(key)) => {
                self.pods.remove(&key);
                self.pods_changed(&key.namespace);
            }
            Told::Pod(Change::Complete) => self.complete.pods = true,
            // A name for an address is looked up when a status is made; it is no reason to make one.
            Told::Service(Change::Apply(service)) => self.services.apply(service),
            Told::Service(Change::Gone(key)) => self.services.remove(&key),
            Told::Service(Change::Complete) => self.complete.services = true,
            Told::Node(Change::Apply(node)) => self.nodes.apply(node),
            Told::Node(Change::Gone(key)) => self.nodes.remove(&key),
            Told::Node(Change::Complete) => self.complete.nodes = true,
        }
    }

    fn apply_trace(&mut self, mut object: TrafficTrace) {
        let Some(uid) = object.metadata.uid.clone() else { return };
        // Who owns which field is not needed here and is larger than the rest. A write without it changes nothing of it.
        object.metadata.managed_fields = None;
        let key = Key::of(&object);
        if let Some(old) = self.names.insert(key, uid.clone()).filter(|old| *old != uid) {
            self.traces.remove(&old);
            self.reports.remove(&old);
        }
        match self.traces.get_mut(&uid) {
            Some(trace) => trace.update(object),
            None => {
                self.traces.insert(uid, Trace::new(object));
            }
        }
    }

    fn forget_trace(&mut self, key: &Key) {
        if let Some(uid) = self.names.remove(key) {
            self.traces.remove(&uid);
            self.reports.remove(&uid);
        }
    }

    fn apply_report(&mut self, report: TrafficTraceReport) {
        let uid = report.spec.trace_uid.clone();
        self.report_names.insert(Key::of(&report), uid.clone());
        if let Some(trace) = self.traces.get_mut(&uid) {
            trace.dirty = true;
        }
        self.reports.entry(uid).or_default().apply(report.spec);
    }

    /// A report that is deleted while its trace lives stays counted.
    fn forget_report(&mut self, key: &Key) {
        if let Some(uid) = self.report_names.remove(key)
            && !self.traces.contains_key(&uid)
        {
            self.reports.remove(&uid);
        }
    }

    fn pods_changed(&mut self, namespace: &str) {
        for trace in self.traces.values_mut().filter(|trace| !trace.is_over()) {
            trace.dirty |= trace.object.metadata.namespace.as_deref() == Some(namespace);
        }
    }

    /// What is to be done now. Nothing before all that exists is known: a status from half of it would be wrong.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Action> {
        if !self.complete.all() {
            return Vec::new();
        }
        let running = self.running_reports();
        let uids: Vec<String> = self.traces.keys().cloned().collect();
        uids.iter().filter_map(|uid| self.action(uid, running, now)).collect()
    }

    /// When there may be something to do next, if nothing is told.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.complete.all() {
            return None;
        }
        let running = self.running_reports();
        let of_trace = |(uid, trace): (&String, &Trace)| {
            let due = trace.due(self.reports.get(uid), interval(trace, running), now);
            [due, trace.deleted_at()].into_iter().flatten().min()
        };
        self.traces.iter().filter_map(of_trace).min()
    }

    /// What has become of an action.
    pub(super) fn done(&mut self, uid: &str, outcome: Outcome, now: Timestamp) {
        let Some(trace) = self.traces.get_mut(uid) else { return };
        match outcome {
            Outcome::Written(mut object) => {
                object.metadata.managed_fields = None;
                let phase = |object: &TrafficTrace| object.status.as_ref().and_then(|status| status.phase);
                if let Some(phase) = phase(&object) {
                    tracing::debug!(trace = %Key::of(&*object), ?phase, "status written");
                }
                trace.written(*object, now);
            }
            Outcome::Again(asked) => trace.failed(asked, now),
        }
    }

    fn action(&mut self, uid: &str, running: u64, now: Timestamp) -> Option<Action> {
        let trace = self.traces.get(uid)?;
        if trace.deleted_at().is_some_and(|at| at <= now) {
            let object = Box::new(trace.object.clone());
            self.traces.get_mut(uid)?.writing = true;
            return Some(Action::Delete(object));
        }
        let report_interval = interval(trace, running);
        let reports = self.reports.get(uid);
        if trace.due(reports, report_interval, now)? > now {
            return None;
        }
        let none = NodeReports::default();
        let namespace = trace.object.metadata.namespace.as_deref().unwrap_or_default();
        let live_pods = match &trace.selector {
            Some(selector) => self.pods.by_node(namespace, selector),
            None => BTreeMap::new(),
        };
        let status = merge(&Inputs {
            trace: &trace.object,
            invalid: trace.invalid.as_deref(),
            reports: reports.unwrap_or(&none),
            live_pods: &live_pods,
            peers: &Peers { pods: &self.pods, services: &self.services, nodes: &self.nodes },
            report_interval,
            filters_changed: trace.filters_changed(),
            now,
        });
        let trace = self.traces.get_mut(uid)?;
        trace.dirty = false;
        trace.looked = Some(now);
        if trace.object.status.as_ref() == Some(&status) {
            return None;
        }
        trace.writing = true;
        let mut object = trace.object.clone();
        object.status = Some(status);
        Some(Action::Write(Box::new(object)))
    }

    /// How many nodes write reports now, over all traces.
    fn running_reports(&self) -> u64 {
        let running = self.traces.iter().filter(|(_, trace)| !trace.is_over());
        running.map(|(uid, _)| self.reports.get(uid).map_or(0, NodeReports::writing)).sum()
    }
}

/// How often the nodes of a trace report, and how often its status is written.
fn interval(trace: &Trace, running: u64) -> Duration {
    let asked = trace.object.spec.interval.get().unwrap_or(Duration::from_secs(10));
    report_interval(asked, running)
}

#[cfg(test)]
mod tests;
