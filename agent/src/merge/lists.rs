//! The lists of a status that are put together from all nodes' reports.

use std::collections::{BTreeMap, BTreeSet};

use traffictrace_crd::{Interruption, Losses, NotVisible, REFUSED_MESSAGE, RefusedNode, SkewedClock};

use super::NodeReports;
use super::flow_key::clean;
use super::text::shorten;

/// The most interruptions, refusals, clocks and pods that cannot be seen in a status.
const LISTED: usize = 8;
/// The most kinds of what is not seen in a status.
const UNSEEN: usize = 16;
/// The most reasons of loss in a status.
const REASONS: usize = 16;
/// The name under which the controller's own clock is listed.
pub(super) const CONTROLLER: &str = "controller";

impl NodeReports {
    /// Losses of all nodes by reason; the reasons beyond those that a status lists are one.
    pub(super) fn lost(&self) -> Losses {
        let mut all = Losses::new();
        for (_, node) in self.nodes() {
            let carried = node.carried.iter().flat_map(|carried| &carried.lost);
            for (reason, times) in
                node.newest.report.lost.iter().chain(carried).filter(|(_, times)| **times > 0)
            {
                let sum = all.entry(clean(reason)).or_insert(0);
                *sum = sum.saturating_add(*times);
            }
            // Their bytes are in the totals.
            let unreadable = i64::try_from(node.newest.unreadable()).unwrap_or(i64::MAX);
            if unreadable > 0 {
                let sum = all.entry("unreadableFlows".into()).or_insert(0);
                *sum = sum.saturating_add(unreadable);
            }
        }
        if all.len() > REASONS - 1 {
            let rest: Vec<String> = all.keys().skip(REASONS - 2).cloned().collect();
            let other = rest.iter().filter_map(|reason| all.remove(reason)).fold(0, i64::saturating_add);
            all.insert("other".into(), other);
        }
        all
    }

    /// The last interruptions of all nodes, oldest first.
    pub(super) fn interruptions(&self) -> Vec<Interruption> {
        let mut all: Vec<Interruption> = Vec::new();
        for (name, node) in self.nodes() {
            let carried = node.carried.iter().flat_map(|carried| &carried.interruptions);
            for interruption in carried.chain(&node.newest.report.interruptions) {
                let interruption = Interruption {
                    node_name: Some(name.to_owned()),
                    reason: clean(&interruption.reason),
                    ..interruption.clone()
                };
                if !all.contains(&interruption) {
                    all.push(interruption);
                }
            }
        }
        all.sort_by_key(|interruption| interruption.time.0);
        all.split_off(all.len().saturating_sub(LISTED))
    }

    /// Nodes that refuse, the first by name.
    pub(super) fn refused_nodes(&self) -> Vec<RefusedNode> {
        let listed = self.refusals().take(LISTED).map(|(node, refused)| RefusedNode {
            node_name: node.to_owned(),
            reason: clean(&refused.reason),
            message: shorten(clean(&refused.message), REFUSED_MESSAGE),
        });
        listed.collect()
    }

    /// Clocks that are off, the first by name, and this process's own, of which `own` tells by how many milliseconds.
    pub(super) fn skewed_clocks(&self, own: Option<i64>) -> Vec<SkewedClock> {
        let own = own.map(|offset| (CONTROLLER, offset));
        let nodes = self
            .nodes()
            .filter_map(|(name, node)| Some((name, node.newest.report.clock_offset_milliseconds?)));
        let all: Vec<(&str, i64)> = own.into_iter().chain(nodes).take(LISTED).collect();
        let seconds = |offset: i64| offset.saturating_add(500 * offset.signum()) / 1000;
        all.into_iter()
            .map(|(node, offset)| SkewedClock { node_name: node.to_owned(), offset_seconds: seconds(offset) })
            .collect()
    }

    pub(super) fn not_visible(&self) -> Vec<NotVisible> {
        let all: BTreeSet<&NotVisible> = self.reports().flat_map(|report| &report.not_visible).collect();
        let listed = all.into_iter().take(LISTED);
        listed.map(|pod| NotVisible { pod: clean(&pod.pod), reason: clean(&pod.reason) }).collect()
    }

    /// The kinds of traffic that some node cannot see.
    pub(super) fn not_seen(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.reports().flat_map(|report| &report.not_seen).collect();
        all.into_iter().take(UNSEEN).map(|kind| clean(kind)).collect()
    }

    /// The parts of the spec that some node does not enforce, each with the nodes.
    pub(super) fn not_enforced(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, node) in self.nodes() {
            for part in &node.newest.report.not_enforced {
                parts.entry(clean(part)).or_default().insert(name.to_owned());
            }
        }
        parts
    }
}
