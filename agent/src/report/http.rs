//! The HTTP requests in a report.

use std::collections::BTreeMap;

use traffictrace_crd::{
    HttpReport, HttpTotals, Losses, TLS_LISTED, TLS_REASON, TlsProcesses, by_class, endpoint_column_names,
    human,
};
use traffictrace_http::Reason;
use traffictrace_http::endpoint::{self, Row, Sums, Unobserved};

use super::Inputs;
use super::build::{is_wanted, shorten};
use super::endpoints::{Named, classes, command, row, signed, subtract};
use super::identities::Owned;
use crate::engine::{HttpSnapshot, TlsProcess};

/// The owner of a cgroup about which nothing is known.
const UNKNOWN: Owned = Owned { pod: String::new(), container: None };

/// Makes the HTTP part of a report. `snapshot` must have all rows: rows of restarted containers are merged here, and
/// rows of containers that the trace does not want are subtracted from the totals.
pub(super) fn requests(inputs: &Inputs<'_>, snapshot: &HttpSnapshot) -> HttpReport {
    let Inputs { trace, identities, history, .. } = inputs;
    let mut sums = snapshot.totals.sums;
    let mut wanted = Vec::with_capacity(snapshot.rows.len());
    for row in &snapshot.rows {
        let owned = identities.resolve(row.owner.cgroup);
        if is_wanted(trace, owned.as_ref()) {
            let owner = Named { owned: owned.unwrap_or(UNKNOWN), command: row.owner.command };
            let (endpoint, counts) = (row.endpoint.clone(), row.counts.clone());
            wanted.push(Row { owner, endpoint, counts, complete: row.complete });
        } else {
            subtract(&mut sums, &row.counts.sums);
        }
    }
    let mut rows = endpoint::merge(wanted);
    let endpoints_total = signed((snapshot.rows_total - snapshot.rows.len() + rows.len()) as u64);
    rows.truncate(trace.top_endpoints());
    let before = history.http_before.as_ref().map(|before| &before.totals);
    let (tls, tls_total) = tls(inputs, &snapshot.tls);
    HttpReport {
        totals: totals(&sums, snapshot, before),
        base: before.cloned(),
        columns: endpoint_column_names(),
        endpoints: rows.iter().map(|one| row(one).encode()).collect(),
        endpoints_total,
        truncated: false,
        tls,
        tls_total,
    }
}

/// Returns the requests of an earlier report, for a trace whose requests are not counted now.
pub(super) fn kept(inputs: &Inputs<'_>, kept: &HttpReport) -> HttpReport {
    let base = inputs.history.http_before.as_ref().map(|before| before.totals.clone());
    HttpReport { base, ..kept.clone() }
}

fn totals(sums: &Sums, snapshot: &HttpSnapshot, before: Option<&HttpTotals>) -> HttpTotals {
    let mut unobserved = before.map(|before| before.unobserved.clone()).unwrap_or_default();
    let mut lost = before.map(|before| before.lost.clone()).unwrap_or_default();
    for reason in Unobserved::REASONS {
        add(&mut unobserved, reason_name(reason), snapshot.totals.unobserved.of(reason));
    }
    let missing = &snapshot.missing;
    add(&mut unobserved, "connectionsNotFollowed", missing.connections);
    add(&mut unobserved, "flowNotKnown", missing.without_flow);
    for (what, count) in [
        ("records", missing.lost.records),
        ("requests", missing.lost.requests),
        ("responses", missing.lost.responses),
        ("unknownRecords", missing.lost.unknown),
    ] {
        add(&mut lost, what, count);
    }
    HttpTotals {
        requests: signed(sums.requests()),
        by_class: by_class(&classes(sums)),
        grpc_failed: signed(sums.grpc_failed),
        request_bytes: signed(sums.request_bytes),
        response_bytes: signed(sums.response_bytes),
        unobserved,
        lost,
    }
}

fn add(losses: &mut Losses, what: &str, count: u64) {
    if count > 0 {
        let sum = losses.entry(what.to_owned()).or_insert(0);
        *sum = sum.saturating_add(signed(count));
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::LostResponse => "lostResponse",
        Reason::HeadTooLarge => "headTooLarge",
        Reason::Malformed => "malformed",
        Reason::NoMemory => "noMemory",
        Reason::MissingBytes => "missingBytes",
    }
}

/// Groups the processes that use TLS by all that a report says about them. Returns the first [`TLS_LISTED`] groups, and
/// the number of all groups.
fn tls(inputs: &Inputs<'_>, processes: &[TlsProcess]) -> (Vec<TlsProcesses>, i64) {
    let mut groups: BTreeMap<TlsProcesses, i64> = BTreeMap::new();
    for process in processes {
        let owned = inputs.identities.resolve(process.owner.cgroup);
        if !is_wanted(inputs.trace, owned.as_ref()) {
            continue;
        }
        let Owned { pod, container } = owned.unwrap_or(UNKNOWN);
        let known = |text: &str| (!text.is_empty()).then(|| shorten(&human::printable(text), TLS_REASON));
        let group = TlsProcesses {
            readable: process.readable,
            pod,
            container,
            command: command(&process.owner.command),
            library: known(&process.library),
            reason: known(&process.reason),
            processes: 0,
        };
        *groups.entry(group).or_insert(0) += 1;
    }
    let total = signed(groups.len() as u64);
    let listed = groups.into_iter().take(TLS_LISTED);
    (listed.map(|(group, processes)| TlsProcesses { processes, ..group }).collect(), total)
}

#[cfg(test)]
mod tests;
