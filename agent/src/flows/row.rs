//! Rows: the name of a flow, and its counts.

use std::{net::IpAddr, sync::atomic::Ordering::Relaxed};

use traffictrace_crd as crd;
use traffictrace_ebpf::layout::{self, Slot};

use super::Counters;

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, including MPTCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
}

impl Protocol {
    /// Returns the protocol with this bit in the kernel programs.
    pub fn from_bit(bit: u32) -> Option<Self> {
        match bit {
            layout::TCP => Some(Self::Tcp),
            layout::UDP => Some(Self::Udp),
            layout::ICMP => Some(Self::Icmp),
            _ => None,
        }
    }

    /// Returns the protocol's bit in the kernel programs.
    pub fn bit(self) -> u32 {
        match self {
            Self::Tcp => layout::TCP,
            Self::Udp => layout::UDP,
            Self::Icmp => layout::ICMP,
        }
    }

    /// Name of the protocol in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
        }
    }
}

/// The side that opened the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Opened by the peer.
    Inbound,
    /// Opened by the process.
    Outbound,
    /// Opened by an unknown side before the session began; also the direction of rows that sum up flows of all
    /// directions.
    Unknown,
}

impl Direction {
    /// Name of the direction in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "Inbound",
            Self::Outbound => "Outbound",
            Self::Unknown => "Unknown",
        }
    }
}

/// State of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// At least one flow of the row is open.
    Open,
    /// No flow of the row is open.
    Closed,
    /// No flow of the row is or was open: no connection could be opened.
    Failed,
}

impl From<Protocol> for crd::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Icmp => Self::Icmp,
        }
    }
}

impl From<crd::Protocol> for Protocol {
    fn from(protocol: crd::Protocol) -> Self {
        match protocol {
            crd::Protocol::Tcp => Self::Tcp,
            crd::Protocol::Udp => Self::Udp,
            crd::Protocol::Icmp => Self::Icmp,
        }
    }
}

impl From<crd::Direction> for Direction {
    fn from(direction: crd::Direction) -> Self {
        match direction {
            crd::Direction::Inbound => Self::Inbound,
            crd::Direction::Outbound => Self::Outbound,
            crd::Direction::Unknown => Self::Unknown,
        }
    }
}

impl From<Direction> for crd::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Inbound,
            Direction::Outbound => Self::Outbound,
            Direction::Unknown => Self::Unknown,
        }
    }
}

impl From<FlowState> for crd::FlowState {
    fn from(state: FlowState) -> Self {
        match state {
            FlowState::Open => Self::Open,
            FlowState::Closed => Self::Closed,
            FlowState::Failed => Self::Failed,
        }
    }
}

/// Grouping of flows into rows. Rows of different cgroups, and so of different pods or containers, or of different
/// processes are never grouped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// One row for each pair of addresses and ports.
    Connection,
    /// One row for all flows that differ only in the port that the opener chose at random.
    #[default]
    Endpoint,
    /// One row for each process and protocol, without addresses.
    Process,
}

/// The name of a row. A field is `None` if the grouping removed it or if it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Id of the socket's cgroup.
    pub cgroup: u64,
    /// Id of the calling process's cgroup, which differs if the socket was handed over.
    pub caller_cgroup: u64,
    /// Process id on the host; 0 if it is not known.
    pub pid: u32,
    /// Process id as the process sees it.
    pub container_pid: u32,
    /// Name of the process (its thread group leader), padded with zeroes.
    pub command: [u8; 16],
    /// Transport protocol.
    pub protocol: Protocol,
    /// The side that opened the flow.
    pub direction: Direction,
    /// Local address.
    pub local_address: Option<IpAddr>,
    /// Peer's address.
    pub remote_address: Option<IpAddr>,
    /// Local port.
    pub local_port: Option<u16>,
    /// Peer's port.
    pub remote_port: Option<u16>,
}

impl Key {
    /// Returns the name of the flow in a slot, or `None` if the protocol is unknown.
    pub fn of(slot: &Slot) -> Option<Self> {
        let state = slot.state();
        let protocol = Protocol::from_bit(state.protocol())?;
        let port = |port| (protocol != Protocol::Icmp).then_some(port);
        let remote_address =
            Some(layout::address(slot.remote_addr.load())).filter(|address| !address.is_unspecified());
        Some(Self {
            cgroup: slot.cgroup.load(Relaxed),
            caller_cgroup: slot.caller_cgroup.load(Relaxed),
            pid: slot.pid(),
            container_pid: slot.ns_tgid.load(Relaxed),
            command: slot.comm.load(),
            protocol,
            direction: match state.direction() {
                1 => Direction::Inbound,
                2 => Direction::Outbound,
                _ => Direction::Unknown,
            },
            local_address: Some(layout::address(slot.local_addr.load())),
            remote_address,
            local_port: port(slot.local_port.load(Relaxed)),
            remote_port: remote_address.and_then(|_| port(slot.remote_port.load(Relaxed))),
        })
    }

    /// Returns the name of the row that this flow belongs to.
    pub fn grouped(mut self, by: GroupBy) -> Self {
        match (by, self.direction) {
            (GroupBy::Connection, _) | (GroupBy::Endpoint, Direction::Unknown) => {}
            (GroupBy::Endpoint, Direction::Inbound) => self.remote_port = None,
            (GroupBy::Endpoint, Direction::Outbound) => self.local_port = None,
            (GroupBy::Process, _) => self = self.of_process(),
        }
        self
    }

    /// Returns the name of the row for all flows of this process with this protocol.
    pub fn of_process(self) -> Self {
        Self {
            direction: Direction::Unknown,
            local_address: None,
            remote_address: None,
            local_port: None,
            remote_port: None,
            ..self
        }
    }

    /// Name of the process as text.
    pub fn command(&self) -> String {
        layout::text(&self.command)
    }
}

/// Sums since the session began. They never fall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Received bytes.
    pub rx_bytes: u64,
    /// Sent bytes.
    pub tx_bytes: u64,
    /// Number of receive calls that returned data. An empty datagram counts as data.
    pub rx_calls: u64,
    /// Number of send calls that accepted data. An empty datagram counts as data.
    pub tx_calls: u64,
    /// Number of connections that were opened or found open.
    pub connections: u64,
    /// Number of failed attempts to open a connection.
    pub connect_failures: u64,
    /// Number of retransmitted segments.
    pub retransmits: u64,
    /// Bytes of flows of unknown direction.
    pub unknown_direction_bytes: u64,
}

impl Totals {
    /// Bytes in both directions, by which rows are ranked.
    pub fn bytes(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }

    /// Adds the traffic of a flow.
    pub fn add_moved(&mut self, moved: &Counters) {
        self.rx_bytes += moved.rx_bytes;
        self.tx_bytes += moved.tx_bytes;
        self.rx_calls += u64::from(moved.rx_calls);
        self.tx_calls += u64::from(moved.tx_calls);
        self.retransmits += u64::from(moved.retransmits);
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.rx_bytes += other.rx_bytes;
        self.tx_bytes += other.tx_bytes;
        self.rx_calls += other.rx_calls;
        self.tx_calls += other.tx_calls;
        self.connections += other.connections;
        self.connect_failures += other.connect_failures;
        self.retransmits += other.retransmits;
        self.unknown_direction_bytes += other.unknown_direction_bytes;
    }
}

/// Sums of all rows of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id on the host; 0 for traffic without a known process.
    pub pid: u32,
    /// Name of the process, padded with zeroes.
    pub command: [u8; 16],
    /// Sums since the session began.
    pub totals: Totals,
    /// Number of connections that are open now.
    pub connections_open: u64,
}

impl Process {
    /// Name of the process as text.
    pub fn command(&self) -> String {
        layout::text(&self.command)
    }
}

/// A row as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the row.
    pub key: Key,
    /// Sums since the session began.
    pub totals: Totals,
    /// Received bytes per second in the last interval.
    pub rx_bytes_per_second: u64,
    /// Sent bytes per second in the last interval.
    pub tx_bytes_per_second: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// Latest smoothed round-trip time in microseconds; 0 if it is not known.
    pub rtt_us: u32,
    /// State of the row's flows.
    pub state: FlowState,
    /// Set if the row sums up flows of a process that have no rows of their own, or flows that found no slot.
    pub folded: bool,
    /// Number of flows that the row sums up.
    pub flows: u64,
}

impl Row {
    /// Adds another row's counts to this one. The state is `Open` if one of the two is open, and `Failed` if both have
    /// failed.
    pub fn add(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.flows += other.flows;
        self.rx_bytes_per_second += other.rx_bytes_per_second;
        self.tx_bytes_per_second += other.tx_bytes_per_second;
        self.connections_open += other.connections_open;
        self.state = match (self.state, other.state) {
            (FlowState::Open, _) | (_, FlowState::Open) => FlowState::Open,
            (FlowState::Failed, FlowState::Failed) => FlowState::Failed,
            _ => FlowState::Closed,
        };
    }
}
