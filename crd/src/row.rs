//! One flow as a compact text, the form that reports carry.

use serde_json::Value;

use crate::columns::{self, Reader, Row, RowError, count, read_as};
use crate::flow::{Direction, Flow, FlowState, Protocol};

/// Names of the columns of a row, in the order in which this version writes their values. Names and units are those
/// of a status's flows.
pub const COLUMNS: [&str; 24] = [
    "pod",
    "container",
    "callerContainer",
    "pid",
    "containerPid",
    "command",
    "protocol",
    "direction",
    "state",
    "localAddress",
    "localPort",
    "remoteAddress",
    "remotePort",
    "rxBytes",
    "txBytes",
    "rxCalls",
    "txCalls",
    "rxBytesPerSecond",
    "txBytesPerSecond",
    "connections",
    "retransmits",
    "rttMicroseconds",
    "connectionsOpen",
    "connectFailures",
];

/// One flow of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// Name of the pod.
    pub pod: String,
    /// Container that owns the socket, if its name is known.
    pub container: Option<String>,
    /// Container of the calling process, if it is not the one that owns the socket.
    pub caller_container: Option<String>,
    /// Process id on the node.
    pub pid: Option<u32>,
    /// Process id as the container sees it (innermost pid namespace).
    pub container_pid: Option<u32>,
    /// Name of the process.
    pub command: Option<String>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The side that began the exchange.
    pub direction: Direction,
    /// State of the flow's connections. Absent for rows that sum up flows without a row of their own.
    pub state: Option<FlowState>,
    /// Local IP address.
    pub local_address: Option<String>,
    /// Local port.
    pub local_port: Option<u16>,
    /// Address of the peer.
    pub remote_address: Option<String>,
    /// Port of the peer.
    pub remote_port: Option<u16>,
    /// Bytes received since the trace began.
    pub rx_bytes: i64,
    /// Bytes sent since the trace began.
    pub tx_bytes: i64,
    /// Number of system calls that received.
    pub rx_calls: i64,
    /// Number of system calls that sent.
    pub tx_calls: i64,
    /// Bytes received per second, over the last interval.
    pub rx_bytes_per_second: i64,
    /// Bytes sent per second, over the last interval.
    pub tx_bytes_per_second: i64,
    /// Number of connections opened, or found open when the trace began.
    pub connections: i64,
    /// Number of TCP segments sent again.
    pub retransmits: i64,
    /// Smoothed round-trip time in microseconds.
    pub rtt_microseconds: Option<i64>,
    /// Number of connections that are open now.
    pub connections_open: i64,
    /// Number of connections that could not be opened.
    pub connect_failures: i64,
}

/// The names of [`COLUMNS`], as written into a report.
#[must_use]
pub fn column_names() -> Vec<String> {
    columns::names::<FlowRow>()
}

impl FlowRow {
    /// Encodes the row as text, its values in the order of [`COLUMNS`].
    #[must_use]
    pub fn encode(&self) -> String {
        let values: [Value; COLUMNS.len()] = [
            self.pod.as_str().into(),
            self.container.as_deref().into(),
            self.caller_container.as_deref().into(),
            self.pid.into(),
            self.container_pid.into(),
            self.command.as_deref().into(),
            protocol_name(self.protocol).into(),
            direction_name(self.direction).into(),
            self.state.map(state_name).into(),
            self.local_address.as_deref().into(),
            self.local_port.into(),
            self.remote_address.as_deref().into(),
            self.remote_port.into(),
            self.rx_bytes.into(),
            self.tx_bytes.into(),
            self.rx_calls.into(),
            self.tx_calls.into(),
            self.rx_bytes_per_second.into(),
            self.tx_bytes_per_second.into(),
            self.connections.into(),
            self.retransmits.into(),
            self.rtt_microseconds.into(),
            self.connections_open.into(),
            self.connect_failures.into(),
        ];
        Value::from(values.to_vec()).to_string()
    }

    /// Converts the row into a flow of a status; `namespace` is the namespace of its pod.
    #[must_use]
    pub fn into_flow(self, namespace: &str) -> Flow {
        Flow {
            namespace: namespace.to_owned(),
            pod: self.pod,
            node_name: None,
            container: self.container,
            caller_container: self.caller_container,
            pid: self.pid.map(i64::from),
            container_pid: self.container_pid.map(i64::from),
            command: self.command,
            protocol: self.protocol,
            direction: self.direction,
            state: self.state,
            local_address: self.local_address,
            local_port: self.local_port.map(i32::from),
            remote_address: self.remote_address,
            remote_port: self.remote_port.map(i32::from),
            peer: None,
            local_services: Vec::new(),
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            rx_calls: self.rx_calls,
            tx_calls: self.tx_calls,
            rx_bytes_per_second: self.rx_bytes_per_second,
            tx_bytes_per_second: self.tx_bytes_per_second,
            connections: self.connections,
            retransmits: self.retransmits,
            rtt_microseconds: self.rtt_microseconds,
            connections_open: self.connections_open,
            connect_failures: self.connect_failures,
        }
    }
}

/// Reads the flows of a report, whose values are in the order of `columns`, the report's own column names. A row that
/// cannot be read yields an error, and the rows after it are still read.
///
/// # Errors
///
/// Each item is a [`RowError`], which names the row, if that row cannot be read.
pub fn decode_rows<'a>(
    columns: &'a [String],
    rows: &'a [String],
) -> impl Iterator<Item = Result<FlowRow, RowError>> + 'a {
    columns::decode(columns, rows)
}

impl Row for FlowRow {
    const KIND: &'static str = "flow";
    const COLUMNS: &'static [&'static str] = &COLUMNS;

    fn read(values: &Reader<'_>) -> Result<Self, RowError> {
        Ok(Self {
            pod: values.required("pod", |v| v.as_str().map(str::to_owned))?,
            container: values.text("container")?,
            caller_container: values.text("callerContainer")?,
            pid: values.small("pid")?,
            container_pid: values.small("containerPid")?,
            command: values.text("command")?,
            protocol: values.required("protocol", read_as)?,
            direction: values.optional("direction", read_as)?.unwrap_or_default(),
            state: values.optional("state", read_as)?,
            local_address: values.text("localAddress")?,
            local_port: values.small("localPort")?,
            remote_address: values.text("remoteAddress")?,
            remote_port: values.small("remotePort")?,
            rx_bytes: values.required("rxBytes", count)?,
            tx_bytes: values.required("txBytes", count)?,
            rx_calls: values.count("rxCalls")?,
            tx_calls: values.count("txCalls")?,
            rx_bytes_per_second: values.count("rxBytesPerSecond")?,
            tx_bytes_per_second: values.count("txBytesPerSecond")?,
            connections: values.count("connections")?,
            retransmits: values.count("retransmits")?,
            rtt_microseconds: values.optional("rttMicroseconds", count)?,
            connections_open: values.count("connectionsOpen")?,
            connect_failures: values.count("connectFailures")?,
        })
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Icmp => "ICMP",
    }
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
        Direction::Unknown => "Unknown",
    }
}

fn state_name(state: FlowState) -> &'static str {
    match state {
        FlowState::Open => "Open",
        FlowState::Closed => "Closed",
        FlowState::Failed => "Failed",
    }
}

#[cfg(test)]
mod tests;
