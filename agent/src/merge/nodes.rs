//! The reports of one trace, by node, and what is kept of them when they vanish or start again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{
    FlowRow, Interruption, Losses, NotVisible, Refused, Totals, TrafficTraceReportSpec, column_names,
    decode_rows,
};

/// How many interruptions and pods that cannot be seen a status lists.
const LISTED: usize = 8;
/// How many kinds of what is not seen a status lists.
const UNSEEN: usize = 16;
/// How many reasons of loss a status lists.
const REASONS: usize = 16;

/// The newest report of every node, and older ones that it does not continue.
#[derive(Debug, Default)]
pub(crate) struct NodeReports {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    newest: Kept,
    /// Reports whose counts the newest one does not contain: the agent began again from zero after its report was lost.
    before: Vec<Kept>,
}

impl Node {
    fn all(&self) -> impl Iterator<Item = &Kept> {
        self.before.iter().chain([&self.newest])
    }

    /// Why it does not trace. A node that refuses now but has traced before has numbers to show and counts as tracing.
    fn refusal(&self) -> Option<&Refused> {
        if self.before.is_empty() { self.newest.report.refused.as_ref() } else { None }
    }
}

/// A report as it is kept: thousands of them are in memory, and most of their rows are never shown.
#[derive(Debug)]
pub(super) struct Kept {
    /// The report; without its columns where they are this version's own.
    report: TrafficTraceReportSpec,
    /// What each row is ranked by, in bytes; `None` for a row that cannot be read.
    weights: Vec<Option<i64>>,
}

/// The columns that nearly every report has.
static OWN_COLUMNS: LazyLock<Vec<String>> = LazyLock::new(column_names);

impl Kept {
    fn new(mut report: TrafficTraceReportSpec) -> Self {
        if report.columns == *OWN_COLUMNS {
            report.columns = Vec::new();
        }
        let mut kept = Self { report, weights: Vec::new() };
        let weight = |row: Result<FlowRow, _>| row.ok().map(|row| row.rx_bytes.saturating_add(row.tx_bytes));
        kept.weights = decode_rows(kept.columns(), &kept.report.flows).map(weight).collect();
        kept
    }

    fn columns(&self) -> &[String] {
        if self.report.columns.is_empty() { &OWN_COLUMNS } else { &self.report.columns }
    }

    /// What each row is ranked by, with its place.
    pub(super) fn weights(&self) -> impl Iterator<Item = (usize, i64)> {
        self.weights.iter().enumerate().filter_map(|(place, weight)| Some((place, (*weight)?)))
    }

    /// The row at a place, if there is one that can be read.
    pub(super) fn row(&self, place: usize) -> Option<FlowRow> {
        let rows = self.report.flows.get(place..=place)?;
        decode_rows(self.columns(), rows).next()?.ok()
    }

    /// The largest flow that the report may have left out because it had to stay small; 0 if it left out none.
    pub(super) fn left_out(&self) -> i64 {
        let least = self.weights.iter().flatten().min().copied().unwrap_or(i64::MAX);
        if self.report.truncated { least } else { 0 }
    }
}

impl NodeReports {
    /// Takes a report that is new or has changed.
    ///
    /// An agent goes on from its last report, so counts only grow. Where they fall, the report was lost and the agent began
    /// again; what was counted before then stays counted. A report that vanishes is kept for the same reason: nothing is to
    /// be called for that.
    pub(crate) fn apply(&mut self, report: TrafficTraceReportSpec) {
        let name = report.node_name.clone();
        let newest = Kept::new(report);
        match self.nodes.get_mut(&name) {
            None => {
                self.nodes.insert(name, Node { newest, before: Vec::new() });
            }
            Some(node) => {
                let old = std::mem::replace(&mut node.newest, newest);
                let (was, is) = (&old.report.totals, &node.newest.report.totals);
                if is.rx_bytes < was.rx_bytes
                    || is.tx_bytes < was.tx_bytes
                    || is.connections < was.connections
                {
                    node.before.push(old);
                }
            }
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

    /// Whether a node has sent its last numbers.
    pub(crate) fn is_final(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.newest.report.is_final)
    }

    /// Whether a node refuses and has no numbers.
    pub(crate) fn refuses(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.refusal().is_some())
    }

    /// Every refusal, by node.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, &Refused)> {
        self.nodes
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), node.newest.report.refused.as_ref()?)))
    }

    /// How many nodes trace or have traced.
    pub(crate) fn reporting(&self) -> i32 {
        let count = self.nodes.values().filter(|node| node.refusal().is_none()).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// How many nodes go on writing reports.
    pub(crate) fn writing(&self) -> u64 {
        self.nodes.values().filter(|node| !node.newest.report.is_final).count() as u64
    }

    pub(crate) fn pods_of(&self, node: &str) -> i32 {
        // An agent that began again sees the same pods again: they are not added.
        self.nodes
            .get(node)
            .and_then(|node| node.all().map(|kept| kept.report.pods_matched).max())
            .unwrap_or(0)
    }

    pub(crate) fn containers(&self) -> i32 {
        let of_node = |node: &Node| node.all().map(|kept| kept.report.containers_matched).max().unwrap_or(0);
        self.nodes.values().map(of_node).fold(0, i32::saturating_add)
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (before, newest) in self.by_node() {
            for kept in before {
                totals.add(&Totals { connections_open: 0, ..kept.report.totals.clone() });
            }
            totals.add(&newest.report.totals);
        }
        totals
    }

    pub(crate) fn flows_total(&self) -> i64 {
        self.reports().map(|report| report.flows_total).fold(0, i64::saturating_add)
    }

    /// When the newest numbers were read.
    pub(crate) fn update_time(&self) -> Option<Time> {
        self.reports().filter_map(|report| report.update_time.as_ref()).max_by_key(|time| time.0).cloned()
    }

    /// Losses of all nodes by reason; the reasons beyond what a status lists are one.
    pub(crate) fn lost(&self) -> Losses {
        let mut all = Losses::new();
        for (reason, times) in self.reports().flat_map(|report| &report.lost).filter(|(_, times)| **times > 0)
        {
            let sum = all.entry(reason.clone()).or_insert(0);
            *sum = sum.saturating_add(*times);
        }
        if all.len() > REASONS - 1 {
            let rest: Vec<String> = all.keys().skip(REASONS - 2).cloned().collect();
            let other = rest.iter().filter_map(|reason| all.remove(reason)).fold(0, i64::saturating_add);
            all.insert("other".into(), other);
        }
        all
    }

    /// The last interruptions of all nodes, oldest first.
    pub(crate) fn interruptions(&self) -> Vec<Interruption> {
        let mut all: Vec<Interruption> = Vec::new();
        for (name, node) in &self.nodes {
            for interruption in node.all().flat_map(|kept| &kept.report.interruptions) {
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

    /// What some node cannot see.
    pub(crate) fn not_seen(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.reports().flat_map(|report| &report.not_seen).collect();
        all.into_iter().take(UNSEEN).cloned().collect()
    }

    /// Parts of the spec that some node does not enforce.
    pub(crate) fn not_enforced(&self) -> BTreeSet<&str> {
        self.reports().flat_map(|report| &report.not_enforced).map(String::as_str).collect()
    }

    /// Rows that cannot be read.
    pub(crate) fn unreadable(&self) -> i64 {
        let count =
            |node: &Node| node.all().flat_map(|kept| &kept.weights).filter(|weight| weight.is_none()).count();
        self.nodes
            .values()
            .map(|node| i64::try_from(count(node)).unwrap_or(i64::MAX))
            .fold(0, i64::saturating_add)
    }

    /// The reports of each node whose rows add up: older ones, and the newest.
    pub(super) fn by_node(&self) -> impl Iterator<Item = (&[Kept], &Kept)> {
        self.nodes.values().map(|node| (node.before.as_slice(), &node.newest))
    }

    /// All reports whose counts add up.
    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.nodes.values().flat_map(Node::all)
    }

    fn reports(&self) -> impl Iterator<Item = &TrafficTraceReportSpec> {
        self.all().map(|kept| &kept.report)
    }
}
