//! Flows and totals, as reports and statuses carry them.

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

/// The side that began the exchange, as seen from the traced container.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Direction {
    /// The peer opened the connection, or sent the first datagram.
    Inbound,
    /// The container opened the connection, or sent the first datagram.
    Outbound,
    /// The row sums flows of both directions; or the connection or exchange is older than the trace, and nothing shows
    /// which side began it.
    #[default]
    Unknown,
}

/// State of the flow's connections and sockets. Open: at least one is open. Closed: all are closed. Failed: none could be opened.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum FlowState {
    /// At least one connection or socket of the flow is open.
    #[default]
    Open,
    /// All connections and sockets of the flow are closed.
    Closed,
    /// No connection was ever open: the container tried to open some, and all attempts failed.
    Failed,
}

/// Losses by reason: a number of events, or of bytes if the reason ends with `Bytes`. Depending on the reason, the bytes are in
/// a less precise row, in the totals only, or in no count.
pub type Losses = BTreeMap<String, i64>;

/// Sums over all flows, listed or not. Counts since the trace began.
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
    /// Number of connections opened in either direction, or found open when the trace began.
    #[schemars(range(min = 0))]
    pub connections: i64,
    /// Number of connections that are open now. Unlike the other numbers here, it can fall.
    #[schemars(range(min = 0))]
    pub connections_open: i64,
    /// Number of connections that the selected containers tried to open and could not: refused, unreachable, timed out or given up.
    #[schemars(range(min = 0))]
    pub connect_failures: i64,
    /// Number of TCP segments that were sent again.
    #[schemars(range(min = 0))]
    pub retransmits: i64,
    /// Bytes, included in rxBytes and txBytes, whose process or peer is not known.
    #[schemars(range(min = 0))]
    pub unattributed_bytes: i64,
    /// Bytes, included in rxBytes and txBytes, of connections that are older than the trace and whose opener is not known. They pass every direction filter.
    #[schemars(range(min = 0))]
    pub unknown_direction_bytes: i64,
}

impl Totals {
    /// Adds the sums of other flows.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Raises each sum to that of `other` if `other` has more. The number of open connections is left as it is, since it may fall.
    pub fn raise_to(&mut self, other: &Self) {
        let connections_open = self.connections_open;
        self.each(other, i64::max);
        self.connections_open = connections_open;
    }

    /// Subtracts other sums from these; no result is below 0. The number of open connections becomes 0, since it is not a sum.
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

/// One row of the top flows. Counts are since the trace began; rates are over the last interval. An absent field is not known, or is folded by spec.groupBy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Flow {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the pod's node. Absent in a status that an older version of the controller wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Name of the container that owns the socket. Absent until the kubelet has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the calling process's container, if another container owns the socket.
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
    /// The side that began the exchange: Inbound (the peer), Outbound (the container) or Unknown.
    pub direction: Direction,
    /// Open: at least one connection or socket of the flow is open. Closed: all of them are closed. Failed: none could be opened.
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
    /// Owner of the peer's address when the flow was first listed: pod NAMESPACE/NAME, service NAMESPACE/NAME or node NAME. A pod that gave up the address less than five minutes earlier counts as its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Services of the namespace that have offered the local port since the flow was first listed, at most three, as NAME:PORT with the Service's own port; those that listed clients ask for come first. The flow of a client that asked for such a Service names it as the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub local_services: Vec<String>,
    /// Bytes received.
    pub rx_bytes: i64,
    /// Bytes sent.
    pub tx_bytes: i64,
    /// Number of system calls that received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rx_calls: i64,
    /// Number of system calls that sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tx_calls: i64,
    /// Bytes received per second, over the last interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rx_bytes_per_second: i64,
    /// Bytes sent per second, over the last interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tx_bytes_per_second: i64,
    /// Number of connections opened, or found open when the trace began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections: i64,
    /// Number of connections that are open now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections_open: i64,
    /// Number of connections that the process tried to open and could not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connect_failures: i64,
    /// Number of TCP segments sent again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retransmits: i64,
    /// Smoothed round-trip time in microseconds, of the connection that was measured last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_microseconds: Option<i64>,
}

impl Flow {
    /// Bytes in both directions since the trace began, by which flows are ranked.
    #[must_use]
    pub fn weight(&self) -> i64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }
}

/// Returns the namespace and the name of the Service that a flow has as its peer; `None` if the peer is no Service.
#[must_use]
pub fn service_named(peer: &str) -> Option<(&str, &str)> {
    peer.strip_prefix("service ")?.split_once('/')
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}
