//! HTTP requests of a node that its newest report lacks, because an agent restarted without its last report.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use traffictrace_crd::{EndpointRow, HttpTotals};

use super::endpoints::{self, Key};
use super::sums;
use crate::merge::kept::Kept;

/// Maximum number of rows of earlier runs that are kept, which is as many as a status can list.
const CARRIED_ROWS: usize = 100;

/// Sum of the runs of an agent whose report was lost before the next run could continue it.
#[derive(Debug, Default)]
pub(in crate::merge) struct CarriedHttp {
    pub(super) totals: HttpTotals,
    pub(super) rows: HashMap<Key, EndpointRow>,
    pub(super) endpoints_total: i64,
    /// Set if a part of the totals is in no row, because rows of an earlier run were unknown or too many.
    pub(super) lacks_rows: bool,
}

impl CarriedHttp {
    /// Adds the requests in `old`, the last report of a run, that the next run did not continue from: the HTTP `base`
    /// of its report lacks them.
    pub(in crate::merge) fn carry(carried: &mut Option<Self>, old: &Kept, newest: &Kept) {
        let (_, base) = sums(&newest.report);
        let beyond = sums(&old.report).0.beyond(&base);
        if beyond == HttpTotals::default() {
            return;
        }
        let carried = carried.get_or_insert_default();
        carried.totals.add(&beyond);
        let endpoints = old.report.http.as_ref().map_or(0, |http| http.endpoints_total);
        carried.endpoints_total = carried.endpoints_total.max(endpoints);
        if base == HttpTotals::default() {
            carried.add_rows(old);
        } else {
            // The new run continued an older report of the previous run, whose rows are unknown by now. No rows are
            // added, since they might count requests twice.
            carried.lacks_rows = true;
        }
    }

    /// Adds the rows of a report. Only those with the most requests are kept.
    fn add_rows(&mut self, old: &Kept) {
        for row in old.endpoint_weights().filter_map(|(place, _)| old.endpoint(place)) {
            match self.rows.entry(Key::of(&row)) {
                Entry::Occupied(mut earlier) => endpoints::add(earlier.get_mut(), &row),
                Entry::Vacant(place) => drop(place.insert(row)),
            }
        }
        let surplus = self.rows.len().saturating_sub(CARRIED_ROWS);
        if surplus > 0 {
            self.lacks_rows = true;
            let mut ranked: Vec<(i64, Key)> =
                self.rows.iter().map(|(key, row)| (row.total(), key.clone())).collect();
            ranked.sort_unstable();
            for (_, key) in ranked.into_iter().take(surplus) {
                self.rows.remove(&key);
            }
        }
    }
}
