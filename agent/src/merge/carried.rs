//! Counts of a node that its newest report lacks, because an agent restarted without its last report.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use traffictrace_crd::{FlowRow, Interruption, Losses, Totals};

use super::kept::Kept;
use super::nodes::{LISTED, add_losses};
use super::rows;

/// Maximum number of rows of earlier runs that are kept, which is as many as a status can list. Among rows of the same
/// size, any may be kept.
const CARRIED_ROWS: usize = 100;

/// Sum of the runs of an agent whose report was lost before the next run could continue it.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) totals: Totals,
    pub(super) lost: Losses,
    pub(super) interruptions: Vec<Interruption>,
    pub(super) pods: i32,
    pub(super) containers: i32,
    pub(super) flows: i64,
    pub(super) rows: HashMap<rows::Key, FlowRow>,
}

impl Carried {
    /// Adds the counts in `old`, the last report of a run, that the next run did not continue from: its report's `base`
    /// lacks them. `newest` is a report of the next run, and `beyond` has the totals of the added counts.
    pub(super) fn carry(&mut self, old: &Kept, newest: &Kept, beyond: &Totals) {
        self.totals.add(beyond);
        // Pods and flows are not added up, since runs see the same ones again.
        self.pods = self.pods.max(old.report.pods_matched);
        self.containers = self.containers.max(old.report.containers_matched);
        self.flows = self.flows.max(old.report.flows_total);
        for interruption in &old.report.interruptions {
            if !self.interruptions.contains(interruption) {
                self.interruptions.push(interruption.clone());
            }
        }
        let surplus = self.interruptions.len().saturating_sub(LISTED);
        self.interruptions.drain(..surplus);
        if newest.report.base.as_ref().is_none_or(|base| *base == Totals::default()) {
            add_losses(&mut self.lost, &old.report.lost);
            self.add_rows(old, &HashMap::new());
        } else {
            // The new run continued an older report of the previous run. The counts of single rows in that older report
            // are unknown. A row is therefore carried only as far as it exceeds the new run's row, which may be too
            // little but never counts twice.
            self.add_rows(old, &newest.rows());
        }
    }

    /// Adds the rows of a report, without the counts in `known`. Only the largest are kept.
    fn add_rows(&mut self, old: &Kept, known: &HashMap<rows::Key, FlowRow>) {
        for (key, row) in old.rows() {
            let mut row =
                FlowRow { rx_bytes_per_second: 0, tx_bytes_per_second: 0, connections_open: 0, ..row };
            if let Some(known) = known.get(&key) {
                rows::subtract(&mut row, known);
                if rows::weight(&row) == 0 {
                    continue;
                }
            }
            match self.rows.entry(key) {
                Entry::Occupied(mut earlier) => rows::add(earlier.get_mut(), row),
                Entry::Vacant(place) => drop(place.insert(row)),
            }
        }
        let surplus = self.rows.len().saturating_sub(CARRIED_ROWS);
        if surplus > 0 {
            let mut ranked: Vec<(i64, rows::Key)> =
                self.rows.iter().map(|(key, row)| (rows::weight(row), key.clone())).collect();
            ranked.sort_unstable();
            for (_, key) in ranked.into_iter().take(surplus) {
                self.rows.remove(&key);
            }
        }
    }
}
