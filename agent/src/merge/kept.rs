//! One report as the controller keeps it.

use std::collections::HashMap;
use std::sync::LazyLock;

use traffictrace_crd::{FlowRow, TrafficTraceReportSpec, column_names, decode_rows};

use super::rows;
use super::text::clean_report;

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
    pub(super) fn new(report: TrafficTraceReportSpec) -> Self {
        let mut report = clean_report(report);
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

    /// The bytes by which each row is ranked, with its place.
    pub(super) fn weights(&self) -> impl Iterator<Item = (usize, i64)> {
        self.weights.iter().enumerate().filter_map(|(place, weight)| Some((place, (*weight)?)))
    }

    /// The row at a place, if there is one that can be read.
    pub(super) fn row(&self, place: usize) -> Option<FlowRow> {
        let rows = self.report.flows.get(place..=place)?;
        decode_rows(self.columns(), rows).next()?.ok()
    }

    /// All rows that can be read.
    pub(super) fn rows(&self) -> HashMap<rows::Key, FlowRow> {
        let rows = decode_rows(self.columns(), &self.report.flows).filter_map(Result::ok);
        rows.map(|row| (rows::Key::of(&row), row)).collect()
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
