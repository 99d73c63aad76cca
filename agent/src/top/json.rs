//! The JSON of `top`: one document an interval, on one line. Bytes are integers; what is not known is `null`.

use std::{io, net::IpAddr, time::Duration};

use serde::Serialize;

use crate::{
    engine::{Losses, Snapshot},
    flows::{Direction, FlowState, Process, Protocol, Row},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    /// Seconds that the rates are over.
    interval_seconds: serde_json::Number,
    /// Kernel hooks that counted.
    hook_tier: &'static str,
    totals: Totals,
    /// All flows, or the first `--top` of them.
    flows: Vec<Flow>,
    /// Number of flows, those not listed included.
    flows_total: usize,
    /// All processes, those with the most bytes first.
    processes: Vec<ProcessSums>,
    /// Whether sockets that were open before were looked for in all processes.
    older_sockets_found: bool,
    /// What is not seen on this machine; `traffictrace check` explains each.
    not_seen: Vec<&'static str>,
    lost: Lost,
    flow_table: FlowTable,
}

/// The kernel's flow table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FlowTable {
    slots: usize,
    /// A flow that has ended keeps its slot for about a second.
    slots_in_use: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    rx_bytes: u64,
    tx_bytes: u64,
    rx_bytes_per_second: u64,
    tx_bytes_per_second: u64,
    connections: u64,
    connections_open: u64,
    connect_failures: u64,
    retransmits: u64,
}

/// All flows of one process, those not listed included.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessSums {
    pid: Option<u32>,
    command: Option<String>,
    connections_opened: u64,
    connections_open: u64,
    connect_failures: u64,
    rx_bytes: u64,
    tx_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flow {
    pid: Option<u32>,
    container_pid: Option<u32>,
    command: Option<String>,
    protocol: Protocol,
    direction: Direction,
    state: FlowState,
    local_address: Option<IpAddr>,
    local_port: Option<u16>,
    remote_address: Option<IpAddr>,
    remote_port: Option<u16>,
    rx_bytes: u64,
    tx_bytes: u64,
    rx_bytes_per_second: u64,
    tx_bytes_per_second: u64,
    connections: u64,
    connections_open: u64,
    connect_failures: u64,
    retransmits: u64,
    rtt_microseconds: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost {
    /// Bytes that are in no flow and not in the totals.
    rx_bytes: u64,
    tx_bytes: u64,
    /// Events counted without their process and peer, by reason.
    table_full_events: u64,
    /// Child processes that are not traced.
    processes_not_followed: u64,
    /// Cgroups whose container is not known.
    cgroups_not_named: u64,
    /// Upper bound of the UDP, ICMP, MPTCP and kernel-TLS messages that the kernel skipped; their bytes are missing.
    missed_events: u64,
}

/// The document of a snapshot, with a newline.
pub(super) fn document(snapshot: &Snapshot, processes: &[Process], interval: Duration) -> io::Result<String> {
    let document = Document {
        interval_seconds: seconds(snapshot.interval, interval),
        hook_tier: snapshot.hook_tier,
        totals: Totals {
            rx_bytes: snapshot.totals.rx_bytes,
            tx_bytes: snapshot.totals.tx_bytes,
            rx_bytes_per_second: snapshot.rx_bytes_per_second,
            tx_bytes_per_second: snapshot.tx_bytes_per_second,
            connections: snapshot.totals.connections,
            connections_open: snapshot.connections_open,
            connect_failures: snapshot.totals.connect_failures,
            retransmits: snapshot.totals.retransmits,
        },
        flows: snapshot.rows.iter().map(Flow::from).collect(),
        flows_total: snapshot.rows_total,
        processes: processes.iter().map(ProcessSums::from).collect(),
        older_sockets_found: snapshot.older_sockets_found,
        not_seen: snapshot.not_seen.iter().map(|unseen| unseen.name).collect(),
        lost: Lost::from(&snapshot.losses),
        flow_table: FlowTable { slots: snapshot.slots, slots_in_use: snapshot.slots_in_use },
    };
    let mut line = serde_json::to_string(&document)?;
    line.push('\n');
    Ok(line)
}

/// Whole seconds where the interval is whole seconds; the last one may have been cut short and is at least 1.
fn seconds(elapsed: Duration, interval: Duration) -> serde_json::Number {
    if interval.subsec_nanos() == 0 {
        return (elapsed.as_secs_f64().round().max(1.0) as u64).into();
    }
    let millis = elapsed.as_millis() as f64 / 1000.0;
    serde_json::Number::from_f64(millis).unwrap_or_else(|| elapsed.as_secs().into())
}

impl From<&Row> for Flow {
    fn from(row: &Row) -> Self {
        let known = (row.key.pid != 0).then_some(row.key.pid);
        Self {
            pid: known,
            container_pid: known.map(|_| row.key.container_pid),
            command: known.map(|_| row.key.command()),
            protocol: row.key.protocol,
            direction: row.key.direction,
            state: row.state,
            local_address: row.key.local_address,
            local_port: row.key.local_port,
            remote_address: row.key.remote_address,
            remote_port: row.key.remote_port,
            rx_bytes: row.totals.rx_bytes,
            tx_bytes: row.totals.tx_bytes,
            rx_bytes_per_second: row.rx_bytes_per_second,
            tx_bytes_per_second: row.tx_bytes_per_second,
            connections: row.totals.connections,
            connections_open: row.connections_open,
            connect_failures: row.totals.connect_failures,
            retransmits: row.totals.retransmits,
            rtt_microseconds: (row.rtt_us != 0).then_some(row.rtt_us),
        }
    }
}

impl From<&Process> for ProcessSums {
    fn from(process: &Process) -> Self {
        let known = (process.pid != 0).then_some(process.pid);
        Self {
            pid: known,
            command: known.map(|_| process.command()),
            connections_opened: process.totals.connections,
            connections_open: process.connections_open,
            connect_failures: process.totals.connect_failures,
            rx_bytes: process.totals.rx_bytes,
            tx_bytes: process.totals.tx_bytes,
        }
    }
}

impl From<&Losses> for Lost {
    fn from(losses: &Losses) -> Self {
        Self {
            rx_bytes: losses.rx_bytes,
            tx_bytes: losses.tx_bytes,
            table_full_events: losses.table_full,
            processes_not_followed: losses.processes_lost,
            cgroups_not_named: losses.cgroups_not_named,
            missed_events: losses.missed_events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_intervals_are_whole_numbers() {
        let text = |elapsed, interval| {
            seconds(Duration::from_millis(elapsed), Duration::from_millis(interval)).to_string()
        };
        assert_eq!(text(1003, 1000), "1");
        assert_eq!(text(120, 1000), "1");
        assert_eq!(text(5020, 5000), "5");
        assert_eq!(text(501, 500), "0.501");
    }
}
