//! A report in the form in which the controller keeps it.

use std::collections::HashMap;
use std::sync::LazyLock;

use traffictrace_crd::{
    EndpointRow, FlowRow, TrafficTraceReportSpec, column_names, decode_endpoints, decode_rows,
    endpoint_column_names,
};

use super::http;
use super::rows;
use super::text::clean_report;

/// A kept report. Thousands are in memory, and most of their rows are never shown, so rows stay encoded.
#[derive(Debug)]
pub(super) struct Kept {
    /// The report. Its lists of column names are emptied if they equal [`OWN_COLUMNS`] and [`OWN_ENDPOINT_COLUMNS`].
    pub(super) report: TrafficTraceReportSpec,
    /// Number of bytes by which each row is ranked; `None` for a row that cannot be decoded.
    weights: Vec<Option<i64>>,
    /// Number of requests by which each endpoint is ranked; `None` for one that cannot be decoded.
    endpoint_weights: Vec<Option<i64>>,
}

/// Column names of flows in reports of agents of this version.
static OWN_COLUMNS: LazyLock<Vec<String>> = LazyLock::new(column_names);
/// Column names of endpoints in reports of agents of this version.
static OWN_ENDPOINT_COLUMNS: LazyLock<Vec<String>> = LazyLock::new(endpoint_column_names);

impl Kept {
    pub(super) fn new(report: TrafficTraceReportSpec) -> Self {
        let mut report = clean_report(report);
        if report.columns == *OWN_COLUMNS {
            report.columns = Vec::new();
        }
        if let Some(http) = report.http.as_mut().filter(|http| http.columns == *OWN_ENDPOINT_COLUMNS) {
            http.columns = Vec::new();
        }
        let mut kept = Self { report, weights: Vec::new(), endpoint_weights: Vec::new() };
        let weight = |row: Result<FlowRow, _>| row.ok().map(|row| row.rx_bytes.saturating_add(row.tx_bytes));
        kept.weights = decode_rows(kept.columns(), &kept.report.flows).map(weight).collect();
        let weights = kept.decoded_endpoints(..).map(|row| row.and_then(|row| http::weight(&row)));
        kept.endpoint_weights = weights.collect();
        kept
    }

    fn columns(&self) -> &[String] {
        if self.report.columns.is_empty() { &OWN_COLUMNS } else { &self.report.columns }
    }

    /// Returns the index of each row, and the bytes by which it is ranked.
    pub(super) fn weights(&self) -> impl Iterator<Item = (usize, i64)> {
        self.weights.iter().enumerate().filter_map(|(place, weight)| Some((place, (*weight)?)))
    }

    /// Decodes the row at an index.
    pub(super) fn row(&self, place: usize) -> Option<FlowRow> {
        let rows = self.report.flows.get(place..=place)?;
        decode_rows(self.columns(), rows).next()?.ok()
    }

    /// Decodes all rows, except those that cannot be decoded.
    pub(super) fn rows(&self) -> HashMap<rows::Key, FlowRow> {
        let rows = decode_rows(self.columns(), &self.report.flows).filter_map(Result::ok);
        rows.map(|row| (rows::Key::of(&row), row)).collect()
    }

    /// Decodes a part of the endpoints; `None` for each that cannot be decoded.
    fn decoded_endpoints(
        &self,
        part: impl std::slice::SliceIndex<[String], Output = [String]> + Clone,
    ) -> impl Iterator<Item = Option<EndpointRow>> {
        let http = self.report.http.iter();
        http.flat_map(move |http| {
            let columns = if http.columns.is_empty() { &OWN_ENDPOINT_COLUMNS } else { &http.columns };
            decode_endpoints(columns, http.endpoints.get(part.clone()).unwrap_or_default()).map(Result::ok)
        })
    }

    /// Returns the index of each endpoint, and the requests by which it is ranked.
    pub(super) fn endpoint_weights(&self) -> impl Iterator<Item = (usize, i64)> {
        let weights = self.endpoint_weights.iter().enumerate();
        weights.filter_map(|(place, weight)| Some((place, (*weight)?)))
    }

    /// Decodes the endpoint at an index.
    pub(super) fn endpoint(&self, place: usize) -> Option<EndpointRow> {
        self.decoded_endpoints(place..=place).next()?
    }

    /// Number of endpoints that cannot be decoded.
    pub(super) fn unreadable_endpoints(&self) -> usize {
        self.endpoint_weights.iter().filter(|weight| weight.is_none()).count()
    }

    /// Upper bound of the requests of an endpoint that the report left out to stay small; 0 if it left out none.
    pub(super) fn endpoints_left_out(&self) -> i64 {
        let least = self.endpoint_weights.iter().flatten().min().copied().unwrap_or(i64::MAX);
        if self.report.http.as_ref().is_some_and(|http| http.truncated) { least } else { 0 }
    }

    /// Number of rows that cannot be decoded.
    pub(super) fn unreadable(&self) -> usize {
        self.weights.iter().filter(|weight| weight.is_none()).count()
    }

    /// Upper bound of the bytes of a flow that the report left out to stay small; 0 if it left out none.
    pub(super) fn left_out(&self) -> i64 {
        let least = self.weights.iter().flatten().min().copied().unwrap_or(i64::MAX);
        if self.report.truncated { least } else { 0 }
    }
}
