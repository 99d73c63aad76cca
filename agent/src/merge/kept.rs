//! One report as the controller keeps it.

use std::sync::LazyLock;

use traffictrace_crd::{Flow, FlowRow, TrafficTraceReportSpec, column_names, decode_rows};

use super::flow_key::shown;

/// A report as it is kept: thousands of them are in memory, and most of their rows are never shown.
#[derive(Debug)]
pub(super) struct Kept {
    /// The report; without its columns where they are this version's own.
    pub(super) report: TrafficTraceReportSpec,
    /// The bytes by which each row is ranked; `None` for a row that cannot be read.
    weights: Vec<Option<i64>>,
}

/// The columns that nearly every report has.
static OWN_COLUMNS: LazyLock<Vec<String>> = LazyLock::new(column_names);

impl Kept {
    pub(super) fn new(mut report: TrafficTraceReportSpec) -> Self {
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

    /// Whether this report was written before `other`, by the same run of an agent or an earlier one.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        let age = |kept: &Self| (kept.report.epoch, kept.report.sequence);
        age(self) < age(other)
    }

    /// The bytes by which each row is ranked, with the row's place.
    pub(super) fn weights(&self) -> impl Iterator<Item = (usize, i64)> {
        self.weights.iter().enumerate().filter_map(|(place, weight)| Some((place, (*weight)?)))
    }

    /// The flow at a place, if its row can be read.
    pub(super) fn flow(&self, place: usize) -> Option<Flow> {
        let rows = self.report.flows.get(place..=place)?;
        Some(shown(decode_rows(self.columns(), rows).next()?.ok()?))
    }

    /// All flows whose rows can be read.
    pub(super) fn flows(&self) -> impl Iterator<Item = Flow> {
        decode_rows(self.columns(), &self.report.flows).filter_map(Result::ok).map(shown)
    }

    /// The number of rows that cannot be read.
    pub(super) fn unreadable(&self) -> usize {
        self.weights.iter().filter(|weight| weight.is_none()).count()
    }

    /// The largest flow that the report may have left out because it had to stay small; 0 if it left out none.
    pub(super) fn left_out(&self) -> i64 {
        let least = self.weights.iter().flatten().min().copied().unwrap_or(i64::MAX);
        if self.report.truncated { least } else { 0 }
    }
}
