//! What one process counted: the truth that the product is held against.

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
    /// And MPTCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// Connected or not.
    #[serde(rename = "UDP")]
    Udp,
    /// And ICMPv6; ping sockets and raw sockets.
    #[serde(rename = "ICMP")]
    Icmp,
}

/// Who opened a connection, or sent the first datagram between a socket and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// The process itself.
    Outbound,
}

/// What bytes are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Protocol of the socket.
    pub protocol: Protocol,
    /// Port of the socket; 0 for ICMP.
    pub local_port: u16,
    /// The peer, port 0 for ICMP; `None` where no call tells it, so that the product must not guess either.
    pub remote: Option<SocketAddr>,
}

impl Flow {
    /// A flow with its peer. IPv4 peers of an IPv6 socket are IPv4.
    pub fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Self {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        Self { protocol, local_port: local.port(), remote: Some(remote) }
    }

    /// Stands for all flows of this protocol.
    pub fn of_process(self) -> Self {
        Self { local_port: 0, remote: None, ..self }
    }
}

/// Bytes of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    /// That receive calls returned.
    pub rx: u64,
    /// That send calls returned.
    pub tx: u64,
    /// Where the case knows it.
    pub direction: Option<Direction>,
    /// Of `rx` and `tx`, what a call had moved when the trace began that returned after this: it counts whole or not at
    /// all, by whether the call or the socket is asked.
    #[serde(default)]
    pub straddling: (u64, u64),
}

impl Bytes {
    /// Adds.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.tx += other.tx;
        self.straddling.0 += other.straddling.0;
        self.straddling.1 += other.straddling.1;
        self.direction = self.direction.or(other.direction);
    }

    /// Whether this is what the product should show.
    pub fn is_shown_by(&self, rx: u64, tx: u64) -> bool {
        let one = |counted, straddling, shown| shown == counted || shown == counted - straddling;
        one(self.rx, self.straddling.0, rx) && one(self.tx, self.straddling.1, tx)
    }
}

/// What one process counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessCount {
    /// Its id.
    pub pid: u32,
    /// Its name as the kernel shows it.
    pub command: String,
    /// Its flows.
    pub flows: Vec<(Flow, Bytes)>,
}

/// How finely is counted and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// By flow.
    #[default]
    Flows,
    /// By process and protocol: for runs of more flows than the product keeps apart.
    Processes,
}

impl Detail {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Processes => "processes",
        }
    }
}

/// The running count of this process, shared by its threads.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    flows: Arc<Mutex<BTreeMap<Flow, Bytes>>>,
    detail: Detail,
}

impl Tally {
    /// Nothing yet.
    pub fn new(detail: Detail) -> Self {
        Self { detail, ..Self::default() }
    }

    /// Books what a call returned.
    pub fn book(&self, flow: Flow, direction: Option<Direction>, rx: usize, tx: usize) {
        self.add(flow, &Bytes { rx: rx as u64, tx: tx as u64, direction, ..Bytes::default() });
    }

    /// Adds to a flow.
    pub fn add(&self, flow: Flow, bytes: &Bytes) {
        let (flow, direction) = match self.detail {
            Detail::Flows => (flow, bytes.direction),
            Detail::Processes => (flow.of_process(), None),
        };
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.entry(flow).or_default().add(&Bytes { direction, ..*bytes });
    }

    /// The count of this process up to now.
    ///
    /// # Errors
    ///
    /// When the process cannot read its own name.
    pub fn count(&self) -> io::Result<ProcessCount> {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ProcessCount {
            pid: std::process::id(),
            command: std::fs::read_to_string("/proc/self/comm")?.trim_end().to_owned(),
            flows: flows.iter().map(|(flow, bytes)| (*flow, *bytes)).collect(),
        })
    }
}
