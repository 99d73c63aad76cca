//! The comparison of what a trace shows with the counts of the workloads.

use std::{collections::BTreeMap, fmt::Debug, net::SocketAddr};

use super::{Result, TestError, top};
use crate::workload::count::{Line, Role};

/// A row: one process's end of one connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Process id, as the machine sees it.
    pub pid: u32,
    /// Name of the process.
    pub command: String,
    /// `Inbound` at the end that accepted the connection.
    pub direction: &'static str,
    /// Address of this end.
    pub local: SocketAddr,
    /// Address of the other end.
    pub remote: SocketAddr,
}

/// Number of bytes received, and sent.
pub type Bytes = (u64, u64);

/// Returns the counts of the workloads by row. The workloads are in the machine's pid namespace.
pub fn counted<'a>(lines: impl IntoIterator<Item = &'a Line>) -> BTreeMap<Key, Bytes> {
    let mut counted = BTreeMap::new();
    for line in lines {
        for connection in &line.connections {
            let key = Key {
                pid: line.pid,
                command: line.command.clone(),
                direction: direction(line.role),
                local: connection.local,
                remote: connection.remote,
            };
            counted.insert(key, (connection.rx_bytes, connection.tx_bytes));
        }
    }
    counted
}

/// Returns the direction of a connection for the end with this role.
pub fn direction(role: Role) -> &'static str {
    match role {
        Role::Server => "Inbound",
        Role::Client => "Outbound",
    }
}

/// Returns the rows of a `top` document. Rows without bytes are left out: a socket that was only opened or closed
/// during the trace has such a row, but the workloads do not count a connection that moved nothing in that time.
///
/// # Errors
///
/// Fails when two rows have the same key, or a row is not TCP, lacks an address or has an unknown direction.
pub fn shown(document: &top::Document) -> Result<BTreeMap<Key, Bytes>> {
    let mut shown = BTreeMap::new();
    for flow in document.flows.iter().filter(|flow| flow.rx_bytes + flow.tx_bytes > 0) {
        let bad = || TestError::unexpected("a flow", format!("{flow:?}"));
        let direction = match (flow.protocol.as_str(), flow.direction.as_str()) {
            ("TCP", "Inbound") => "Inbound",
            ("TCP", "Outbound") => "Outbound",
            ("TCP", "Unknown") => "Unknown",
            _ => return Err(bad()),
        };
        let address = |ip: Option<_>, port: Option<_>| Some(SocketAddr::new(ip?, port?));
        let key = Key {
            pid: flow.pid,
            command: flow.command.clone(),
            direction,
            local: address(flow.local_address, flow.local_port).ok_or_else(bad)?,
            remote: address(flow.remote_address, flow.remote_port).ok_or_else(bad)?,
        };
        if shown.insert(key, (flow.rx_bytes, flow.tx_bytes)).is_some() {
            return Err(TestError::unexpected("a second row of one connection", format!("{flow:?}")));
        }
    }
    Ok(shown)
}

/// Compares two sets of rows; the error lists the first differences.
///
/// # Errors
///
/// Fails when a row or a number of bytes differs.
pub fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    counted: &BTreeMap<K, V>,
    shown: &BTreeMap<K, V>,
) -> Result<()> {
    const LISTED: usize = 10;
    let missing_or_wrong = counted.iter().filter_map(|(key, truth)| match shown.get(key) {
        Some(value) if value == truth => None,
        Some(value) => Some(format!("{key:?}: counted {truth:?}, shown {value:?}")),
        None => Some(format!("{key:?}: counted {truth:?}, not shown")),
    });
    let extra = shown.iter().filter(|(key, _)| !counted.contains_key(key));
    let differences: Vec<_> = missing_or_wrong
        .chain(extra.map(|(key, value)| format!("{key:?}: shown {value:?}, not counted")))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let listed = differences.iter().take(LISTED).cloned().collect::<Vec<_>>().join("\n  ");
    let found = format!(
        "{} differences ({} rows counted, {} shown):\n  {listed}",
        differences.len(),
        counted.len(),
        shown.len()
    );
    Err(TestError::unexpected("the comparison", found))
}
