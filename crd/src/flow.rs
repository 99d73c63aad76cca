//! Flows and totals, in a report and in a status.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
}

/// Who began the exchange, as seen from the traced container.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Direction {
    /// The peer opened the connection, or sent the first datagram.
    Inbound,
    /// The container opened the connection, or sent the first datagram.
    Outbound,
    /// The connection or exchange began before the trace and nothing tells who began it, or the row sums flows of several
    /// directions.
    #[default]
    Unknown,
}

/// Whether more can come.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum FlowState {
    /// At least one connection or socket of the flow is open.
    #[default]
    Open,
    /// All of them are closed.
    Closed,
    /// None was ever open: the container tried to open connections and could not.
    Failed,
}

/// Losses by reason: a number of events, or of bytes if the reason ends with `Bytes`. Depending on the reason the bytes are in a
/// less precise row, in the totals alone, or nowhere.
pub type Losses = BTreeMap<String, i64>;

/// Sums over all flows, also those that are not listed. Counts since the trace began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Totals {
    /// Bytes that the selected containers' applications received through their sockets.
    #[schemars(range(min = 0))]
    pub rx_bytes: i64,
    /// Bytes that the selected containers' applications sent through their sockets.
    #[schemars(range(min = 0))]
    pub tx_bytes: i64,
    /// Connections opened in either direction, or found open when the trace began.
    #[schemars(range(min = 0))]
    pub connections: i64,
    /// Connections that are open now. The only sum here that can fall.
    #[schemars(range(min = 0))]
    pub connections_open: i64,
    /// Connections that the selected containers tried to open and could not: refused, unreachable, timed out or given up.
    #[schemars(range(min = 0))]
    pub connect_failures: i64,
    /// TCP segments that were sent again.
    #[schemars(range(min = 0))]
    pub retransmits: i64,
    /// Bytes, part of rxBytes and txBytes, whose process or peer could not be told.
    #[schemars(range(min = 0))]
    pub unattributed_bytes: i64,
    /// Bytes, part of rxBytes and txBytes, of connections older than the trace whose opener nothing tells. They pass every direction filter.
    #[schemars(range(min = 0))]
    pub unknown_direction_bytes: i64,
}

impl Totals {
    /// Adds the sums of other flows.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Raises every sum to at least that of `other`, but for what may fall.
    pub fn raise_to(&mut self, other: &Self) {
        let connections_open = self.connections_open;
        self.each(other, i64::max);
        self.connections_open = connections_open;
    }

    /// The surplus of these sums over others, none of them below 0. Open connections are left out: they are no sum.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let mut beyond = Self { connections_open: 0, ..self.clone() };
        beyond.each(other, |sum, other| sum.saturating_sub(other).max(0));
        beyond
    }

    fn each(&mut self, other: &Self, combine: impl Fn(i64, i64) -> i64) {
        let Self {
            rx_bytes,
            tx_bytes,
            connections,
            connections_open,
            connect_failures,
            retransmits,
            unattributed_bytes,
            unknown_direction_bytes,
        } = other;
        self.rx_bytes = combine(self.rx_bytes, *rx_bytes);
        self.tx_bytes = combine(self.tx_bytes, *tx_bytes);
        self.connections = combine(self.connections, *connections);
        self.connections_open = combine(self.connections_open, *connections_open);
        self.connect_failures = combine(self.connect_failures, *connect_failures);
        self.retransmits = combine(self.retransmits, *retransmits);
        self.unattributed_bytes = combine(self.unattributed_bytes, *unattributed_bytes);
        self.unknown_direction_bytes = combine(self.unknown_direction_bytes, *unknown_direction_bytes);
    }
}

/// One row of the top flows. Counts since the trace began; rates of the last interval. What is absent is not known, or folded by spec.groupBy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Flow {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the pod's node. Absent in a status that an older version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Name of the container whose socket it is. Absent while the kubelet has not told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the container of the calling process, where it is not the one that owns the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_container: Option<String>,
    /// Process id on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// Process id as the container sees it (innermost pid namespace).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_pid: Option<i64>,
    /// Name of the process, at most 15 characters, as the kernel keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// TCP, UDP or ICMP.
    pub protocol: Protocol,
    /// Who began the exchange: Inbound, Outbound or Unknown.
    pub direction: Direction,
    /// Open: a connection or socket of the flow is. Closed: all of them are. Failed: none could be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<FlowState>,
    /// Local IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    /// Local port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i32>,
    /// IP address of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<String>,
    /// Port of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<i32>,
    /// What had the peer's address when the flow was first listed, or a pod that gave it up less than five minutes before: pod NAMESPACE/NAME, service NAMESPACE/NAME or node NAME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Services of the namespace that offer the local port when the flow is first listed, as NAME:PORT with the Service's own port; at most three. Clients that asked for one of them have it as their peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub local_services: Vec<String>,
    /// Bytes received.
    pub rx_bytes: i64,
    /// Bytes sent.
    pub tx_bytes: i64,
    /// Calls that received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rx_calls: i64,
    /// Calls that sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tx_calls: i64,
    /// Bytes received each second, over the last interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rx_bytes_per_second: i64,
    /// Bytes sent each second, over the last interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tx_bytes_per_second: i64,
    /// Connections opened, or found open when the trace began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections: i64,
    /// Connections that are open now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections_open: i64,
    /// Connections that the process tried to open and could not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connect_failures: i64,
    /// TCP segments sent again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retransmits: i64,
    /// Smoothed round-trip time in microseconds, of the connection that was measured last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_microseconds: Option<i64>,
}

impl Flow {
    /// What flows are ranked by: bytes in both directions since the trace began.
    #[must_use]
    pub fn weight(&self) -> i64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}
