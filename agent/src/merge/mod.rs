//! From the reports of all nodes to the one status of a trace. No I/O: everything it needs is an argument, so that the
//! controller and the standalone agent answer alike.
//!
//! Read `merge` first; it has the map.

mod budget;
mod carried;
mod conditions;
mod findings;
mod kept;
mod life;
mod nodes;
mod rows;
mod summary;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{Phase, RefusedNode, SkewedClock, TrafficTrace, TrafficTraceStatus};

use life::Times;
pub(crate) use life::{LAST_REPORTS_WITHIN, is_over};
pub(crate) use nodes::NodeReports;
pub(crate) use text::{and_more, number_of, when};

/// The names of peers.
pub(crate) trait PeerNames {
    /// `pod NAMESPACE/NAME`, `service NAMESPACE/NAME` or `node NAME`, if something that is running has the address.
    fn name_of(&self, address: IpAddr) -> Option<String>;

    /// Says that a name that the status before has may be shown on.
    fn may_show(&self, _name: &str) -> bool {
        true
    }
}

/// The nodes of a cluster.
pub(crate) trait NodeNames {
    /// Says that there is a node of this name.
    fn has_node(&self, name: &str) -> bool;
}

/// The arguments of [`merge`].
pub(crate) struct Inputs<'a> {
    /// The trace, with the status that was shown last.
    pub(crate) trace: &'a TrafficTrace,
    /// Why the spec cannot be used, if it cannot.
    pub(crate) invalid: Option<&'a str>,
    /// The nodes' reports, of this trace (same UID) only.
    pub(crate) reports: &'a NodeReports,
    /// Pods that the selector matches now and that are placed on a node and not finished: how many by node.
    pub(crate) live_pods: &'a BTreeMap<String, i32>,
    /// Names of the nodes that the cluster has; nothing where that is not known.
    pub(crate) existing_nodes: Option<&'a dyn NodeNames>,
    /// Milliseconds by which this machine's clock is ahead of the API server's, if that is to be told.
    pub(crate) clock_offset: Option<i64>,
    /// The names of peers.
    pub(crate) peers: &'a dyn PeerNames,
    /// The interval at which nodes are to report.
    pub(crate) report_interval: Duration,
    /// Protocols, ports, networks or direction have changed since the status that was shown last.
    pub(crate) filters_changed: bool,
    /// The time.
    pub(crate) now: Timestamp,
}

/// Makes the status of a trace.
///
/// Shown totals never fall: what a vanished report had is kept by [`NodeReports`], and where that is not known any more
/// (the controller has restarted too) no total is less than the one shown last.
pub(crate) fn merge(inputs: &Inputs<'_>) -> TrafficTraceStatus {
    let trace = inputs.trace;
    let before = trace.status.clone().unwrap_or_default();
    let now = whole_seconds(inputs.now);
    let times = Times::of(trace, inputs.reports, now);
    let over = before.phase.is_some_and(is_over);
    // A trace that is over does not look at the pods of today.
    let no_pods = BTreeMap::new();
    let live_pods = if over { &no_pods } else { inputs.live_pods };

    let nodes = Nodes::of(inputs, live_pods, &before);
    let phase = life::phase(inputs, &before, times, &nodes);
    let namespace = trace.metadata.namespace.as_deref().unwrap_or_default();
    let wanted = usize::try_from(trace.spec.top_flows).unwrap_or(1).max(1);
    let top = rows::top(inputs.reports, namespace, wanted, &before.top_flows, inputs.peers);

    let listed = i64::try_from(top.flows.len()).unwrap_or(i64::MAX);
    let mut totals = inputs.reports.totals();
    totals.raise_to(&before.totals);
    let mut lost = inputs.reports.lost();
    if inputs.reports.unreadable() > 0 {
        lost.insert("unreadableFlows".into(), inputs.reports.unreadable());
    }
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
    status.summary = summary::summary(&status, &nodes);
    budget::fit(&mut status, wanted);
    status
}

/// Most nodes that a status names for one reason.
const NAMED: usize = 8;
/// Most nodes that a status names as missing.
const MISSING: usize = 16;

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

/// The nodes of a trace, counted.
struct Nodes {
    /// Pods that are or were traced, or would be if their node's agent were there.
    pods: i32,
    /// Nodes that have or had such pods.
    matched: i32,
    /// Nodes that trace or have traced.
    reporting: i32,
    /// Nodes that refuse, with no numbers.
    refusing: BTreeSet<String>,
    /// The number of nodes that refuse now, with numbers of before or without.
    refusals: usize,
    /// Nodes whose last numbers are not in and may come.
    awaited: BTreeSet<String>,
    /// Nodes that left the cluster before their last numbers were in.
    left: BTreeSet<String>,
}

impl Nodes {
    fn of(inputs: &Inputs<'_>, live_pods: &BTreeMap<String, i32>, before: &TrafficTraceStatus) -> Self {
        let reports = inputs.reports;
        let names: BTreeSet<&str> = reports.names().chain(live_pods.keys().map(String::as_str)).collect();
        let exists = |name: &str| inputs.existing_nodes.is_none_or(|nodes| nodes.has_node(name));
        let mut nodes = Self {
            pods: 0,
            matched: count(names.len()),
            reporting: 0,
            refusing: BTreeSet::new(),
            refusals: reports.refusals().count(),
            awaited: BTreeSet::new(),
            left: BTreeSet::new(),
        };
        for name in names {
            let live = live_pods.get(name).copied().unwrap_or(0);
            nodes.pods = nodes.pods.saturating_add(live.max(reports.pods_of(name)));
            if reports.refuses(name) {
                nodes.refusing.insert(name.to_owned());
                continue;
            }
            nodes.reporting += i32::from(reports.has(name));
            if reports.is_final(name) {
                continue;
            }
            if exists(name) {
                nodes.awaited.insert(name.to_owned());
            } else if reports.has(name) && !reports.is_idle(name) {
                // One that was drained before had nothing more to count.
                nodes.left.insert(name.to_owned());
            }
        }
        let over = before.phase.is_some_and(is_over);
        if over || nodes.reporting == 0 {
            // While nobody reports, the status alone knows of the pods that have gone.
            nodes.matched = nodes.matched.max(before.nodes_matched);
            nodes.pods = nodes.pods.max(before.pods_matched);
        }
        if over {
            // Nodes that were missing at the end are missing until their last report comes after all.
            let absent = before.missing_nodes.iter().filter(|name| !reports.is_final(name));
            let absent = absent.filter(|name| !nodes.left.contains(*name)).cloned().collect::<Vec<_>>();
            nodes.awaited.extend(absent);
        }
        nodes
    }

    /// The nodes that a status of this phase names as missing, by name.
    fn missing(&self, phase: Phase) -> Vec<String> {
        let awaited = self.awaited.iter().filter(|_| is_over(phase));
        let all: BTreeSet<&String> = awaited.chain(&self.left).collect();
        all.into_iter().take(MISSING).cloned().collect()
    }
}

/// A status carries whole seconds, as Kubernetes' own times do, so that what is read back equals what was written.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc))
        .unwrap_or(time)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
