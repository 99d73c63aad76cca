//! The top endpoints of the cluster, from those of its nodes.
//!
//! A pod lives on one node and every row belongs to one pod, so no row has parts on two nodes. Rows of a node's earlier
//! runs are added to those of its newest run, and their histograms merge exactly.

use std::collections::HashMap;

use traffictrace_crd::{Endpoint, EndpointRow, HttpProtocol, HttpSide, Percentiles};
use traffictrace_http::endpoint::Histogram;

use super::CarriedHttp;
use crate::merge::NodeReports;
use crate::merge::kept::Kept;
use crate::merge::nodes::Node;
use crate::merge::text::clean;

/// The merged list of endpoints.
pub(super) struct Top {
    pub(super) endpoints: Vec<Endpoint>,
    /// Set if a node's list was cut and may lack an endpoint that belongs here.
    pub(super) truncated: bool,
}

/// Fields that identify a row of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::merge) struct Key {
    pod: String,
    container: Option<String>,
    command: Option<String>,
    side: HttpSide,
    protocol: HttpProtocol,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
}

impl Key {
    pub(super) fn of(row: &EndpointRow) -> Self {
        Self {
            pod: row.pod.clone(),
            container: row.container.clone(),
            command: row.command.clone(),
            side: row.side,
            protocol: row.protocol,
            method: row.method.clone(),
            host: row.host.clone(),
            path: row.path.clone(),
        }
    }
}

/// Returns the number of requests, by which rows are ranked, or `None` if the row's durations cannot be read.
pub(in crate::merge) fn weight(row: &EndpointRow) -> Option<i64> {
    row.durations.parse::<Histogram>().is_ok().then(|| row.total())
}

/// Adds the counts of the same row from another run of the agent.
pub(super) fn add(row: &mut EndpointRow, other: &EndpointRow) {
    for (count, more) in row.requests.iter_mut().zip(other.requests) {
        *count = count.saturating_add(more);
    }
    row.grpc_failed = row.grpc_failed.saturating_add(other.grpc_failed);
    row.request_bytes = row.request_bytes.saturating_add(other.request_bytes);
    row.response_bytes = row.response_bytes.saturating_add(other.response_bytes);
    let mut durations = histogram(row);
    durations.merge(&histogram(other));
    row.durations = durations.to_text();
    row.complete &= other.complete;
}

/// Returns the durations of a row that has a [weight].
fn histogram(row: &EndpointRow) -> Histogram {
    row.durations.parse().unwrap_or_default()
}

/// Returns the `wanted` endpoints with the most requests of all nodes, most first.
pub(super) fn top(reports: &NodeReports, namespace: &str, wanted: usize) -> Top {
    let mut rows = candidates(reports, wanted);
    // Rows with equal numbers have a fixed order, so that a status without news does not change.
    rows.sort_unstable_by(|(one, a), (other, b)| b.total().cmp(&a.total()).then_with(|| one.cmp(other)));
    rows.truncate(wanted);
    let last = rows.last().map_or(0, |(_, row)| row.total());
    // A row that a cut list lacks has at most as many requests as the last row in the list.
    let cut_at = reports.nodes().map(|node| node.newest().endpoints_left_out()).max().unwrap_or(0);
    let truncated = cut_at > 0 && (rows.len() < wanted || cut_at > last);
    Top { endpoints: rows.into_iter().map(|(_, row)| shown(row, namespace)).collect(), truncated }
}

/// Returns the rows that may be among the first `wanted`. Only these are decoded.
fn candidates(reports: &NodeReports, wanted: usize) -> Vec<(Key, EndpointRow)> {
    let mut rows: Vec<(Key, EndpointRow)> = Vec::new();
    let mut ranked: Vec<(i64, &Kept, usize)> = Vec::new();
    for node in reports.nodes() {
        match node.carried_http() {
            None => {
                let newest = node.newest();
                ranked.extend(newest.endpoint_weights().map(|(place, weight)| (weight, newest, place)));
            }
            Some(carried) => rows.extend(combined(node, carried)),
        }
    }
    ranked.sort_unstable_by_key(|(weight, _, _)| std::cmp::Reverse(*weight));
    // All rows as large as the last wanted one are included; [`top`] chooses among them by their keys.
    let least = wanted.checked_sub(1).and_then(|last| ranked.get(last)).map_or(0, |(weight, _, _)| *weight);
    let largest = ranked.into_iter().take_while(|(weight, _, _)| *weight >= least);
    rows.extend(largest.filter_map(|(_, kept, place)| {
        let row = kept.endpoint(place)?;
        Some((Key::of(&row), row))
    }));
    rows
}

/// Adds the rows of earlier runs to those of the newest run of a restarted agent.
fn combined(node: &Node, carried: &CarriedHttp) -> HashMap<Key, EndpointRow> {
    let mut rows = carried.rows.clone();
    let newest = node.newest();
    for row in newest.endpoint_weights().filter_map(|(place, _)| newest.endpoint(place)) {
        let row = EndpointRow { complete: row.complete && !carried.lacks_rows, ..row };
        let key = Key::of(&row);
        match rows.get_mut(&key) {
            Some(earlier) => add(earlier, &row),
            None => drop(rows.insert(key, row)),
        }
    }
    rows
}

/// Converts a row into an endpoint whose texts are safe to show.
fn shown(row: EndpointRow, namespace: &str) -> Endpoint {
    let latency = histogram(&row).latency();
    let microseconds = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let durations = Percentiles {
        p50: microseconds(latency.p50),
        p90: microseconds(latency.p90),
        p99: microseconds(latency.p99),
        max: microseconds(latency.max),
    };
    let row = EndpointRow {
        pod: clean(row.pod),
        container: row.container.map(clean),
        command: row.command.map(clean),
        method: row.method.map(clean),
        host: row.host.map(clean),
        path: row.path.map(clean),
        ..row
    };
    row.into_endpoint(namespace, durations)
}
