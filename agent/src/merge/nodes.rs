//! The reports of one trace, by node, including the counts of agents whose report was lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{FlowRow, Interruption, Losses, NotVisible, Refused, Totals, TrafficTraceReportSpec};

use super::carried::Carried;
use super::http::CarriedHttp;
use super::kept::Kept;
use super::rows;

/// Maximum number of interruptions, and of pods that cannot be seen, in a status.
pub(super) const LISTED: usize = 8;
/// Maximum number of kinds of traffic in a status that some kernel cannot show (`notSeen`).
const UNSEEN: usize = 16;
/// Maximum number of reasons of loss in a status.
const REASONS: usize = 16;

/// The newest report of every node, and the counts of earlier runs of its agent that the report lacks.
#[derive(Debug, Default)]
pub(crate) struct NodeReports {
    nodes: BTreeMap<String, Node>,
    counts: Counts,
}

/// Numbers of nodes, updated with each report, so that an event need not visit all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Number of nodes that trace or have traced.
    reporting: u32,
    /// Number of nodes that keep writing reports.
    writing: u32,
}

#[derive(Debug)]
pub(super) struct Node {
    newest: Kept,
    carried: Option<Carried>,
    carried_http: Option<CarriedHttp>,
    /// Set if the node traces or has traced. The node then has numbers to show, even while it refuses.
    traced: bool,
}

impl Node {
    fn new(newest: Kept) -> Self {
        Self { traced: has_traced(&newest.report), newest, carried: None, carried_http: None }
    }

    fn counts(&self) -> Counts {
        Counts { reporting: u32::from(self.traced), writing: u32::from(!self.newest.report.is_final) }
    }

    /// Returns the newest report.
    pub(super) fn newest(&self) -> &Kept {
        &self.newest
    }

    /// Returns the rows of earlier runs, which have to be added to those of the newest report.
    pub(super) fn carried_rows(&self) -> Option<&HashMap<rows::Key, FlowRow>> {
        self.carried.as_ref().map(|carried| &carried.rows).filter(|rows| !rows.is_empty())
    }

    /// Returns the HTTP requests of earlier runs, which have to be added to those of the newest report.
    pub(super) fn carried_http(&self) -> Option<&CarriedHttp> {
        self.carried_http.as_ref()
    }

    /// Replaces the report by a newer one. If the newer one belongs to another run of the agent, the counts that it did
    /// not continue from (its `base` lacks them) are carried: see [`Carried`].
    fn replace(&mut self, newest: Kept) {
        self.traced |= has_traced(&newest.report);
        let old = std::mem::replace(&mut self.newest, newest);
        let new = &self.newest.report;
        if old.report.epoch == new.epoch {
            return;
        }
        CarriedHttp::carry(&mut self.carried_http, &old, &self.newest);
        let base = new.base.clone().unwrap_or_default();
        let beyond = old.report.totals.beyond(&base);
        if beyond == Totals::default() {
            return;
        }
        self.carried.get_or_insert_default().carry(&old, &self.newest, &beyond);
    }
}

/// Returns true if the report's node traces or has traced. A node that refused from the start has counted nothing; one
/// that gave up its session keeps reporting its counts.
fn has_traced(report: &TrafficTraceReportSpec) -> bool {
    report.refused.is_none() || report.base.is_some() || report.totals != Totals::default()
}

impl NodeReports {
    /// Records a new or changed report. A report older than the known one is ignored.
    ///
    /// A vanished report needs no call and is kept, so that shown totals do not fall.
    pub(crate) fn apply(&mut self, report: TrafficTraceReportSpec) {
        let age = |report: &TrafficTraceReportSpec| (report.epoch, report.sequence);
        match self.nodes.get_mut(&report.node_name) {
            Some(node) if age(&report) < age(&node.newest.report) => {}
            Some(node) => {
                let before = node.counts();
                node.replace(Kept::new(report));
                let now = node.counts();
                self.counts.reporting = self.counts.reporting - before.reporting + now.reporting;
                self.counts.writing = self.counts.writing - before.writing + now.writing;
            }
            None => {
                let name = report.node_name.clone();
                let node = Node::new(Kept::new(report));
                self.counts.reporting += node.counts().reporting;
                self.counts.writing += node.counts().writing;
                self.nodes.insert(name, node);
            }
        }
    }

    /// Forgets a node.
    pub(crate) fn remove(&mut self, node: &str) {
        if let Some(node) = self.nodes.remove(node) {
            self.counts.reporting -= node.counts().reporting;
            self.counts.writing -= node.counts().writing;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// Returns true if a node has sent its final report.
    pub(crate) fn is_final(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.newest.report.is_final)
    }

    /// Returns true if a node's last report was made when it had no selected pods left.
    pub(crate) fn is_idle(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.newest.report.active_pods == 0)
    }

    /// Returns true if a node refuses and has no numbers.
    pub(crate) fn refuses(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.traced)
    }

    /// Returns every refusal by node, including nodes that traced earlier.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, &Refused)> {
        self.nodes
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), node.newest.report.refused.as_ref()?)))
    }

    /// Number of nodes that trace or have traced.
    pub(crate) fn reporting(&self) -> i32 {
        i32::try_from(self.counts.reporting).unwrap_or(i32::MAX)
    }

    /// Number of nodes that keep writing reports.
    pub(crate) fn writing(&self) -> u64 {
        self.counts.writing.into()
    }

    pub(crate) fn pods_of(&self, node: &str) -> i32 {
        // The two numbers are not added up, since a restarted agent sees the same pods again.
        let pods = |node: &Node| {
            node.newest.report.pods_matched.max(node.carried.as_ref().map_or(0, |carried| carried.pods))
        };
        self.nodes.get(node).map_or(0, pods)
    }

    pub(crate) fn containers(&self) -> i32 {
        let containers = |node: &Node| {
            let carried = node.carried.as_ref().map_or(0, |carried| carried.containers);
            node.newest.report.containers_matched.max(carried)
        };
        self.nodes.values().map(containers).fold(0, i32::saturating_add)
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for node in self.nodes.values() {
            totals.add(&node.newest.report.totals);
            if let Some(carried) = &node.carried {
                totals.add(&carried.totals);
            }
        }
        totals
    }

    pub(crate) fn flows_total(&self) -> i64 {
        let flows = |node: &Node| {
            let carried = node.carried.as_ref().map_or(0, |carried| carried.flows);
            node.newest.report.flows_total.max(carried)
        };
        self.nodes.values().map(flows).fold(0, i64::saturating_add)
    }

    /// Returns the time of the newest numbers.
    pub(crate) fn update_time(&self) -> Option<Time> {
        self.reports().filter_map(|report| report.update_time.as_ref()).max_by_key(|time| time.0).cloned()
    }

    /// Returns the time of the oldest numbers: among nodes that still trace or, if none does, among all.
    pub(crate) fn oldest_update_time(&self) -> Option<Time> {
        let times = |of: &dyn Fn(&&TrafficTraceReportSpec) -> bool| {
            self.reports()
                .filter(of)
                .filter_map(|report| report.update_time.as_ref())
                .min_by_key(|time| time.0)
        };
        times(&|report| !report.is_final && report.refused.is_none()).or_else(|| times(&|_| true)).cloned()
    }

    /// Returns the nodes that should report and have not done so since `moment`.
    pub(crate) fn silent_since(&self, moment: Timestamp) -> BTreeSet<&str> {
        let silent = |node: &Node| {
            let report = &node.newest.report;
            !report.is_final && report.update_time.as_ref().is_some_and(|time| time.0 < moment)
        };
        self.nodes.iter().filter(|(_, node)| silent(node)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns the oldest report time, not before `moment`, among the nodes that have to keep reporting. Nodes that
    /// last reported before `moment` count as silent already.
    pub(super) fn oldest_since(&self, moment: Timestamp) -> Option<Timestamp> {
        let live = self.reports().filter(|report| !report.is_final);
        let times = live.filter_map(|report| Some(report.update_time.as_ref()?.0));
        times.filter(|time| *time >= moment).min()
    }

    /// Returns the time of a node's newest numbers.
    pub(super) fn update_time_of(&self, node: &str) -> Option<Timestamp> {
        Some(self.nodes.get(node)?.newest.report.update_time.as_ref()?.0)
    }

    /// Returns the lowest spec generation among nodes that still trace, and the number of nodes whose generation is
    /// lower than `newest`.
    pub(crate) fn behind(&self, newest: i64) -> (Option<i64>, usize) {
        let live = self.reports().filter(|report| !report.is_final && report.refused.is_none());
        let generations: Vec<i64> = live.filter_map(|report| report.observed_generation).collect();
        let behind = generations.iter().filter(|generation| **generation < newest).count();
        (generations.into_iter().min(), behind)
    }

    /// Returns the nodes with wrong clocks, with the milliseconds by which each is ahead.
    pub(crate) fn clock_offsets(&self) -> impl Iterator<Item = (&str, i64)> {
        self.nodes
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), node.newest.report.clock_offset_milliseconds?)))
    }

    /// Returns the losses of all nodes by reason, with the rows that could not be read. If there are more than
    /// [`REASONS`], the last ones are summed up as `other`.
    pub(crate) fn lost(&self) -> Losses {
        let mut all = Losses::new();
        for node in self.nodes.values() {
            add_losses(&mut all, &node.newest.report.lost);
            if let Some(carried) = &node.carried {
                add_losses(&mut all, &carried.lost);
            }
        }
        let unread =
            [("unreadableFlows", self.unreadable()), ("unreadableEndpoints", self.unreadable_endpoints())];
        if all.len() > REASONS - unread.len() {
            let rest: Vec<String> = all.keys().skip(REASONS - unread.len() - 1).cloned().collect();
            let other = rest.iter().filter_map(|reason| all.remove(reason)).fold(0, i64::saturating_add);
            // Reports can have such a reason themselves, and those below.
            add_losses(&mut all, &[("other".to_owned(), other)].into());
        }
        let unread = unread.into_iter().filter(|(_, count)| *count > 0);
        add_losses(&mut all, &unread.map(|(reason, count)| (reason.to_owned(), count)).collect());
        all
    }

    /// Returns the newest interruptions of all nodes, oldest first.
    pub(crate) fn interruptions(&self) -> Vec<Interruption> {
        let mut all: Vec<Interruption> = Vec::new();
        for (name, node) in &self.nodes {
            let carried = node.carried.iter().flat_map(|carried| &carried.interruptions);
            for interruption in carried.chain(&node.newest.report.interruptions) {
                let interruption = Interruption { node_name: Some(name.clone()), ..interruption.clone() };
                if !all.contains(&interruption) {
                    all.push(interruption);
                }
            }
        }
        all.sort_by_key(|interruption| interruption.time.0);
        all.split_off(all.len().saturating_sub(LISTED))
    }

    pub(crate) fn not_visible(&self) -> Vec<NotVisible> {
        let all: BTreeSet<&NotVisible> = self.reports().flat_map(|report| &report.not_visible).collect();
        all.into_iter().take(LISTED).cloned().collect()
    }

    /// Returns the kinds of traffic that at least one node cannot see.
    pub(crate) fn not_seen(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.reports().flat_map(|report| &report.not_seen).collect();
        all.into_iter().take(UNSEEN).cloned().collect()
    }

    /// Returns the parts of the spec that nodes do not apply, each with the names of these nodes.
    pub(crate) fn not_enforced(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut parts: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for report in self.reports() {
            for part in &report.not_enforced {
                parts.entry(part).or_default().insert(report.node_name.clone());
            }
        }
        parts
    }

    /// Number of rows that cannot be decoded.
    fn unreadable(&self) -> i64 {
        let count: usize = self.nodes.values().map(|node| node.newest.unreadable()).sum();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Number of endpoints that cannot be decoded.
    fn unreadable_endpoints(&self) -> i64 {
        let count: usize = self.nodes.values().map(|node| node.newest.unreadable_endpoints()).sum();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Returns the state of every node.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    fn reports(&self) -> impl Iterator<Item = &TrafficTraceReportSpec> {
        self.nodes.values().map(|node| &node.newest.report)
    }
}

pub(super) fn add_losses(sum: &mut Losses, more: &Losses) {
    for (reason, times) in more.iter().filter(|(_, times)| **times > 0) {
        let sum = sum.entry(reason.clone()).or_insert(0);
        *sum = sum.saturating_add(*times);
    }
}
