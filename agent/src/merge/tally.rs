//! The nodes of a trace, counted and sorted by what is known of them.

use std::collections::BTreeSet;

use traffictrace_crd::{Phase, TrafficTraceStatus};

use super::Inputs;
use super::life::is_over;

/// The nodes of a trace.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Pods that are or were traced, or would be if their node's agent were there.
    pub(super) pods: i32,
    /// Nodes that have or had such pods.
    pub(super) matched: i32,
    /// Nodes that refuse and have no numbers.
    pub(super) refusing: BTreeSet<String>,
    /// The number of nodes that refuse now, also of those that have numbers.
    pub(super) refusals: usize,
    /// Nodes that are there and whose last numbers are not in.
    pub(super) unfinished: BTreeSet<String>,
    /// Nodes that left the cluster before their last numbers came. They are not waited for.
    pub(super) left: BTreeSet<String>,
}

impl Tally {
    pub(super) fn of(inputs: &Inputs<'_>, before: &TrafficTraceStatus) -> Self {
        let reports = inputs.reports;
        let over = before.phase.is_some_and(is_over);
        // A trace that is over does not look at the pods of today.
        let live_pods = (!over).then_some(inputs.live_pods);
        let live = |name: &str| live_pods.and_then(|pods| pods.get(name)).copied().unwrap_or(0);
        let with_pods = live_pods.into_iter().flat_map(|pods| pods.keys().map(String::as_str));
        let names: BTreeSet<&str> = reports.names().chain(with_pods).collect();

        let mut tally = Self {
            matched: i32::try_from(names.len()).unwrap_or(i32::MAX),
            refusals: reports.refusals().count(),
            ..Self::default()
        };
        for name in names {
            tally.pods = tally.pods.saturating_add(live(name).max(reports.pods_of(name)));
            if reports.refuses(name) {
                tally.refusing.insert(name.to_owned());
            } else if !reports.is_final(name) {
                tally.awaits(name, inputs);
            }
        }
        if over {
            // Nodes that were missing at the end are missing until their last report comes after all.
            for name in before.missing_nodes.iter().filter(|name| !reports.is_final(name)) {
                tally.awaits(name, inputs);
            }
        }
        // While no node has reported, the status alone knows that there were pods at some time.
        if over || reports.reporting() == 0 {
            tally.matched = tally.matched.max(before.nodes_matched);
            tally.pods = tally.pods.max(before.pods_matched);
        }
        tally
    }

    /// Sorts in a node whose last numbers are not in.
    fn awaits(&mut self, name: &str, inputs: &Inputs<'_>) {
        let exists = inputs.node_exists.is_none_or(|exists| exists(name));
        if exists {
            self.unfinished.insert(name.to_owned());
        } else if !inputs.reports.is_idle(name) {
            self.left.insert(name.to_owned());
        }
    }

    /// The nodes whose last numbers are missing by now: once the trace is over all of them, before that those that will
    /// not come back.
    pub(super) fn missing(&self, phase: Phase) -> BTreeSet<String> {
        if is_over(phase) { self.unfinished.union(&self.left).cloned().collect() } else { self.left.clone() }
    }
}
