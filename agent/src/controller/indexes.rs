//! Indexes over all traces, kept up to date one trace at a time.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use traffictrace_crd::Phase;

use super::pace::{Demand, Pace};
use super::schedule::Schedule;
use super::trace::Trace;
use crate::kubeapi::Key;
use crate::merge::{NodeReports, is_over};

/// What is found without looking at every trace.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    /// When each trace is looked at next.
    pub(super) schedule: Schedule,
    /// Since when each trace has a change that no status shows.
    pub(super) changes: Schedule,
    pub(super) pace: Pace,
    /// Traces by phase: Pending, Running, Completed, Failed.
    pub(super) phases: [usize; 4],
    /// Traces that are not over, by namespace.
    running: HashMap<String, HashSet<Key>>,
    /// What each trace adds to the numbers above.
    shares: HashMap<Key, (Phase, Demand)>,
}

impl Indexes {
    /// Takes in a trace that is new or has changed.
    pub(super) fn refresh(
        &mut self,
        key: &Key,
        trace: &Trace,
        reports: Option<&NodeReports>,
        now: Timestamp,
    ) {
        let (phase, asked) = (trace.phase(), trace.asked_interval());
        let writing = if is_over(phase) { 0 } else { reports.map_or(0, NodeReports::writing) };
        let demand = if writing == 0 { Demand::default() } else { Demand::new(writing, asked) };
        let before = self.shares.insert(key.clone(), (phase, demand));
        if let Some((phase, _)) = before {
            self.phases[phase as usize] -= 1;
        }
        self.phases[phase as usize] += 1;
        self.pace.change(
            trace.namespace(),
            before.map_or_else(Demand::default, |(_, demand)| demand),
            demand,
        );
        self.set_running(key, trace.namespace(), !is_over(phase));

        self.changes.set(key, trace.timing.changed());
        let interval = self.pace.interval(trace.namespace(), asked);
        self.schedule.set(key, trace.next_due(reports, interval, now));
    }

    /// Takes out a trace that is gone.
    pub(super) fn remove(&mut self, key: &Key, namespace: &str) {
        if let Some((phase, demand)) = self.shares.remove(key) {
            self.phases[phase as usize] -= 1;
            self.pace.change(namespace, demand, Demand::default());
        }
        self.set_running(key, namespace, false);
        self.changes.set(key, None);
        self.schedule.set(key, None);
    }

    /// The traces of a namespace that are not over.
    pub(super) fn running_in(&self, namespace: &str) -> Vec<Key> {
        self.running.get(namespace).into_iter().flatten().cloned().collect()
    }

    /// All traces that are not over.
    pub(super) fn running(&self) -> Vec<Key> {
        self.running.values().flatten().cloned().collect()
    }

    fn set_running(&mut self, key: &Key, namespace: &str, running: bool) {
        if running {
            let keys = self.running.entry(namespace.to_owned()).or_default();
            if !keys.contains(key) {
                keys.insert(key.clone());
            }
        } else if let Some(keys) = self.running.get_mut(namespace) {
            keys.remove(key);
            if keys.is_empty() {
                self.running.remove(namespace);
            }
        }
    }
}
