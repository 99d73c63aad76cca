//! The nodes of a trace, with the events on each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use traffictrace_crd::{
    TrafficTraceReportSpec, TrafficTraceStatus,
    human::{bytes, number_of, printable},
};
use traffictrace_view::units::lasted;

/// Returns one line for each known node, and one line about the nodes that are not named.
pub(super) fn lines(
    status: &TrafficTraceStatus,
    reports: Option<&[TrafficTraceReportSpec]>,
    is_over: bool,
    now: Timestamp,
) -> Vec<String> {
    let mut nodes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for report in reports.unwrap_or_default() {
        nodes.entry(&report.node_name).or_default().extend(reported(report, now));
    }
    let is_told = |nodes: &BTreeMap<&str, Vec<String>>, name: &str| nodes.contains_key(name);
    for refused in &status.refused_nodes {
        if !is_told(&nodes, &refused.node_name) {
            let refusal = refusal(&refused.reason, &refused.message);
            nodes.entry(&refused.node_name).or_default().push(refusal);
        }
    }
    for name in
        status.missing_nodes.iter().filter(|name| !nodes.contains_key(name.as_str())).collect::<Vec<_>>()
    {
        let what = if is_over { "its last numbers are missing" } else { "no agent has reported from there" };
        nodes.entry(name).or_default().push(what.to_owned());
    }
    for interruption in &status.interruptions {
        if let Some(name) = &interruption.node_name {
            let until = time(interruption.time.0);
            let when = match &interruption.since {
                Some(since) if *since == interruption.time => format!("for less than a second at {until}"),
                Some(since) => format!("from {} until {until}", time(since.0)),
                None => format!("until {until}"),
            };
            nodes.entry(name).or_default().push(format!("was interrupted {when} ({})", interruption.reason));
        }
    }
    for clock in &status.skewed_clocks {
        let side = if clock.offset_seconds < 0 { "behind" } else { "ahead of" };
        let by = clock.offset_seconds.unsigned_abs();
        let skew =
            format!("its clock is {by} s {side} the API server's, by which it traced: set it right (NTP)");
        nodes.entry(&clock.node_name).or_default().push(skew);
    }
    let line =
        |(name, told): (&&str, &Vec<String>)| format!("{}: {}", printable(name), printable(&told.join("; ")));
    let mut lines: Vec<String> = nodes.iter().map(line).collect();
    lines.extend(others(status, nodes.len(), reports.is_some(), is_over));
    lines
}

/// Describes the report of a node.
fn reported(report: &TrafficTraceReportSpec, now: Timestamp) -> Vec<String> {
    let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
    if let Some(refused) = &report.refused {
        return vec![refusal(&refused.reason, &refused.message)];
    }
    let traces = if report.is_final { "has traced" } else { "traces" };
    let mut told = vec![format!(
        "{traces} {}: {} received, {} sent",
        number_of(report.pods_matched, "pod"),
        bytes(unsigned(report.totals.rx_bytes)),
        bytes(unsigned(report.totals.tx_bytes)),
    )];
    if let Some(time) = report.update_time.as_ref().filter(|_| !report.is_final) {
        told.push(format!("numbers {} old", lasted(now.duration_since(time.0).as_secs())));
    }
    told.extend(
        report.hook_tier.as_ref().filter(|tier| *tier != "tp_btf").map(|tier| format!("counts by {tier}")),
    );
    told.extend(report.not_enforced.iter().map(|what| format!("does not do {what}")));
    if report.older_sockets_found == Some(false) {
        told.push("counts connections older than the trace from their next call on".to_owned());
    }
    told
}

fn refusal(reason: &str, message: &str) -> String {
    format!("does not trace ({reason}): {message}")
}

/// Returns a line about the nodes that have no line of their own.
fn others(status: &TrafficTraceStatus, named: usize, is_readable: bool, is_over: bool) -> Option<String> {
    let matched = usize::try_from(status.nodes_matched).unwrap_or(0);
    let others = matched.checked_sub(named).filter(|others| *others > 0)?;
    let nodes = number_of(others as u64, if named > 0 { "other node" } else { "node" });
    let why = match (is_over, is_readable) {
        (true, _) => "there is nothing more to say about",
        (false, false) => "you may not read the reports of",
        (false, true) => "no report is there of",
    };
    Some(if is_over && named == 0 {
        format!("{nodes} traced, and nothing happened there that a person should know.")
    } else {
        format!("{nodes}: {why} {}.", if others == 1 { "it" } else { "them" })
    })
}

/// Formats a time in UTC, to the second.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%H:%M:%S UTC").to_string()
}
