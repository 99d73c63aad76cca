//! From the reports of all nodes to the one status of a trace. No I/O: everything it needs is an argument, so that the
//! controller and the standalone agent answer alike.
//!
//! Read `merge` first; it has the map.

mod budget;
mod carried;
mod conditions;
mod failure;
mod findings;
mod flow_key;
mod kept;
mod life;
mod lists;
mod nodes;
mod rows;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{TrafficTrace, TrafficTraceStatus};

use life::Times;
pub(crate) use life::{LAST_REPORTS_WITHIN, has_ended, is_over};
pub(crate) use nodes::NodeReports;
use tally::Tally;
pub(crate) use text::shorten;

/// The names of the peers of flows.
pub(crate) trait PeerNames {
    /// `pod NAMESPACE/NAME`, `service NAMESPACE/NAME` or `node NAME`, if something that is running has the address and
    /// may be named.
    fn name_of(&self, address: IpAddr) -> Option<String>;

    /// Whether a name that a status already has may still be shown.
    fn may_show(&self, _name: &str) -> bool {
        true
    }
}

/// The arguments of [`merge`].
pub(crate) struct Inputs<'a> {
    /// The trace, with the status that was shown last.
    pub(crate) trace: &'a TrafficTrace,
    /// Why the spec cannot be used, if it cannot.
    pub(crate) invalid: Option<&'a str>,
    /// The nodes' reports, of this trace (same UID) only.
    pub(crate) reports: &'a NodeReports,
    /// The number of pods, by node, that the selector matches now and that are placed on a node and not finished.
    pub(crate) live_pods: &'a BTreeMap<String, i32>,
    /// Tells whether a node of this name is in the cluster. `None` where there is no list of nodes: all count as there.
    pub(crate) node_exists: Option<&'a dyn Fn(&str) -> bool>,
    /// The names of peers.
    pub(crate) peers: &'a dyn PeerNames,
    /// How often nodes are to report.
    pub(crate) report_interval: Duration,
    /// Protocols, ports, networks or direction have changed since the status that was shown last.
    pub(crate) filters_changed: bool,
    /// By how many milliseconds this process's clock is ahead of the API server's, if it is off.
    pub(crate) clock_offset_milliseconds: Option<i64>,
    /// The time.
    pub(crate) now: Timestamp,
}

/// Makes the status of a trace.
///
/// Shown totals never fall: [`NodeReports`] keeps what a vanished report had, and where that is not known any more (the
/// controller has restarted too) no total is less than the one shown last.
pub(crate) fn merge(inputs: &Inputs<'_>) -> TrafficTraceStatus {
    let (trace, reports) = (inputs.trace, inputs.reports);
    let before = trace.status.clone().unwrap_or_default();
    let now = whole_seconds(inputs.now);
    let times = Times::of(trace, reports, now);
    let tally = Tally::of(inputs, &before);
    let phase = life::phase(inputs, &before, times, &tally);
    let ended = is_over(phase) || times.is_some_and(|times| now >= times.end);

    let namespace = trace.metadata.namespace.as_deref().unwrap_or_default();
    let wanted = usize::try_from(trace.spec.top_flows).unwrap_or(1).max(1);
    let top = rows::top(reports, namespace, wanted, &before.top_flows, inputs.peers);
    let mut totals = reports.totals();
    totals.raise_to(&before.totals);
    let listed = i64::try_from(top.flows.len()).unwrap_or(i64::MAX);
    let filters_changed = inputs.filters_changed && before.start_time.is_some() && !ended;

    let mut status = TrafficTraceStatus {
        observed_generation: trace.metadata.generation,
        phase: Some(phase),
        conditions: Vec::new(),
        start_time: times.map(|times| Time(times.start)),
        end_time: times.map(|times| Time(times.end)),
        filters_changed_time: filters_changed.then_some(Time(now)).or(before.filters_changed_time.clone()),
        pods_matched: tally.pods,
        containers_matched: reports.containers(),
        nodes_matched: tally.matched,
        nodes_reporting: reports.reporting(),
        report_interval_seconds: i32::try_from(inputs.report_interval.as_secs())
            .ok()
            .map(|seconds| seconds.max(1)),
        update_time: reports.update_time().or(before.update_time.clone()),
        oldest_update_time: reports.oldest_update_time().or(before.oldest_update_time.clone()),
        totals,
        flows_total: reports.flows_total().max(listed).max(before.flows_total),
        top_flows: top.flows,
        truncated: top.truncated,
        lost: reports.lost(),
        interruptions: reports.interruptions(),
        refused_nodes: reports.refused_nodes(),
        skewed_clocks: reports.skewed_clocks(inputs.clock_offset_milliseconds),
        missing_nodes: tally.missing(phase).into_iter().take(MISSING).collect(),
        not_visible: reports.not_visible(),
        not_seen: reports.not_seen(),
        summary: Default::default(),
    };
    let moment = life::Moment { now, times, ended };
    status.conditions = conditions::conditions(inputs, &before, &status, &tally, moment);
    status.summary = summary::summary(&status, &tally);
    budget::fit(&mut status, wanted);
    status
}

/// The most nodes whose last numbers are missing in a status.
const MISSING: usize = 16;

/// A status carries whole seconds, as Kubernetes' own times do, so that what is read back equals what was written.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc))
        .unwrap_or(time)
}
