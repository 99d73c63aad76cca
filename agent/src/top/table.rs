//! The table of `top`, as wide and as high as the terminal.

use std::net::{IpAddr, SocketAddr};

use traffictrace_crd::human;

use crate::{
    engine::Snapshot,
    flows::{FlowState, Process, Row},
    host::{self, GAP},
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
/// Columns that a narrow terminal goes without, the least important first.
const SPARE: [&[&str]; 8] =
    [&["RETRANS"], &["CONNS"], &["RTT"], &["STATE"], &["DIR"], &["LOCAL"], &["PROTO"], &["RX", "TX"]];
/// Most processes to list.
const PROCESSES_SHOWN: usize = 10;
/// Lines besides those of flows and processes: the heading, two headers, a line for each list that is cut, a blank one
/// and the cursor's.
const OTHER_LINES: usize = 9;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// The text of a snapshot. On a terminal it takes the place of the one before.
pub(super) fn screen(
    heading: &str,
    snapshot: &Snapshot,
    processes: &[Process],
    terminal: Option<Terminal>,
) -> String {
    let width = terminal.map_or(usize::MAX, |terminal| terminal.columns);
    let (flows_shown, processes_shown) = shown(snapshot.rows.len(), processes.len(), terminal);
    let totals = &snapshot.totals;
    let mut text = if terminal.is_some() { CLEAR.to_owned() } else { String::new() };
    text.push_str(&format!(
        "Tracing {heading}\nRX {} ({})   TX {} ({})\n{}   {}, {} open, {} failed{}\n",
        human::bytes(totals.rx_bytes),
        human::bytes_per_second(snapshot.rx_bytes_per_second),
        human::bytes(totals.tx_bytes),
        human::bytes_per_second(snapshot.tx_bytes_per_second),
        human::number_of(snapshot.rows_total as u64, "flow"),
        human::number_of(totals.connections, "connection"),
        snapshot.connections_open,
        totals.connect_failures,
        lost(snapshot),
    ));
    let flows: Vec<_> = snapshot.rows.iter().take(flows_shown).map(flow_cells).collect();
    text.push_str(&table(&FLOWS, &flows, width));
    text.push_str(&more(snapshot.rows_total - flows.len(), "flows"));
    if !processes.is_empty() {
        let first: Vec<_> = processes.iter().take(processes_shown).map(process_cells).collect();
        text.push_str(&table(&PROCESSES, &first, width));
        text.push_str(&more(processes.len() - first.len(), "processes"));
    }
    text
}

/// How many of so many flows and processes are shown: what fits, a third of it for processes if need be.
fn shown(flows: usize, processes: usize, terminal: Option<Terminal>) -> (usize, usize) {
    let wanted = processes.min(PROCESSES_SHOWN);
    let Some(Terminal { lines, .. }) = terminal else { return (flows, wanted) };
    let room = lines.saturating_sub(OTHER_LINES).max(2);
    let for_processes = wanted.min((room / 3).max(room.saturating_sub(flows)).max(1));
    (flows.min(room - for_processes), for_processes)
}

/// A line that says how many are not listed, and an empty one.
fn more(count: usize, what: &str) -> String {
    if count > 0 { format!("({count} more {what})\n\n") } else { "\n".to_owned() }
}

fn lost(snapshot: &Snapshot) -> String {
    let losses = &snapshot.losses;
    let mut text = String::new();
    if losses.table_full > 0 {
        let folded = losses.table_full;
        text.push_str(&format!("\n{folded} calls counted without process and peer: raise --max-flows"));
    }
    let bytes = losses.rx_bytes + losses.tx_bytes;
    if bytes > 0 {
        text.push_str(&format!("\n{} LOST: raise --max-flows", human::bytes(bytes)));
    }
    if losses.missed_events > 0 {
        text.push_str(&format!("\nat most {} messages MISSED by the kernel", losses.missed_events));
    }
    if losses.processes_lost > 0 {
        text.push_str(&format!("\n{} processes not followed", losses.processes_lost));
    }
    if losses.cgroups_not_named > 0 {
        text.push_str(&format!("\n{} cgroups not named", losses.cgroups_not_named));
    }
    text
}

/// A table of at most this width, with a newline.
fn table<const N: usize>(header: &[&str; N], rows: &[[String; N]], width: usize) -> String {
    let widths: [usize; N] = std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([header[at].len()]).max().unwrap_or(0) + usize::from(GAP)
    });
    let mut kept = [true; N];
    for names in SPARE {
        let sum: usize = (0..N).filter(|&at| kept[at]).map(|at| widths[at]).sum();
        if sum.saturating_sub(GAP.into()) <= width {
            break;
        }
        (0..N).filter(|&at| names.contains(&header[at])).for_each(|at| kept[at] = false);
    }
    let keep = |cells: &mut dyn Iterator<Item = String>| -> Vec<String> {
        cells.zip(kept).filter(|(_, kept)| *kept).map(|(cell, _)| cell).collect()
    };
    let names = keep(&mut header.iter().map(|name| (*name).to_owned()));
    host::table(names, rows.iter().map(|row| keep(&mut row.iter().cloned())), &TEXTS)
}

fn process_cells(process: &Process) -> [String; 7] {
    let known = process.pid != 0;
    [
        if known { process.pid.to_string() } else { "-".into() },
        if known { human::printable(&process.command()).into_owned() } else { "(unattributed)".into() },
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
        if known { human::printable(&key.command()).into_owned() } else { "(unattributed)".into() },
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 4] = ["PID", "COMMAND", "RTT", "RX/s"];

    fn row(command: &str) -> [String; 4] {
        ["12", command, "30 µs", "1.0 KiB/s"].map(str::to_owned)
    }

    #[test]
    fn a_narrow_terminal_goes_without_the_least_important_columns() {
        let rows = [row("nginx"), row("a-longer-command")];
        let wide = table(&HEADER, &rows, 80);
        assert!(wide.lines().next().is_some_and(|line| line.contains("RTT")), "{wide}");
        let narrow = table(&HEADER, &rows, 35);
        assert!(!narrow.contains("RTT") && !narrow.contains("µs"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 35), "{narrow}");
        assert_eq!(narrow.lines().count(), 3, "a line for each row: {narrow}");
    }

    #[test]
    fn both_lists_fit_the_screen_and_each_has_a_line() {
        for lines in [0, 5, 12, 24, 50, 200] {
            for (flows, processes) in [(20, 0), (20, 1), (20, 40), (3, 40), (1, 1), (0, 0)] {
                let terminal = Terminal { columns: 80, lines };
                let (flows_shown, processes_shown) = shown(flows, processes, Some(terminal));
                assert!(flows_shown + processes_shown <= lines.saturating_sub(OTHER_LINES).max(2));
                assert_eq!((flows_shown > 0, processes_shown > 0), (flows > 0, processes > 0));
            }
        }
        assert_eq!(shown(100, 40, None), (100, PROCESSES_SHOWN));
    }
}
