//! The top flows of the cluster from the top flows of its nodes.
//!
//! A pod lives on one node and every row belongs to one pod, so that no row has parts on two nodes: the first K of all
//! nodes' first K are the first K of the cluster.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use traffictrace_crd::Flow;

use super::carried::Carried;
use super::flow_key::{FlowKey, add, clean};
use super::kept::Kept;
use super::{NodeReports, PeerNames};

/// The merged list.
pub(super) struct Top {
    pub(super) flows: Vec<Flow>,
    /// A node's list was cut, and what it left out might belong here.
    pub(super) truncated: bool,
}

/// The `wanted` flows with the most bytes of all nodes, most first, with the peers that have a name.
///
/// A flow that was listed before keeps the name that its peer had then: the pod may be gone now, and its address may belong
/// to another.
pub(super) fn top(
    reports: &NodeReports,
    namespace: &str,
    wanted: usize,
    listed_before: &[Flow],
    peers: &dyn PeerNames,
) -> Top {
    let mut flows = candidates(reports, wanted);
    // Equal weights in one order always, so that a status does not change when nothing has.
    flows.sort_unstable_by(|a, b| b.1.weight().cmp(&a.1.weight()).then_with(|| a.0.cmp(&b.0)));
    flows.truncate(wanted);
    let last = flows.last().map_or(0, |(_, flow)| flow.weight());
    // A list that was cut leaves out at most as much as its last row has.
    let left_out = reports.nodes().map(|(_, node)| {
        node.newest.left_out().saturating_add(node.carried.as_ref().map_or(0, |carried| carried.left_out))
    });
    let cut_at = left_out.max().unwrap_or(0);
    let truncated = cut_at > 0 && (flows.len() < wanted || cut_at > last);

    let named: HashMap<FlowKey, &String> =
        listed_before.iter().filter_map(|flow| Some((FlowKey::of(flow), flow.peer.as_ref()?))).collect();
    let flows = flows.into_iter().map(|(key, mut flow)| {
        let address = flow.remote_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        let now = || address.and_then(|address| peers.name_of(address.to_canonical()));
        let earlier = named.get(&key).filter(|name| peers.may_show(name));
        flow.peer = earlier.map(|name| (*name).clone()).or_else(now).map(|name| clean(&name));
        flow.namespace = namespace.to_owned();
        flow
    });
    Top { flows: flows.collect(), truncated }
}

/// The flows that may be among the first `wanted`; only these are read in full.
fn candidates(reports: &NodeReports, wanted: usize) -> Vec<(FlowKey, Flow)> {
    let mut flows: Vec<(FlowKey, Flow)> = Vec::new();
    let mut ranked: Vec<(i64, &Kept, usize)> = Vec::new();
    for (_, node) in reports.nodes() {
        match &node.carried {
            Some(carried) => flows.extend(sums(carried, &node.newest)),
            None => ranked.extend(node.newest.weights().map(|(place, weight)| (weight, &node.newest, place))),
        }
    }
    ranked.sort_unstable_by_key(|(weight, _, _)| std::cmp::Reverse(*weight));
    // All that are as large as the last one wanted: which of them come first is decided by their names.
    let least = ranked.get(wanted - 1).map_or(0, |(weight, _, _)| *weight);
    let rows = ranked.into_iter().take_while(|(weight, _, _)| *weight >= least);
    flows.extend(rows.filter_map(|(_, kept, place)| {
        let flow = kept.flow(place)?;
        Some((FlowKey::of(&flow), flow))
    }));
    flows
}

/// The flows of a node whose agent began again: a flow that is in both lists is counted in both.
fn sums(carried: &Carried, newest: &Kept) -> HashMap<FlowKey, Flow> {
    let mut flows = carried.rows.clone();
    for flow in newest.flows() {
        match flows.entry(FlowKey::of(&flow)) {
            Entry::Vacant(place) => {
                place.insert(flow);
            }
            Entry::Occupied(mut earlier) => add(earlier.get_mut(), flow),
        }
    }
    flows
}
