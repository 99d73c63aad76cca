//! Rows: what a flow is called and what it has moved.

use std::{net::IpAddr, sync::atomic::Ordering::Relaxed};

use traffictrace_crd as crd;
use traffictrace_ebpf::layout::{self, Slot};

use super::Counters;

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, also over MPTCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
}

impl Protocol {
    /// The protocol that the kernel programs call by this bit.
    pub fn from_bit(bit: u32) -> Option<Self> {
        match bit {
            layout::TCP => Some(Self::Tcp),
            layout::UDP => Some(Self::Udp),
            layout::ICMP => Some(Self::Icmp),
            _ => None,
        }
    }

    /// Its bit in the kernel programs.
    pub fn bit(self) -> u32 {
        match self {
            Self::Tcp => layout::TCP,
            Self::Udp => layout::UDP,
            Self::Icmp => layout::ICMP,
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
        }
    }
}

/// Who opened the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// The process.
    Outbound,
    /// Opened before anybody watched, and nothing tells by whom.
    Unknown,
}

impl Direction {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "Inbound",
            Self::Outbound => "Outbound",
            Self::Unknown => "Unknown",
        }
    }
}

/// Whether any socket of the row is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// At least one.
    Open,
    /// None.
    Closed,
    /// None, and none ever was: no connection could be opened.
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

/// What makes flows one row. Pod and container are in every one of these, by the cgroup, and so is the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// Each pair of addresses and ports by itself.
    Connection,
    /// Without the port that its opener took at random.
    #[default]
    Endpoint,
    /// Without addresses: one row for each process and protocol.
    Process,
}

/// The name of a row. `None` for what grouping took away, or was never known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Id of the socket's cgroup.
    pub cgroup: u64,
    /// Id of the calling process's cgroup; differs where a socket was handed over.
    pub caller_cgroup: u64,
    /// Process id on the host; 0 where it is not known.
    pub pid: u32,
    /// Process id as the process sees it.
    pub container_pid: u32,
    /// Name of the process (its thread group leader), closed by a zero where it is shorter.
    pub command: [u8; 16],
    /// Protocol.
    pub protocol: Protocol,
    /// Who opened it.
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
    /// The name of the flow in a slot. `None` for a protocol this build does not know.
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

    /// The name of the row that this flow belongs to.
    pub fn grouped(mut self, by: GroupBy) -> Self {
        match (by, self.direction) {
            (GroupBy::Connection, _) | (GroupBy::Endpoint, Direction::Unknown) => {}
            (GroupBy::Endpoint, Direction::Inbound) => self.remote_port = None,
            (GroupBy::Endpoint, Direction::Outbound) => self.local_port = None,
            (GroupBy::Process, _) => self = self.of_process(),
        }
        self
    }

    /// The name of the row for everything that this process did over this protocol.
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

/// Sums since the session began. All of them only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Receive calls that returned bytes.
    pub rx_calls: u64,
    /// Send calls that accepted bytes.
    pub tx_calls: u64,
    /// Connections opened, or found open.
    pub connections: u64,
    /// Connections that the process tried to open in vain.
    pub connect_failures: u64,
    /// Segments retransmitted.
    pub retransmits: u64,
    /// Bytes of flows whose opener is not known.
    pub unknown_direction_bytes: u64,
}

impl Totals {
    /// Bytes in both directions, by which rows are ranked.
    pub fn bytes(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }

    /// Adds what a flow moved.
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

/// What all rows of one process sum up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id on the host; 0 for what is not attributed.
    pub pid: u32,
    /// Its name, closed by a zero where it is shorter.
    pub command: [u8; 16],
    /// Sums since the session began.
    pub totals: Totals,
    /// Connections that are open now.
    pub connections_open: u64,
}

impl Process {
    /// Its name as text.
    pub fn command(&self) -> String {
        layout::text(&self.command)
    }
}

/// A row as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub key: Key,
    /// What it moved since the session began.
    pub totals: Totals,
    /// Bytes received a second in the last interval.
    pub rx_bytes_per_second: u64,
    /// Bytes sent a second in the last interval.
    pub tx_bytes_per_second: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Smoothed round-trip time in microseconds, as last seen; 0 where it is not known.
    pub rtt_us: u32,
    /// Whether any of its sockets is open.
    pub state: FlowState,
    /// Whether it holds what found no row of its own.
    pub folded: bool,
}
