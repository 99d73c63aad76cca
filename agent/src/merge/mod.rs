//! The merge of all nodes' reports into the one status of a trace. No I/O: everything is passed as an argument, so that
//! the controller and the standalone agent give the same result.
//!
//! Read `merge` first; it shows the whole process.

mod budget;
mod carried;
mod conditions;
mod findings;
mod http;
mod kept;
mod life;
mod nodes;
mod presence;
mod rows;
mod stacks;
mod summary;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{Protocol, RefusedNode, SkewedClock, TrafficTrace, TrafficTraceStatus};

use life::Times;
pub(crate) use life::{LAST_REPORTS_WITHIN, is_over};
pub(crate) use nodes::NodeReports;
use presence::Nodes;
pub(crate) use presence::UNTRACED_AFTER;
pub(crate) use text::{and_more, when};

/// Names of the two ends of flows.
pub(crate) trait PeerNames {
    /// Returns `pod NAMESPACE/NAME`, `service NAMESPACE/NAME` or `node NAME`, if one of these has the address now, or a
    /// pod had it until recently.
    fn name_of(&self, address: IpAddr) -> Option<String>;

    /// Returns the Services that offer a pod's port, as `NAME:PORT` with the Service's own port.
    fn services_of(&self, _namespace: &str, _pod: &str, _protocol: Protocol, _port: u16) -> Vec<String> {
        Vec::new()
    }

    /// Returns false if a peer's name in the last status must not be shown any more: it is of another namespace, and
    /// the controller now names only peers of the trace's own.
    fn may_show(&self, _name: &str) -> bool {
        true
    }
}

/// Knows the nodes of a cluster.
pub(crate) trait NodeNames {
    /// Returns true if a node with this name exists.
    fn has_node(&self, name: &str) -> bool;
}

/// Unfinished pods of a trace that are scheduled to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LivePods {
    pub(crate) count: i32,
    /// Time since which the node has any of them.
    pub(crate) since: Timestamp,
}

/// The result of [`merge`].
pub(crate) struct Merged {
    pub(crate) status: TrafficTraceStatus,
    /// Time at which the status has to be computed again even without news, because it will say more then.
    pub(crate) look_again: Option<Timestamp>,
}

/// The arguments of [`merge`].
pub(crate) struct Inputs<'a> {
    /// The trace, with the last shown status.
    pub(crate) trace: &'a TrafficTrace,
    /// The reason why the spec cannot be used, if there is one.
    pub(crate) invalid: Option<&'a str>,
    /// The nodes' reports for this trace (same UID) only.
    pub(crate) reports: &'a NodeReports,
    /// Pods that the selector matches now, by node.
    pub(crate) live_pods: &'a BTreeMap<String, LivePods>,
    /// Names of the nodes in the cluster, or `None` if they are unknown.
    pub(crate) existing_nodes: Option<&'a dyn NodeNames>,
    /// Milliseconds by which this machine's clock is ahead of the API server's; `None` if unknown or tolerated.
    pub(crate) clock_offset: Option<i64>,
    /// Resolver of peers' names.
    pub(crate) peers: &'a dyn PeerNames,
    /// Interval at which nodes have to report.
    pub(crate) report_interval: Duration,
    /// Set if protocols, ports, networks or direction have changed since the last shown status.
    pub(crate) filters_changed: bool,
    /// Current time.
    pub(crate) now: Timestamp,
}

/// Makes the status of a trace.
///
/// Shown totals never fall. [`NodeReports`] keeps the counts of reports that vanished. If the controller has restarted
/// as well and these are lost, no total is less than the last shown one.
pub(crate) fn merge(inputs: &Inputs<'_>) -> Merged {
    let trace = inputs.trace;
    let before = trace.status.clone().unwrap_or_default();
    let now = whole_seconds(inputs.now);
    let times = Times::of(trace, inputs.reports, now);
    let over = before.phase.is_some_and(is_over);

    let nodes = Nodes::of(inputs, times, &before);
    let phase = life::phase(inputs, &before, times, &nodes);
    let namespace = trace.metadata.namespace.as_deref().unwrap_or_default();
    let wanted = usize::try_from(trace.spec.top_flows).unwrap_or(1).max(1);
    let top = rows::top(inputs.reports, namespace, wanted, &before.top_flows, inputs.peers);

    let listed = i64::try_from(top.flows.len()).unwrap_or(i64::MAX);
    let mut totals = inputs.reports.totals();
    totals.raise_to(&before.totals);
    let lost = inputs.reports.lost();
    let filters_changed = inputs.filters_changed && before.start_time.is_some() && !over;

    let mut status = TrafficTraceStatus {
        observed_generation: trace.metadata.generation,
        phase: Some(phase),
        conditions: Vec::new(),
        start_time: times.map(|times| Time(times.start)),
        end_time: times.map(|times| Time(times.end)),
        filters_changed_time: if filters_changed {
            Some(Time(now))
        } else {
            before.filters_changed_time.clone()
        },
        pods_matched: nodes.pods,
        containers_matched: inputs.reports.containers(),
        nodes_matched: nodes.matched,
        nodes_reporting: nodes.reporting,
        report_interval_seconds: i32::try_from(inputs.report_interval.as_secs())
            .ok()
            .map(|seconds| seconds.max(1)),
        update_time: inputs.reports.update_time().or(before.update_time.clone()),
        oldest_update_time: inputs.reports.oldest_update_time().or(before.oldest_update_time.clone()),
        totals,
        flows_total: inputs.reports.flows_total().max(before.flows_total).max(listed),
        top_flows: top.flows,
        truncated: top.truncated,
        http: http::requests(inputs, before.http.as_ref()),
        stacks: stacks::stacks(inputs, before.stacks.as_ref()),
        lost,
        interruptions: inputs.reports.interruptions(),
        refused_nodes: refused_nodes(inputs),
        skewed_clocks: skewed_clocks(inputs),
        missing_nodes: nodes.missing(phase),
        not_visible: inputs.reports.not_visible(),
        not_seen: inputs.reports.not_seen(),
        summary: Default::default(),
    };
    let findings = findings::findings(inputs, &status, times, &nodes);
    status.conditions = conditions::conditions(inputs, &before, &status, times, &nodes, &findings, now);
    status.summary = summary::summary(&status, &nodes, http::nodes_without(inputs));
    budget::fit(&mut status, &trace.spec);
    let moments = nodes.next_untraced.into_iter().chain(findings::next_silence(inputs, &status));
    let look_again = moments.min().filter(|_| !is_over(phase));
    Merged { status, look_again }
}

/// Maximum number of nodes that a status names for one reason.
const NAMED: usize = 8;

fn refused_nodes(inputs: &Inputs<'_>) -> Vec<RefusedNode> {
    let named = inputs.reports.refusals().take(NAMED).map(|(node, refused)| RefusedNode {
        node_name: node.to_owned(),
        reason: refused.reason.clone(),
        message: refused.message.clone(),
    });
    named.collect()
}

fn skewed_clocks(inputs: &Inputs<'_>) -> Vec<SkewedClock> {
    let own = inputs.clock_offset.map(|offset| ("the controller", offset));
    let all = own.into_iter().chain(inputs.reports.clock_offsets());
    let named = all.take(NAMED).map(|(node, milliseconds)| SkewedClock {
        node_name: node.to_owned(),
        offset_seconds: milliseconds / 1000,
    });
    named.collect()
}

/// Cuts a time to whole seconds, like Kubernetes' own times, so that a status reads back as it was written.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc))
        .unwrap_or(time)
}
