//! The top flows of the cluster, from the top flows of its nodes.
//!
//! A pod lives on one node and every row belongs to one pod, so no row has parts on two nodes. The first K of all
//! nodes' first K rows are therefore the first K of the cluster.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use traffictrace_crd::{Direction, Flow, FlowRow, Protocol, flow::service_named};

use super::kept::Kept;
use super::nodes::Node;
use super::text::clean;
use super::{NodeReports, PeerNames};

/// Maximum number of Services that a flow names, as in its definition.
const SERVICES: usize = 3;

/// The merged list of flows.
pub(super) struct Top {
    pub(super) flows: Vec<Flow>,
    /// Set if a node's list was cut and may lack a flow that belongs here.
    pub(super) truncated: bool,
}

/// Returns the `wanted` flows with the most bytes of all nodes, most first, with the names of their peers.
///
/// A flow that was already listed keeps the names of its peer and of its Services, since the pods may be gone and their
/// addresses may belong to other pods by now.
pub(super) fn top(
    reports: &NodeReports,
    namespace: &str,
    wanted: usize,
    listed_before: &[Flow],
    peers: &dyn PeerNames,
) -> Top {
    let mut rows = candidates(reports, wanted);
    // Rows with equal weights have a fixed order, so that a status without news does not change.
    rows.sort_unstable_by(|a, b| weight(&b.row).cmp(&weight(&a.row)).then_with(|| a.key.cmp(&b.key)));
    rows.truncate(wanted);
    let last = rows.last().map_or(0, |last| weight(&last.row));
    // A row that a cut list lacks is at most as large as the last row in the list.
    let cut_at = reports.nodes().map(|node| node.newest().left_out()).max().unwrap_or(0);
    let truncated = cut_at > 0 && (rows.len() < wanted || cut_at > last);

    let named: HashMap<FlowName<'_>, &Flow> =
        listed_before.iter().map(|flow| (FlowName::of(flow), flow)).collect();
    let flows = rows.into_iter().map(|Candidate { row, node, .. }| {
        let mut flow = shown(row).into_flow(namespace);
        flow.node_name = Some(clean(node.to_owned()));
        let address = flow.remote_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        let now = || address.and_then(|address| peers.name_of(address.to_canonical()));
        let before = named.get(&FlowName::of(&flow)).copied();
        let peer = before.and_then(|before| before.peer.clone()).filter(|name| peers.may_show(name));
        flow.peer = peer.or_else(now);
        flow.local_services = before.map(|before| before.local_services.clone()).unwrap_or_default();
        flow
    });
    let mut flows: Vec<Flow> = flows.collect();
    add_services(&mut flows, peers);
    Top { flows, truncated }
}

/// Adds the Services that lead to the pods' ports now to those that did earlier. Those that listed clients ask for come first.
fn add_services(flows: &mut [Flow], peers: &dyn PeerNames) {
    let asked: HashSet<String> = flows.iter().filter_map(asked_service).collect();
    let mut known: HashMap<(String, Protocol, u16), Vec<String>> = HashMap::new();
    for flow in flows.iter_mut().filter(|flow| flow.direction != Direction::Outbound) {
        let Some(port) = flow.local_port.and_then(|port| u16::try_from(port).ok()) else { continue };
        let now = known
            .entry((flow.pod.clone(), flow.protocol, port))
            .or_insert_with(|| peers.services_of(&flow.namespace, &flow.pod, flow.protocol, port));
        let names = &mut flow.local_services;
        names.extend(now.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        names.sort_by_key(|name| !asked.contains(name));
        names.truncate(SERVICES);
    }
}

/// Returns the Service of its own namespace that a client's flow asks for, as `NAME:PORT`.
fn asked_service(flow: &Flow) -> Option<String> {
    let (namespace, name) = service_named(flow.peer.as_deref()?)?;
    (namespace == flow.namespace).then_some(format!("{name}:{}", flow.remote_port?))
}

/// A row that may be listed.
struct Candidate<'a> {
    key: Key,
    row: FlowRow,
    /// Name of the node that reported the row.
    node: &'a str,
}

/// Returns the rows that may be among the first `wanted`. Only these are decoded.
fn candidates(reports: &NodeReports, wanted: usize) -> Vec<Candidate<'_>> {
    let mut rows: Vec<Candidate<'_>> = Vec::new();
    let mut ranked: Vec<(i64, &Kept, usize)> = Vec::new();
    for node in reports.nodes() {
        match node.carried_rows() {
            None => {
                let newest = node.newest();
                ranked.extend(newest.weights().map(|(place, weight)| (weight, newest, place)));
            }
            Some(carried) => {
                let name = node.newest().report.node_name.as_str();
                rows.extend(sums(node, carried).into_iter().map(|(key, row)| Candidate {
                    key,
                    row,
                    node: name,
                }));
            }
        }
    }
    ranked.sort_unstable_by_key(|(weight, _, _)| std::cmp::Reverse(*weight));
    // All rows as large as the last wanted one are included; [`top`] chooses among them by their keys.
    let least = ranked.get(wanted - 1).map_or(0, |(weight, _, _)| *weight);
    let largest = ranked.into_iter().take_while(|(weight, _, _)| *weight >= least);
    rows.extend(largest.filter_map(|(_, kept, place)| {
        let row = kept.row(place)?;
        Some(Candidate { key: Key::of(&row), row, node: &kept.report.node_name })
    }));
    rows
}

/// Adds the rows of earlier runs to those of the newest run of a restarted agent.
fn sums(node: &Node, carried: &HashMap<Key, FlowRow>) -> HashMap<Key, FlowRow> {
    let mut rows = carried.clone();
    let newest = node.newest();
    for row in newest.weights().filter_map(|(place, _)| newest.row(place)) {
        let key = Key::of(&row);
        match rows.get_mut(&key) {
            Some(earlier) => add(earlier, row),
            None => drop(rows.insert(key, row)),
        }
    }
    rows
}

/// Makes the texts of a row safe to show.
fn shown(row: FlowRow) -> FlowRow {
    FlowRow {
        pod: clean(row.pod),
        container: row.container.map(clean),
        caller_container: row.caller_container.map(clean),
        command: row.command.map(clean),
        local_address: row.local_address.map(clean),
        remote_address: row.remote_address.map(clean),
        ..row
    }
}

/// Returns the bytes in both directions since the trace began. Rows are ranked by this number.
pub(super) fn weight(row: &FlowRow) -> i64 {
    row.rx_bytes.saturating_add(row.tx_bytes)
}

/// Fields that identify a row of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pod: String,
    container: Option<String>,
    caller_container: Option<String>,
    pid: Option<u32>,
    command: Option<String>,
    protocol: Protocol,
    direction: Direction,
    local: (Option<String>, Option<u16>),
    remote: (Option<String>, Option<u16>),
}

impl Key {
    pub(super) fn of(row: &FlowRow) -> Self {
        Self {
            pod: row.pod.clone(),
            container: row.container.clone(),
            caller_container: row.caller_container.clone(),
            pid: row.pid,
            command: row.command.clone(),
            protocol: row.protocol,
            direction: row.direction,
            local: (row.local_address.clone(), row.local_port),
            remote: (row.remote_address.clone(), row.remote_port),
        }
    }
}

/// Fields by which a flow is found in the previous status, from which it keeps its peer's names.
#[derive(PartialEq, Eq, Hash)]
struct FlowName<'a> {
    pod: &'a str,
    container: Option<&'a str>,
    pid: Option<i64>,
    command: Option<&'a str>,
    protocol: Protocol,
    direction: Direction,
    local: (Option<&'a str>, Option<i32>),
    remote: (Option<&'a str>, Option<i32>),
}

impl<'a> FlowName<'a> {
    fn of(flow: &'a Flow) -> Self {
        Self {
            pod: &flow.pod,
            container: flow.container.as_deref(),
            pid: flow.pid,
            command: flow.command.as_deref(),
            protocol: flow.protocol,
            direction: flow.direction,
            local: (flow.local_address.as_deref(), flow.local_port),
            remote: (flow.remote_address.as_deref(), flow.remote_port),
        }
    }
}

/// Adds the counts of a row of the same key from a later run of the agent. Rates and state are the later ones.
pub(super) fn add(row: &mut FlowRow, later: FlowRow) {
    row.rx_bytes = row.rx_bytes.saturating_add(later.rx_bytes);
    row.tx_bytes = row.tx_bytes.saturating_add(later.tx_bytes);
    row.rx_calls = row.rx_calls.saturating_add(later.rx_calls);
    row.tx_calls = row.tx_calls.saturating_add(later.tx_calls);
    row.connections = row.connections.saturating_add(later.connections);
    row.connections_open = later.connections_open;
    row.connect_failures = row.connect_failures.saturating_add(later.connect_failures);
    row.retransmits = row.retransmits.saturating_add(later.retransmits);
    row.rx_bytes_per_second = later.rx_bytes_per_second;
    row.tx_bytes_per_second = later.tx_bytes_per_second;
    row.rtt_microseconds = later.rtt_microseconds.or(row.rtt_microseconds);
    row.container_pid = later.container_pid.or(row.container_pid);
    row.state = later.state;
}

/// Subtracts counts of the same row. No count falls below zero.
pub(super) fn subtract(row: &mut FlowRow, part: &FlowRow) {
    for (count, part) in [
        (&mut row.rx_bytes, part.rx_bytes),
        (&mut row.tx_bytes, part.tx_bytes),
        (&mut row.rx_calls, part.rx_calls),
        (&mut row.tx_calls, part.tx_calls),
        (&mut row.connections, part.connections),
        (&mut row.connect_failures, part.connect_failures),
        (&mut row.retransmits, part.retransmits),
    ] {
        *count = count.saturating_sub(part).max(0);
    }
}
