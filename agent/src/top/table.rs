//! The table of `top`, as wide as the terminal.

use std::net::{IpAddr, SocketAddr};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use traffictrace_crd::human;

use crate::{
    engine::Snapshot,
    flows::{FlowState, Process, Row},
};

/// Clears the screen and puts the cursor to its top (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[H\x1b[2J";
const FLOWS: [&str; 14] = [
    "PID", "COMMAND", "PROTO", "DIR", "LOCAL", "REMOTE", "RX", "TX", "RX/s", "TX/s", "RTT", "RETRANS",
    "CONNS", "STATE",
];
const PROCESSES: [&str; 7] = ["PID", "COMMAND", "CONNS", "OPEN", "FAILED", "RX", "TX"];
/// Columns that are no numbers, of either table.
const TEXTS: [&str; 6] = ["COMMAND", "PROTO", "DIR", "LOCAL", "REMOTE", "STATE"];
/// Most processes to list.
const PROCESSES_SHOWN: usize = 10;

/// The text of a snapshot. On a terminal it takes the place of the one before.
pub(super) fn screen(heading: &str, snapshot: &Snapshot, processes: &[Process], terminal: bool) -> String {
    let rate = |of: fn(&Row) -> u64| human::bytes_per_second(snapshot.rows.iter().map(of).sum());
    let totals = &snapshot.totals;
    let mut text = if terminal { CLEAR.to_owned() } else { String::new() };
    text.push_str(&format!(
        "Tracing {heading}\nRX {} ({})   TX {} ({})   {} flows   {} connections, {} open, {} failed{}\n",
        human::bytes(totals.rx_bytes),
        rate(|row| row.rx_bytes_per_second),
        human::bytes(totals.tx_bytes),
        rate(|row| row.tx_bytes_per_second),
        snapshot.rows_total,
        totals.connections,
        snapshot.connections_open,
        totals.connect_failures,
        lost(snapshot),
    ));
    text.push_str(&table(&FLOWS, snapshot.rows.iter().map(flow_cells), terminal));
    text.push_str("\n\n");
    if !processes.is_empty() {
        let first = processes.iter().take(PROCESSES_SHOWN).map(process_cells);
        text.push_str(&table(&PROCESSES, first, terminal));
        text.push_str("\n\n");
    }
    text
}

fn lost(snapshot: &Snapshot) -> String {
    let losses = &snapshot.losses;
    let mut text = String::new();
    let folded = losses.table_full + losses.peers_full + losses.storage_refused;
    if folded > 0 {
        text.push_str(&format!("   {folded} calls counted without process and peer: raise --max-flows"));
    }
    let bytes = losses.rx_bytes + losses.tx_bytes;
    if bytes > 0 {
        text.push_str(&format!("   {} LOST: raise --max-flows", human::bytes(bytes)));
    }
    if losses.missed_events > 0 {
        text.push_str(&format!("   at most {} calls MISSED by the kernel", losses.missed_events));
    }
    if losses.processes_lost > 0 {
        text.push_str(&format!("   {} child processes not followed", losses.processes_lost));
    }
    text
}

fn table<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    terminal: bool,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(*header);
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row);
    }
    for (name, column) in header.iter().zip(table.column_iter_mut()) {
        column.set_padding((0, 2));
        if !TEXTS.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn process_cells(process: &Process) -> [String; 7] {
    let known = process.pid != 0;
    [
        if known { process.pid.to_string() } else { "-".into() },
        if known { process.command() } else { "(unattributed)".into() },
        process.totals.connections.to_string(),
        process.connections_open.to_string(),
        process.totals.connect_failures.to_string(),
        human::bytes(process.totals.rx_bytes),
        human::bytes(process.totals.tx_bytes),
    ]
}

fn flow_cells(row: &Row) -> [String; 14] {
    let key = &row.key;
    let known = key.pid != 0;
    [
        if known { key.pid.to_string() } else { "-".into() },
        if known { key.command() } else { "(unattributed)".into() },
        key.protocol.name().into(),
        match row.key.local_address {
            Some(_) => key.direction.name().into(),
            None => "-".into(),
        },
        endpoint(key.local_address, key.local_port),
        endpoint(key.remote_address, key.remote_port),
        human::bytes(row.totals.rx_bytes),
        human::bytes(row.totals.tx_bytes),
        human::bytes_per_second(row.rx_bytes_per_second),
        human::bytes_per_second(row.tx_bytes_per_second),
        match row.rtt_us {
            0 => "-".into(),
            us @ 1..1000 => format!("{us} µs"),
            us => format!("{:.1} ms", f64::from(us) / 1000.0),
        },
        row.totals.retransmits.to_string(),
        row.totals.connections.to_string(),
        match (row.folded, row.state) {
            (true, _) => "folded".into(),
            (false, FlowState::Open) => "open".into(),
            (false, FlowState::Closed) => "closed".into(),
            (false, FlowState::Failed) => "failed".into(),
        },
    ]
}

fn endpoint(address: Option<IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        _ => "-".into(),
    }
}
