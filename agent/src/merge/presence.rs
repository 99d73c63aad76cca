//! The nodes of a trace by what they have sent: numbers, a refusal, or nothing yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{Phase, TrafficTraceStatus};

use super::life::Times;
use super::{Inputs, LivePods, is_over};

/// Time after which a node with selected pods that has sent nothing is named. A first report takes three seconds and,
/// in a large cluster, up to twenty more, whatever the interval is.
pub(crate) const UNTRACED_AFTER: Duration = Duration::from_secs(30);
/// Maximum number of nodes that a status names as missing.
const MISSING: usize = 16;

/// The nodes of a trace, by state.
pub(super) struct Nodes {
    /// Number of pods that are or were traced, or would be if their node had an agent.
    pub(super) pods: i32,
    /// Number of nodes that have or had pods of the trace.
    pub(super) matched: i32,
    /// Number of nodes that trace or have traced.
    pub(super) reporting: i32,
    /// Nodes that refuse and have no numbers.
    pub(super) refusing: BTreeSet<String>,
    /// Number of nodes that refuse now, whether or not they have earlier numbers.
    pub(super) refusals: usize,
    /// Nodes whose last numbers are missing and may still come.
    pub(super) awaited: BTreeSet<String>,
    /// Nodes that left the cluster while pods of the trace ran on them, before their last numbers arrived.
    pub(super) left: BTreeSet<String>,
    /// Nodes that left the cluster after the trace's pods on them had ended, but before they reported that.
    pub(super) drained: BTreeSet<String>,
    /// Nodes with selected pods that have sent nothing within [`UNTRACED_AFTER`].
    pub(super) untraced: BTreeSet<String>,
    /// Time at which the next node will count as untraced unless it reports.
    pub(super) next_untraced: Option<Timestamp>,
}

impl Nodes {
    pub(super) fn of(inputs: &Inputs<'_>, times: Option<Times>, before: &TrafficTraceStatus) -> Self {
        let reports = inputs.reports;
        let over = before.phase.is_some_and(is_over);
        // Pods are ignored after the trace is over. Those that appear after its end are ignored as well, and so are all
        // pods if the spec cannot be used, since nobody is expected to trace them.
        let usable = inputs.invalid.is_none() || before.phase == Some(Phase::Running);
        let counts = |pods: &LivePods| !over && usable && times.is_none_or(|times| pods.since < times.end);
        let live_pods: BTreeMap<&str, LivePods> = inputs
            .live_pods
            .iter()
            .filter(|(_, pods)| counts(pods))
            .map(|(name, pods)| (name.as_str(), *pods))
            .collect();
        // Pods that nobody traced may have ended since. Their traffic is missing all the same.
        let untraced: BTreeSet<&str> =
            before.missing_nodes.iter().map(String::as_str).filter(|name| !reports.has(name)).collect();
        let names: BTreeSet<&str> =
            reports.names().chain(live_pods.keys().copied()).chain(untraced.iter().copied()).collect();
        let exists = |name: &str| inputs.existing_nodes.is_none_or(|nodes| nodes.has_node(name));
        let mut nodes = Self {
            pods: 0,
            matched: i32::try_from(names.len()).unwrap_or(i32::MAX),
            reporting: 0,
            refusing: BTreeSet::new(),
            refusals: reports.refusals().count(),
            awaited: BTreeSet::new(),
            left: BTreeSet::new(),
            drained: BTreeSet::new(),
            untraced: untraced.iter().map(|&name| name.to_owned()).collect(),
            next_untraced: None,
        };
        for name in names {
            let live = live_pods.get(name);
            let count = live.map_or(0, |live| live.count);
            nodes.pods = nodes.pods.saturating_add(count.max(reports.pods_of(name)));
            if reports.refuses(name) {
                nodes.refusing.insert(name.to_owned());
                continue;
            }
            nodes.reporting += i32::from(reports.has(name));
            if reports.is_final(name) {
                continue;
            }
            if !exists(name) {
                // Nothing is missing of a node that has left without selected pods on it.
                if reports.has(name) && !reports.is_idle(name) {
                    let had_pods = if over { missed(before, name) } else { count > 0 };
                    let of = if had_pods { &mut nodes.left } else { &mut nodes.drained };
                    of.insert(name.to_owned());
                }
                continue;
            }
            if reports.has(name) || live.is_some() {
                nodes.awaited.insert(name.to_owned());
            }
            if let Some(live) = live.filter(|_| !reports.has(name)) {
                nodes.expect(name, *live, times, inputs.now);
            }
        }
        if over || nodes.reporting == 0 {
            // The pods of a finished trace may be gone, and pods that ended while no node reported are in no report. The
            // status before this one has counted both, so its numbers are minimums.
            nodes.matched = nodes.matched.max(before.nodes_matched);
            nodes.pods = nodes.pods.max(before.pods_matched);
        }
        if over {
            // A node that was missing at the end stays missing until its last report arrives.
            let absent = before.missing_nodes.iter().filter(|name| !reports.is_final(name));
            let absent = absent.filter(|name| !nodes.left.contains(*name)).cloned().collect::<Vec<_>>();
            nodes.awaited.extend(absent);
        }
        nodes
    }

    /// Records a node with selected pods that has sent nothing yet: either it is late already, or it will be.
    fn expect(&mut self, name: &str, live: LivePods, times: Option<Times>, now: Timestamp) {
        let begun = times.map_or(live.since, |times| live.since.max(times.start));
        match begun.checked_add(UNTRACED_AFTER) {
            Ok(limit) if limit > now => {
                self.next_untraced = Some(self.next_untraced.map_or(limit, |next| next.min(limit)));
            }
            _ => {
                self.untraced.insert(name.to_owned());
            }
        }
    }

    /// Returns the names of the nodes whose numbers are missing in this phase.
    pub(super) fn all_missing(&self, phase: Phase) -> BTreeSet<&str> {
        let awaited = self.awaited.iter().filter(|_| is_over(phase));
        awaited.chain(&self.left).chain(&self.untraced).map(String::as_str).collect()
    }

    /// Returns the first [`MISSING`] names of [`Nodes::all_missing`], for the status.
    pub(super) fn missing(&self, phase: Phase) -> Vec<String> {
        self.all_missing(phase).into_iter().take(MISSING).map(str::to_owned).collect()
    }
}

fn missed(status: &TrafficTraceStatus, node: &str) -> bool {
    status.missing_nodes.iter().any(|name| name == node)
}
