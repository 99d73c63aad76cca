//! The comparison of the rows in a TrafficTrace's status with the counts of the workloads.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use traffictrace_crd::{Direction, Flow, FlowState, GroupBy, TrafficTraceStatus};

use super::namespace::Counted;
use crate::{
    support::{
        Result, TestError,
        truth::{self, Bytes},
    },
    workload::count::{ConnectionLine, Role},
};

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the product's API")]
pub struct Row {
    pub pod: String,
    pub container: String,
    pub container_pid: u32,
    pub command: String,
    pub direction: String,
    pub local: Option<IpAddr>,
    pub local_port: Option<u16>,
    pub remote: Option<IpAddr>,
    pub remote_port: Option<u16>,
}

/// Groups the counts of the workloads into rows.
pub fn counted(pods: &[Counted], group_by: GroupBy) -> BTreeMap<Row, Bytes> {
    let mut rows: BTreeMap<Row, Bytes> = BTreeMap::new();
    for counted in pods {
        for line in &counted.lines {
            for connection in &line.connections {
                let ends = ends(connection, line.role, group_by);
                let row = Row {
                    pod: counted.pod.clone(),
                    container: counted.container.clone(),
                    container_pid: line.pid,
                    command: line.command.clone(),
                    direction: match group_by {
                        // A process has connections in both directions, so its row has none.
                        GroupBy::Process => "Unknown",
                        GroupBy::Connection | GroupBy::Endpoint => truth::direction(line.role),
                    }
                    .to_owned(),
                    local: ends.local.map(|end| end.ip()),
                    local_port: ends.local_port,
                    remote: ends.remote.map(|end| end.ip()),
                    remote_port: ends.remote_port,
                };
                let (rx, tx) = rows.entry(row).or_default();
                *rx += connection.rx_bytes;
                *tx += connection.tx_bytes;
            }
        }
    }
    rows
}

/// The parts of a connection's addresses that a grouping keeps.
struct Ends {
    local: Option<SocketAddr>,
    local_port: Option<u16>,
    remote: Option<SocketAddr>,
    remote_port: Option<u16>,
}

fn ends(connection: &ConnectionLine, role: Role, group_by: GroupBy) -> Ends {
    let (local, remote) = (Some(connection.local), Some(connection.remote));
    let (local_port, remote_port) = (Some(connection.local.port()), Some(connection.remote.port()));
    match (group_by, role) {
        (GroupBy::Connection, _) => Ends { local, local_port, remote, remote_port },
        // The client's random port is not part of the key.
        (GroupBy::Endpoint, Role::Server) => Ends { local, local_port, remote, remote_port: None },
        (GroupBy::Endpoint, Role::Client) => Ends { local, local_port: None, remote, remote_port },
        (GroupBy::Process, _) => Ends { local: None, local_port: None, remote: None, remote_port: None },
    }
}

/// Returns the rows of a status, except for connections that could not be opened: a workload retries until the other
/// end can be reached, and does not list the failed attempts.
///
/// # Errors
///
/// Fails when a row lacks a required field, or two rows have the same key.
pub fn shown(flows: &[Flow]) -> Result<BTreeMap<Row, Bytes>> {
    let mut rows = BTreeMap::new();
    let failed = |flow: &Flow| flow.state == Some(FlowState::Failed) && flow.rx_bytes + flow.tx_bytes == 0;
    for flow in flows.iter().filter(|flow| !failed(flow)) {
        let bad = || TestError::unexpected("a flow", format!("{flow:?}"));
        let address = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
        let row = Row {
            pod: flow.pod.clone(),
            container: flow.container.clone().ok_or_else(bad)?,
            container_pid: flow.container_pid.and_then(|pid| u32::try_from(pid).ok()).ok_or_else(bad)?,
            command: flow.command.clone().ok_or_else(bad)?,
            direction: direction(flow.direction).to_owned(),
            local: address(&flow.local_address),
            local_port: port(flow.local_port),
            remote: address(&flow.remote_address),
            remote_port: port(flow.remote_port),
        };
        let bytes = (bytes(flow.rx_bytes)?, bytes(flow.tx_bytes)?);
        if rows.insert(row, bytes).is_some() {
            return Err(TestError::unexpected("a second row of the same name", format!("{flow:?}")));
        }
    }
    Ok(rows)
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
        Direction::Unknown => "Unknown",
    }
}

fn bytes(count: i64) -> Result<u64> {
    u64::try_from(count).map_err(|_| TestError::unexpected("a count of bytes", count))
}

/// Checks that a status has exactly these rows, and totals that are their sum.
///
/// # Errors
///
/// Fails with a description of the difference.
pub fn compare(counted: &BTreeMap<Row, Bytes>, status: &TrafficTraceStatus) -> Result<(), String> {
    truth::compare(counted, &shown(&status.top_flows).map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    let sum = sum(counted);
    let totals = (status.totals.rx_bytes.cast_unsigned(), status.totals.tx_bytes.cast_unsigned());
    if totals == sum { Ok(()) } else { Err(format!("totals {totals:?}, sum of the rows {sum:?}")) }
}

/// Sums all rows.
pub fn sum(rows: &BTreeMap<Row, Bytes>) -> Bytes {
    rows.values().fold((0, 0), |(rx, tx), row| (rx + row.0, tx + row.1))
}
