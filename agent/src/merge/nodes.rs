//! The reports of one trace, by node, and the counts that their newest versions do not contain.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{Refused, Totals, TrafficTraceReportSpec};

use super::carried::{Carried, surplus};
use super::kept::Kept;

/// The newest report of every node, and the counts of earlier runs that it does not continue.
#[derive(Debug, Default)]
pub(crate) struct NodeReports {
    nodes: BTreeMap<String, Node>,
    counts: Counts,
}

/// Numbers of nodes, kept up to date with each report, since every event asks for some of them.
#[derive(Debug, Default)]
struct Counts {
    reporting: usize,
    writing: usize,
}

/// The reports of one node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) newest: Kept,
    /// The counts of earlier runs that the newest one did not go on from. Nearly always none.
    pub(super) carried: Option<Box<Carried>>,
    /// The node traces, or has traced: it has numbers to show, also if it refuses now.
    traced: bool,
}

impl Node {
    fn new(report: Kept) -> Self {
        let traced = has_traced(&report.report);
        Self { newest: report, carried: None, traced }
    }

    /// Takes the newest report in place of the one known. Returns false if it is older.
    fn replace(&mut self, newest: Kept) -> bool {
        if newest.is_older_than(&self.newest) {
            return false;
        }
        self.traced |= has_traced(&newest.report);
        let earlier = std::mem::replace(&mut self.newest, newest);
        if earlier.report.epoch != self.newest.report.epoch {
            let base = self.newest.report.base.clone().unwrap_or_default();
            let surplus = surplus(&earlier.report.totals, &base);
            if surplus != Totals::default() {
                self.carried.get_or_insert_default().carry(&earlier, &self.newest, &surplus);
            }
        }
        true
    }

    fn is_writing(&self) -> bool {
        !self.newest.report.is_final
    }

    /// The node's counts since the trace began.
    fn totals(&self) -> Totals {
        let mut totals = self.newest.report.totals.clone();
        if let Some(carried) = &self.carried {
            totals.add(&carried.totals);
        }
        totals
    }
}

/// Whether a report has numbers of a node that traces or has traced. A node that refuses from the start has none.
fn has_traced(report: &TrafficTraceReportSpec) -> bool {
    report.refused.is_none() || report.totals != Totals::default()
}

impl Counts {
    fn add(&mut self, node: &Node) {
        self.reporting += usize::from(node.traced);
        self.writing += usize::from(node.is_writing());
    }

    fn remove(&mut self, node: &Node) {
        self.reporting -= usize::from(node.traced);
        self.writing -= usize::from(node.is_writing());
    }
}

impl NodeReports {
    /// Takes a report that is new or has changed. A report that is older than the one known of its node changes nothing.
    ///
    /// The report says which run of an agent counted (`epoch`) and from which totals that run began (`base`). When the
    /// run is another one, whatever the run before counted beyond that base is carried, so that nothing is lost and
    /// nothing counts twice. A report that vanishes stays counted for the same reason: nothing is to be called for that.
    pub(crate) fn apply(&mut self, report: TrafficTraceReportSpec) {
        let name = report.node_name.clone();
        let report = Kept::new(report);
        match self.nodes.get_mut(&name) {
            None => {
                let node = Node::new(report);
                self.counts.add(&node);
                self.nodes.insert(name, node);
            }
            Some(node) => {
                self.counts.remove(node);
                node.replace(report);
                self.counts.add(node);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The number of nodes that have sent a report.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// Whether a node has sent its last numbers.
    pub(crate) fn is_final(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.newest.report.is_final)
    }

    /// Whether a node's last report, final or not, leaves nothing to count: it had no pod to trace any more.
    pub(super) fn is_idle(&self, node: &str) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|node| node.newest.report.is_final || node.newest.report.active_pods == 0)
    }

    /// Whether a node refuses and has no numbers.
    pub(crate) fn refuses(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.traced)
    }

    /// Every refusal, by node, also of nodes that traced before.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, &Refused)> {
        self.nodes
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), node.newest.report.refused.as_ref()?)))
    }

    /// The number of nodes that trace or have traced.
    pub(crate) fn reporting(&self) -> i32 {
        i32::try_from(self.counts.reporting).unwrap_or(i32::MAX)
    }

    /// The number of nodes that go on writing reports.
    pub(crate) fn writing(&self) -> u64 {
        self.counts.writing as u64
    }

    pub(crate) fn pods_of(&self, node: &str) -> i32 {
        let of_node = |node: &Node| {
            node.newest.report.pods_matched.max(node.carried.as_ref().map_or(0, |carried| carried.pods))
        };
        self.nodes.get(node).map_or(0, of_node)
    }

    pub(super) fn containers(&self) -> i32 {
        let of_node = |node: &Node| {
            node.newest
                .report
                .containers_matched
                .max(node.carried.as_ref().map_or(0, |carried| carried.containers))
        };
        self.nodes.values().map(of_node).fold(0, i32::saturating_add)
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for node in self.nodes.values() {
            totals.add(&node.totals());
        }
        totals
    }

    /// Flows seen by all nodes. Runs of one node see the same flows again, so that the most of one run counts.
    pub(super) fn flows_total(&self) -> i64 {
        let of_node = |node: &Node| {
            node.newest.report.flows_total.max(node.carried.as_ref().map_or(0, |carried| carried.flows_total))
        };
        self.nodes.values().map(of_node).fold(0, i64::saturating_add)
    }

    /// When the newest numbers were read.
    pub(super) fn update_time(&self) -> Option<Time> {
        self.reports().filter_map(|report| report.update_time.as_ref()).max_by_key(|time| time.0).cloned()
    }

    /// When the oldest numbers were read, over the nodes that still count; over all that counted when none does any more.
    pub(super) fn oldest_update_time(&self) -> Option<Time> {
        let oldest = |of: &dyn Fn(&TrafficTraceReportSpec) -> bool| {
            let counted = self.reports().filter(|report| report.refused.is_none() && of(report));
            counted.filter_map(|report| report.update_time.as_ref()).min_by_key(|time| time.0).cloned()
        };
        oldest(&|report| !report.is_final).or_else(|| oldest(&|_| true))
    }

    /// The generations of the spec by which the nodes that still count work.
    pub(super) fn generations(&self) -> impl Iterator<Item = i64> {
        let counting = self.reports().filter(|report| !report.is_final && report.refused.is_none());
        counting.filter_map(|report| report.observed_generation)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// The newest report of every node.
    pub(super) fn reports(&self) -> impl Iterator<Item = &TrafficTraceReportSpec> {
        self.nodes.values().map(|node| &node.newest.report)
    }
}
