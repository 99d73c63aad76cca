//! The HTTP requests of all nodes.

mod carried;
mod endpoints;

use std::collections::BTreeMap;

use traffictrace_crd::{
    HttpReport, HttpStatus, HttpTotals, TLS_LISTED, TlsProcesses, TrafficTraceReportSpec,
};

use super::nodes::Node;
use super::text::clean;
use super::{Inputs, NodeReports};
pub(super) use carried::CarriedHttp;
pub(super) use endpoints::weight;

/// The requests of a trace that asks for them, or for which some were shown before.
pub(super) fn requests(inputs: &Inputs<'_>, before: Option<&HttpStatus>) -> Option<HttpStatus> {
    let asked = inputs.trace.spec.http.as_ref();
    if asked.is_none() && before.is_none() {
        return None;
    }
    let wanted = asked.map_or(0, |http| usize::try_from(http.top_endpoints).unwrap_or(1).max(1));
    let namespace = inputs.trace.metadata.namespace.as_deref().unwrap_or_default();
    let top = endpoints::top(inputs.reports, namespace, wanted);
    let mut totals = totals(inputs.reports);
    let mut endpoints_total = endpoints_total(inputs.reports).max(count(top.endpoints.len()));
    if let Some(before) = before {
        totals.raise_to(&before.totals);
        endpoints_total = endpoints_total.max(before.endpoints_total);
    }
    let (tls, tls_total) = tls(inputs.reports);
    Some(HttpStatus {
        totals,
        top_endpoints: top.endpoints,
        endpoints_total,
        truncated: top.truncated,
        tls,
        tls_total,
    })
}

/// The number of nodes that count the flows of a trace but not the requests that it asks for.
pub(super) fn nodes_without(inputs: &Inputs<'_>) -> usize {
    if inputs.trace.spec.http.is_none() {
        return 0;
    }
    let reports = inputs.reports.nodes().map(|node| &node.newest().report);
    // A node that refuses is told of as such.
    reports.filter(|report| report.refused.is_none() && report.http.is_none()).count()
}

/// The sums of a report, and the part of them that runs of the agent before had counted.
pub(super) fn sums(report: &TrafficTraceReportSpec) -> (HttpTotals, HttpTotals) {
    let http = report.http.as_ref();
    (
        http.map(|http| http.totals.clone()).unwrap_or_default(),
        http.and_then(|http| http.base.clone()).unwrap_or_default(),
    )
}

/// A report's requests whose texts are fit to be shown, but for the rows, of which only the largest are read at all.
pub(super) fn clean_http(http: HttpReport) -> HttpReport {
    let clean_entry = |entry: TlsProcesses| TlsProcesses {
        pod: clean(entry.pod),
        container: entry.container.map(clean),
        command: entry.command.map(clean),
        library: entry.library.map(clean),
        reason: entry.reason.map(clean),
        ..entry
    };
    HttpReport {
        totals: clean_totals(http.totals),
        base: http.base.map(clean_totals),
        tls: http.tls.into_iter().map(clean_entry).collect(),
        ..http
    }
}

fn clean_totals(totals: HttpTotals) -> HttpTotals {
    let all = |counts: BTreeMap<String, i64>| counts.into_iter().map(|(name, n)| (clean(name), n)).collect();
    HttpTotals {
        by_class: all(totals.by_class),
        unobserved: all(totals.unobserved),
        lost: all(totals.lost),
        ..totals
    }
}

fn totals(reports: &NodeReports) -> HttpTotals {
    let mut totals = HttpTotals::default();
    for node in reports.nodes() {
        totals.add(&sums(&node.newest().report).0);
        if let Some(carried) = node.carried_http() {
            totals.add(&carried.totals);
        }
    }
    totals
}

fn endpoints_total(reports: &NodeReports) -> i64 {
    let of_node = |node: &Node| {
        let newest = node.newest().report.http.as_ref().map_or(0, |http| http.endpoints_total);
        newest.max(node.carried_http().map_or(0, |carried| carried.endpoints_total))
    };
    reports.nodes().map(of_node).fold(0, i64::saturating_add)
}

/// The processes that speak TLS: a process is on one node alone.
fn tls(reports: &NodeReports) -> (Vec<TlsProcesses>, i64) {
    let https = || reports.nodes().filter_map(|node| node.newest().report.http.as_ref());
    let mut all: Vec<&TlsProcesses> = https().flat_map(|http| &http.tls).collect();
    all.sort_unstable();
    let total = https().map(|http| http.tls_total).fold(0, i64::saturating_add);
    (all.into_iter().take(TLS_LISTED).cloned().collect(), total)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
