//! The count of one process, which is the truth that the product is compared with.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A protocol as the product names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP and MPTCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP, connected or not.
    #[serde(rename = "UDP")]
    Udp,
    /// ICMP and ICMPv6, on ping sockets and raw sockets.
    #[serde(rename = "ICMP")]
    Icmp,
}

/// The side that opened a connection, or sent the first datagram between a socket and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The peer opened the connection, or sent first.
    Inbound,
    /// The process itself opened the connection, or sent first.
    Outbound,
}

/// The key by which bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Protocol of the socket.
    pub protocol: Protocol,
    /// Port of the socket; 0 for ICMP.
    pub local_port: u16,
    /// Address of the peer, with port 0 for ICMP; `None` if no call returns it: then the product must not show a guess
    /// either.
    pub remote: Option<SocketAddr>,
}

impl Flow {
    /// Returns the flow of a known peer. An IPv4 peer of an IPv6 socket is named by its IPv4 address.
    pub fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Self {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        Self { protocol, local_port: local.port(), remote: Some(remote) }
    }

    /// Returns the key under which [`Detail::Processes`] sums all flows of this protocol.
    pub fn of_process(self) -> Self {
        Self { local_port: 0, remote: None, ..self }
    }
}

/// Counts of bytes of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    /// Number of bytes that receive calls returned.
    pub rx: u64,
    /// Number of bytes that send calls returned.
    pub tx: u64,
    /// Direction, if the case knows it.
    pub direction: Option<Direction>,
    /// Part of `rx` and `tx` that a call had moved before the trace began, although it returned later. The product
    /// shows either all of this part, if it uses the call's result, or nothing of it, if it uses the socket's counters.
    #[serde(default)]
    pub straddling: (u64, u64),
}

impl Bytes {
    /// Adds other counts to these.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.tx += other.tx;
        self.straddling.0 += other.straddling.0;
        self.straddling.1 += other.straddling.1;
        self.direction = self.direction.or(other.direction);
    }

    /// Returns whether the product is right to show these numbers for the counts.
    pub fn is_shown_by(&self, rx: u64, tx: u64) -> bool {
        let one = |counted, straddling, shown| shown == counted || shown == counted - straddling;
        one(self.rx, self.straddling.0, rx) && one(self.tx, self.straddling.1, tx)
    }
}

/// The counts of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessCount {
    /// Process id.
    pub pid: u32,
    /// Name of the process as the kernel shows it.
    pub command: String,
    /// Counts by flow.
    pub flows: Vec<(Flow, Bytes)>,
}

/// The granularity of counting and comparing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// Count by flow.
    #[default]
    Flows,
    /// Count by process and protocol: for runs with more flows than the product keeps apart.
    Processes,
}

impl Detail {
    /// Name of the granularity on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Processes => "processes",
        }
    }
}

/// The running counts of this process, shared by its threads.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    flows: Arc<Mutex<BTreeMap<Flow, Bytes>>>,
    detail: Detail,
}

impl Tally {
    /// Starts without counts.
    pub fn new(detail: Detail) -> Self {
        Self { detail, ..Self::default() }
    }

    /// Records the result of a call.
    pub fn book(&self, flow: Flow, direction: Option<Direction>, rx: usize, tx: usize) {
        self.add(flow, &Bytes { rx: rx as u64, tx: tx as u64, direction, ..Bytes::default() });
    }

    /// Adds counts to a flow.
    pub fn add(&self, flow: Flow, bytes: &Bytes) {
        let (flow, direction) = match self.detail {
            Detail::Flows => (flow, bytes.direction),
            Detail::Processes => (flow.of_process(), None),
        };
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.entry(flow).or_default().add(&Bytes { direction, ..*bytes });
    }

    /// Returns the counts of this process so far.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot read its own name.
    pub fn count(&self) -> io::Result<ProcessCount> {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ProcessCount {
            pid: std::process::id(),
            command: std::fs::read_to_string("/proc/self/comm")?.trim_end().to_owned(),
            flows: flows.iter().map(|(flow, bytes)| (*flow, *bytes)).collect(),
        })
    }
}
