//! Comma-separated values for spreadsheets and scripts, by RFC 4180.
//!
//! The columns have the names of the JSON, with `time` first. Each snapshot has one line for each flow that it lists and one
//! line whose command is `(other)` and which has no process id, with the sums of the flows that it does not list. The lines
//! of a snapshot add up to its totals. Numbers are plain integers; what is not known is empty.
//!
//! Traced names are made safe, so a name can differ from the JSON's: control characters and those that change the direction of
//! writing become `?`, and a name that a spreadsheet would calculate, since it begins with `=`, `+`, `-` or `@`, has an
//! apostrophe before it. Losses have no line, since they are in no flow: callers show [`crate::losses::in_words`] elsewhere.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use serde::Serialize;
use traffictrace_crd::{
    flow::{Direction, FlowState, Protocol},
    human,
};

use crate::{Snapshot, names, rows::Sums, snapshot::Flow};

/// The command of the line of flows that are not listed.
pub const OTHER: &str = "(other)";
/// Characters that begin a formula, those of full width included.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Writes snapshots as CSV.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: csv::Writer<W>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Line {
    time: String,
    namespace: Option<String>,
    pod: Option<String>,
    container: Option<String>,
    caller_container: Option<String>,
    pid: Option<u32>,
    container_pid: Option<u32>,
    command: Option<String>,
    protocol: Option<Protocol>,
    direction: Option<Direction>,
    state: Option<FlowState>,
    local_address: Option<IpAddr>,
    local_port: Option<u16>,
    remote_address: Option<IpAddr>,
    remote_port: Option<u16>,
    peer: Option<String>,
    rx_bytes: u64,
    tx_bytes: u64,
    rx_calls: Option<u64>,
    tx_calls: Option<u64>,
    rx_bytes_per_second: u64,
    tx_bytes_per_second: u64,
    connections: u64,
    connections_open: u64,
    connect_failures: u64,
    retransmits: u64,
    rtt_microseconds: Option<u32>,
}

impl<W: Write> Writer<W> {
    /// A writer whose first line has the names of the columns, unless they are not wanted.
    #[must_use]
    pub fn new(out: W, headers: bool) -> Self {
        let out =
            csv::WriterBuilder::new().has_headers(headers).terminator(csv::Terminator::CRLF).from_writer(out);
        Self { out }
    }

    /// Writes the lines of a snapshot, and flushes.
    ///
    /// # Errors
    ///
    /// Those of the writer; [`io::ErrorKind::BrokenPipe`] when the reader has had enough.
    pub fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let time = names::second(snapshot.time);
        let mut listed = Sums::default();
        for flow in &snapshot.flows {
            listed.add(&flow.into());
            self.out.serialize(Line::of(&time, flow)).map_err(io_error)?;
        }
        let other = Line::other(time, &Sums::from(snapshot).beyond(&listed));
        self.out.serialize(other).map_err(io_error)?;
        self.out.flush()
    }
}

/// The error of the writer below.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// A traced name that neither moves a cursor nor calculates.
fn safe(name: &Option<String>) -> Option<String> {
    let name = human::printable(name.as_deref()?);
    Some(if name.trim_start().starts_with(FORMULA) { format!("'{name}") } else { name.into_owned() })
}

impl Line {
    fn of(time: &str, flow: &Flow) -> Self {
        Self {
            time: time.to_owned(),
            namespace: safe(&flow.namespace),
            pod: safe(&flow.pod),
            container: safe(&flow.container),
            caller_container: safe(&flow.caller_container),
            pid: flow.pid,
            container_pid: flow.container_pid,
            command: safe(&flow.command),
            protocol: Some(flow.protocol),
            direction: Some(flow.direction),
            state: Some(flow.state),
            local_address: flow.local_address,
            local_port: flow.local_port,
            remote_address: flow.remote_address,
            remote_port: flow.remote_port,
            peer: safe(&flow.peer),
            rx_bytes: flow.rx_bytes,
            tx_bytes: flow.tx_bytes,
            rx_calls: Some(flow.rx_calls),
            tx_calls: Some(flow.tx_calls),
            rx_bytes_per_second: flow.rx_bytes_per_second,
            tx_bytes_per_second: flow.tx_bytes_per_second,
            connections: flow.connections,
            connections_open: flow.connections_open,
            connect_failures: flow.connect_failures,
            retransmits: flow.retransmits,
            rtt_microseconds: flow.rtt_microseconds,
        }
    }

    fn other(time: String, sums: &Sums) -> Self {
        Self {
            time,
            command: Some(OTHER.to_owned()),
            rx_bytes: sums.rx_bytes,
            tx_bytes: sums.tx_bytes,
            rx_bytes_per_second: sums.rx_rate,
            tx_bytes_per_second: sums.tx_rate,
            connections: sums.connections,
            connections_open: sums.connections_open,
            connect_failures: sums.connect_failures,
            retransmits: sums.retransmits,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
