//! The nodes of a trace by what has come from them: numbers, a refusal, or nothing yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{Phase, TrafficTraceStatus};

use super::life::Times;
use super::{Inputs, LivePods, is_over};

/// The time after which a node with selected pods from which nothing has come is named. A first report takes three
/// seconds and, in a large cluster, twenty more, whatever the interval is.
pub(crate) const UNTRACED_AFTER: Duration = Duration::from_secs(30);
/// Most nodes that a status names as missing.
const MISSING: usize = 16;

/// The nodes of a trace, counted.
pub(super) struct Nodes {
    /// Pods that are or were traced, or would be if their node's agent were there.
    pub(super) pods: i32,
    /// Nodes that have or had such pods.
    pub(super) matched: i32,
    /// Nodes that trace or have traced.
    pub(super) reporting: i32,
    /// Nodes that refuse, with no numbers.
    pub(super) refusing: BTreeSet<String>,
    /// The number of nodes that refuse now, with numbers of before or without.
    pub(super) refusals: usize,
    /// Nodes whose last numbers are not in and may come.
    pub(super) awaited: BTreeSet<String>,
    /// Nodes that left the cluster while pods of the trace were on them, before their last numbers were in.
    pub(super) left: BTreeSet<String>,
    /// Nodes that left the cluster after the trace's pods on them had gone, before they had reported that.
    pub(super) drained: BTreeSet<String>,
    /// Nodes with selected pods from which no report has come in time.
    pub(super) untraced: BTreeSet<String>,
    /// The moment at which the next node will be untraced, unless a report comes from it.
    pub(super) next_untraced: Option<Timestamp>,
}

impl Nodes {
    pub(super) fn of(inputs: &Inputs<'_>, times: Option<Times>, before: &TrafficTraceStatus) -> Self {
        let reports = inputs.reports;
        let over = before.phase.is_some_and(is_over);
        // A trace that is over does not look at the pods of today, nor one that has ended at those that came later, and
        // of one whose spec cannot be used nobody is expected to trace any.
        let usable = inputs.invalid.is_none() || before.phase == Some(Phase::Running);
        let counts = |pods: &LivePods| !over && usable && times.is_none_or(|times| pods.since < times.end);
        let live_pods: BTreeMap<&str, LivePods> = inputs
            .live_pods
            .iter()
            .filter(|(_, pods)| counts(pods))
            .map(|(name, pods)| (name.as_str(), *pods))
            .collect();
        // Pods that nobody traced may have gone meanwhile: what they moved is missing all the same.
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
                // One whose pods had gone for good had nothing more to count.
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
            // While nobody reports, the status alone knows of the pods that have gone.
            nodes.matched = nodes.matched.max(before.nodes_matched);
            nodes.pods = nodes.pods.max(before.pods_matched);
        }
        if over {
            // Nodes that were missing at the end are missing until their last report comes after all.
            let absent = before.missing_nodes.iter().filter(|name| !reports.is_final(name));
            let absent = absent.filter(|name| !nodes.left.contains(*name)).cloned().collect::<Vec<_>>();
            nodes.awaited.extend(absent);
        }
        nodes
    }

    /// Takes a node with selected pods from which nothing has come yet.
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

    /// The nodes of which numbers are missing at this phase, by name.
    pub(super) fn all_missing(&self, phase: Phase) -> BTreeSet<&str> {
        let awaited = self.awaited.iter().filter(|_| is_over(phase));
        awaited.chain(&self.left).chain(&self.untraced).map(String::as_str).collect()
    }

    /// The first of them, which a status names.
    pub(super) fn missing(&self, phase: Phase) -> Vec<String> {
        self.all_missing(phase).into_iter().take(MISSING).map(str::to_owned).collect()
    }
}

fn missed(status: &TrafficTraceStatus, node: &str) -> bool {
    status.missing_nodes.iter().any(|name| name == node)
}
