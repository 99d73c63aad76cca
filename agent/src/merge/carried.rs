//! The counts of a node that its newest report does not contain, because an agent began again without its last report.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use traffictrace_crd::{Flow, Interruption, Losses, Totals};

use super::flow_key::{FlowKey, add, is_empty, subtract};
use super::kept::Kept;

/// The most rows that are carried for a node: as many as `spec.topFlows` can ask for, since it may be raised later.
const ROWS: usize = 100;
/// The most interruptions that are carried for a node, which is the most that a status lists.
const INTERRUPTIONS: usize = 8;

/// The sum of what earlier runs of a node's agent counted and its newest run did not go on from.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) totals: Totals,
    /// Rows by their key, with counts that only grow.
    pub(super) rows: HashMap<FlowKey, Flow>,
    pub(super) lost: Losses,
    pub(super) interruptions: Vec<Interruption>,
    /// The most pods, containers and flows that one of those runs saw. The next run sees the same ones again, so that
    /// they are not added.
    pub(super) pods: i32,
    pub(super) containers: i32,
    pub(super) flows_total: i64,
    /// The largest flow that is in no row, because a report or this list had to stay small; 0 if there is none.
    pub(super) left_out: i64,
}

/// The counts of an earlier run that a later run's base does not contain; all zero when the later run went on from them.
pub(super) fn surplus(earlier: &Totals, base: &Totals) -> Totals {
    let more = |earlier: i64, base: i64| earlier.saturating_sub(base).max(0);
    Totals {
        rx_bytes: more(earlier.rx_bytes, base.rx_bytes),
        tx_bytes: more(earlier.tx_bytes, base.tx_bytes),
        connections: more(earlier.connections, base.connections),
        // Whatever was open then is counted again by the run that finds it open.
        connections_open: 0,
        connect_failures: more(earlier.connect_failures, base.connect_failures),
        retransmits: more(earlier.retransmits, base.retransmits),
        unattributed_bytes: more(earlier.unattributed_bytes, base.unattributed_bytes),
        unknown_direction_bytes: more(earlier.unknown_direction_bytes, base.unknown_direction_bytes),
    }
}

impl Carried {
    /// Adds what the last report of an earlier run has beyond the base of the first report known of a later one. The
    /// surplus of the totals is exact. The rows' is exact when the later run began at zero; when it began from an older
    /// report of the earlier run, the base of a single row is not known, and a row is carried only as far as the later
    /// run's own row does not reach: too little rather than twice.
    pub(super) fn carry(&mut self, earlier: &Kept, later: &Kept, surplus: &Totals) {
        self.totals.add(surplus);
        let began_at_zero = later.report.base.as_ref().is_none_or(|base| *base == Totals::default());
        let again: HashMap<FlowKey, Flow> = if began_at_zero {
            HashMap::new()
        } else {
            later.flows().map(|flow| (FlowKey::of(&flow), flow)).collect()
        };
        for mut flow in earlier.flows() {
            (flow.rx_bytes_per_second, flow.tx_bytes_per_second, flow.connections_open) = (0, 0, 0);
            let key = FlowKey::of(&flow);
            if let Some(again) = again.get(&key) {
                subtract(&mut flow, again);
            }
            if is_empty(&flow) {
                continue;
            }
            match self.rows.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(flow);
                }
                Entry::Occupied(mut sum) => add(sum.get_mut(), flow),
            }
        }
        self.left_out = self.left_out.saturating_add(earlier.left_out());
        self.bound();

        for (reason, times) in &earlier.report.lost {
            let known = if began_at_zero { 0 } else { later.report.lost.get(reason).copied().unwrap_or(0) };
            let sum = self.lost.entry(reason.clone()).or_insert(0);
            *sum = sum.saturating_add(times.saturating_sub(known).max(0));
        }
        self.interruptions.extend(earlier.report.interruptions.iter().cloned());
        self.interruptions.drain(..self.interruptions.len().saturating_sub(INTERRUPTIONS));
        self.pods = self.pods.max(earlier.report.pods_matched);
        self.containers = self.containers.max(earlier.report.containers_matched);
        self.flows_total = self.flows_total.max(earlier.report.flows_total);
    }

    /// Drops the smallest rows beyond the most that are carried. Totals have their bytes.
    fn bound(&mut self) {
        let surplus = self.rows.len().saturating_sub(ROWS);
        if surplus == 0 {
            return;
        }
        let mut ranked: Vec<(i64, FlowKey)> =
            self.rows.iter().map(|(key, flow)| (flow.weight(), key.clone())).collect();
        ranked.sort_unstable();
        for (weight, key) in ranked.into_iter().take(surplus) {
            self.rows.remove(&key);
            self.left_out = self.left_out.max(weight);
        }
    }
}
