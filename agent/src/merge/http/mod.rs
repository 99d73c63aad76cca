//! HTTP requests of all nodes.

mod carried;
mod endpoints;

use traffictrace_crd::{
    HTTP_LOSSES, HttpReport, HttpStatus, HttpTotals, Losses, REQUEST_CLASSES, TLS_LISTED, TlsProcesses,
    TrafficTraceReportSpec, UNOBSERVED_REASONS, by_class,
};

use super::nodes::Node;
use super::text::clean;
use super::{Inputs, NodeReports};
pub(super) use carried::CarriedHttp;
pub(super) use endpoints::weight;

/// Returns the requests of a trace that asks for them, or for which requests were already shown.
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

/// Number of nodes that count a trace's flows but not the requests that it asks for.
pub(super) fn nodes_without(inputs: &Inputs<'_>) -> usize {
    if inputs.trace.spec.http.is_none() {
        return 0;
    }
    let reports = inputs.reports.nodes().map(|node| &node.newest().report);
    // A node that refuses the trace altogether is named for that.
    reports.filter(|report| report.refused.is_none() && report.http.is_none()).count()
}

/// Returns the sums of a report, and the part of them that earlier runs of the agent counted.
pub(super) fn sums(report: &TrafficTraceReportSpec) -> (HttpTotals, HttpTotals) {
    let http = report.http.as_ref();
    (
        http.map(|http| http.totals.clone()).unwrap_or_default(),
        http.and_then(|http| http.base.clone()).unwrap_or_default(),
    )
}

/// Makes the texts of a report's requests safe to show, except those in rows, of which only the largest are ever
/// decoded.
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

/// Keeps only known classes, merges unknown reasons into one, and removes negative counts. A report may have been
/// written by somebody else, and the API server has to accept the status.
fn clean_totals(totals: HttpTotals) -> HttpTotals {
    let by_class = by_class(&REQUEST_CLASSES.map(|class| totals.by_class.get(class).copied().unwrap_or(0)));
    HttpTotals {
        requests: by_class.values().fold(0, |sum, count| sum.saturating_add(*count)),
        by_class,
        unobserved: known(&totals.unobserved, &UNOBSERVED_REASONS),
        lost: known(&totals.lost, &HTTP_LOSSES),
        ..totals
    }
}

fn known(counts: &Losses, names: &[&str]) -> Losses {
    let mut known = Losses::new();
    for (name, count) in counts.iter().filter(|(_, count)| **count > 0) {
        let name = names.iter().find(|known| *known == name).unwrap_or(&"other");
        let sum = known.entry((*name).to_owned()).or_insert(0);
        *sum = sum.saturating_add(*count);
    }
    known
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

/// Returns the first [`TLS_LISTED`] groups of processes that use TLS, and the number of all groups. The processes of a
/// group belong to one pod, so no group is on two nodes.
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
