//! The top flows of the cluster from the top flows of its nodes.
//!
//! A pod lives on one node and every row belongs to one pod, so that no row has parts on two nodes: the first K of all
//! nodes' first K are the first K of the cluster.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use traffictrace_crd::{Direction, Flow, Protocol};

use super::nodes::Kept;
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
    let mut flows = candidates(reports, namespace, wanted);
    // Equal weights in one order always, so that a status does not change when nothing has.
    flows.sort_unstable_by(|a, b| b.1.weight().cmp(&a.1.weight()).then_with(|| a.0.cmp(&b.0)));
    flows.truncate(wanted);
    let last = flows.last().map_or(0, |(_, flow)| flow.weight());
    // What a cut list leaves out is at most as large as its last row.
    let cut_at = reports.all().map(Kept::left_out).max().unwrap_or(0);
    let truncated = cut_at > 0 && (flows.len() < wanted || cut_at > last);

    let named: HashMap<Key, &String> =
        listed_before.iter().filter_map(|flow| Some((Key::of(flow), flow.peer.as_ref()?))).collect();
    let flows = flows.into_iter().map(|(key, mut flow)| {
        let address = flow.remote_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        let now = || address.and_then(|address| peers.name_of(address.to_canonical()));
        flow.peer = named.get(&key).map(|name| (*name).clone()).or_else(now);
        flow
    });
    Top { flows: flows.collect(), truncated }
}

/// The flows that may be among the first `wanted`; only these are read in full.
fn candidates(reports: &NodeReports, namespace: &str, wanted: usize) -> Vec<(Key, Flow)> {
    let mut flows: Vec<(Key, Flow)> = Vec::new();
    let mut ranked: Vec<(i64, &Kept, usize)> = Vec::new();
    for (before, newest) in reports.by_node() {
        if before.is_empty() {
            ranked.extend(newest.weights().map(|(place, weight)| (weight, newest, place)));
        } else {
            flows.extend(sums(before, newest, namespace));
        }
    }
    ranked.sort_unstable_by_key(|(weight, _, _)| std::cmp::Reverse(*weight));
    // All that are as large as the last one wanted: which of them come first is decided by their names.
    let least = ranked.get(wanted - 1).map_or(0, |(weight, _, _)| *weight);
    let rows = ranked.into_iter().take_while(|(weight, _, _)| *weight >= least);
    flows.extend(rows.filter_map(|(_, kept, place)| {
        let flow = kept.row(place)?.into_flow(namespace);
        Some((Key::of(&flow), flow))
    }));
    flows
}

/// The flows of a node whose agent began again: the same flow in two reports is counted in both.
fn sums(before: &[Kept], newest: &Kept, namespace: &str) -> HashMap<Key, Flow> {
    let mut flows: HashMap<Key, Flow> = HashMap::new();
    for (kept, is_newest) in before.iter().map(|kept| (kept, false)).chain([(newest, true)]) {
        for row in kept.weights().filter_map(|(place, _)| kept.row(place)) {
            let mut flow = row.into_flow(namespace);
            if !is_newest {
                flow.rx_bytes_per_second = 0;
                flow.tx_bytes_per_second = 0;
                flow.connections_open = 0;
            }
            match flows.entry(Key::of(&flow)) {
                Entry::Vacant(place) => {
                    place.insert(flow);
                }
                Entry::Occupied(mut earlier) => add(earlier.get_mut(), flow),
            }
        }
    }
    flows
}

/// What makes a row a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    pod: String,
    container: Option<String>,
    caller_container: Option<String>,
    pid: Option<i64>,
    command: Option<String>,
    protocol: Protocol,
    direction: Direction,
    local: (Option<String>, Option<i32>),
    remote: (Option<String>, Option<i32>),
}

impl Key {
    fn of(flow: &Flow) -> Self {
        Self {
            pod: flow.pod.clone(),
            container: flow.container.clone(),
            caller_container: flow.caller_container.clone(),
            pid: flow.pid,
            command: flow.command.clone(),
            protocol: flow.protocol,
            direction: flow.direction,
            local: (flow.local_address.clone(), flow.local_port),
            remote: (flow.remote_address.clone(), flow.remote_port),
        }
    }
}

/// Adds what was counted later to the same flow.
fn add(flow: &mut Flow, later: Flow) {
    flow.rx_bytes = flow.rx_bytes.saturating_add(later.rx_bytes);
    flow.tx_bytes = flow.tx_bytes.saturating_add(later.tx_bytes);
    flow.rx_calls = flow.rx_calls.saturating_add(later.rx_calls);
    flow.tx_calls = flow.tx_calls.saturating_add(later.tx_calls);
    flow.connections = flow.connections.saturating_add(later.connections);
    flow.connections_open = later.connections_open;
    flow.connect_failures = flow.connect_failures.saturating_add(later.connect_failures);
    flow.retransmits = flow.retransmits.saturating_add(later.retransmits);
    flow.rx_bytes_per_second = later.rx_bytes_per_second;
    flow.tx_bytes_per_second = later.tx_bytes_per_second;
    flow.rtt_microseconds = later.rtt_microseconds.or(flow.rtt_microseconds);
    flow.container_pid = later.container_pid.or(flow.container_pid);
    flow.state = later.state;
}
