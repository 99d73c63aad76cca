//! The plain data that everything else shows: one trace at one moment.
//!
//! Its JSON is the output of `traffictrace top -o json`, one object a line; a file of such lines can be replayed. Counts are
//! since the trace began, rates are of the last interval. A value that is not known is `null` or absent.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use traffictrace_crd::flow::{Direction, FlowState, Protocol};

/// One trace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// Time at which the numbers were read; of several nodes the newest.
    pub time: Timestamp,
    /// Time at which the oldest of the numbers were read, over the nodes that still trace. Absent: all were read at `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_time: Option<Timestamp>,
    /// The traced container, process or pods, in words, such as `trace shop/checkout (app=web)`.
    pub subject: String,
    /// State of the trace.
    pub state: State,
    /// Seconds that the rates are over.
    pub interval_seconds: Seconds,
    /// Kernel hooks that count, such as `tp_btf`. Absent where nodes can differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_tier: Option<String>,
    /// Time at which the trace began. Absent where that is the time of the first snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Time at which the trace ends by itself, or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Sums over all flows, listed or not.
    pub totals: Totals,
    /// The flows with the most bytes, most first.
    pub flows: Vec<Flow>,
    /// Number of flows, those not listed included.
    pub flows_total: u64,
    /// Sums of each process, those with the most bytes first, over all of its flows, listed or not. Empty where nothing keeps
    /// such sums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Whether sockets that were open before the trace were looked for in all processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_sockets_found: Option<bool>,
    /// Names of what the kernels cannot see; `traffictrace check` explains each.
    pub not_seen: Vec<String>,
    /// Numbers of what was lost, by kind. Those in bytes end in `Bytes`.
    pub lost: BTreeMap<String, u64>,
    /// The kernel's table of flows. Absent where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_table: Option<FlowTable>,
    /// Pods that are or were traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
    /// Containers that are or were traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<u64>,
    /// Number of nodes that have or had traced pods. Absent on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_matched: Option<u64>,
    /// Number of nodes that trace, or have traced. Absent on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_reporting: Option<u64>,
    /// The nodes by name: all of them, or only those that there is something to say about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// Sentences about what is missing or done otherwise than asked, the most important first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// The HTTP requests, where the trace has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// The functions that move the bytes, where the trace has stacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<Functions>,
}

impl Snapshot {
    /// Numbers of nodes: those that trace or have traced, and those that should. Nothing on one host.
    #[must_use]
    pub fn number_of_nodes(&self) -> Option<(u64, u64)> {
        let known = self.nodes.iter().filter(|node| node.update_time.is_some()).count() as u64;
        let all = self.nodes.len() as u64;
        let (reporting, matched) = (self.nodes_reporting.unwrap_or(known), self.nodes_matched.unwrap_or(all));
        (matched > 0 || reporting > 0).then_some((reporting, matched.max(reporting)))
    }
}

/// A time in seconds, whole numbers without a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_whole = self.0.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&self.0);
        if is_whole { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

/// State of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nothing is traced yet.
    Waiting,
    /// The numbers grow.
    #[default]
    Live,
    /// The trace is over and its numbers are final.
    Completed,
    /// The trace could not be done.
    Failed,
    /// The trace was deleted; the numbers are the last that were seen.
    Deleted,
    /// The source of the numbers cannot be reached; they are the last that were seen.
    Unreachable,
}

/// Sums over all flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Bytes received each second.
    pub rx_bytes_per_second: u64,
    /// Bytes sent each second.
    pub tx_bytes_per_second: u64,
    /// Connections opened, or found open when the trace began.
    pub connections: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that could not be opened.
    pub connect_failures: u64,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// Bytes, part of those received and sent, whose process or peer could not be told. Absent where nothing sums them up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unattributed_bytes: Option<u64>,
    /// Bytes, part of those received and sent, of connections of which nothing tells who opened them. Absent where nothing
    /// sums them up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_direction_bytes: Option<u64>,
}

/// One flow: a connection, or as many as were folded together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Namespace of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Name of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the container of the process, where another one owns the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_container: Option<String>,
    /// Process id on the node.
    pub pid: Option<u32>,
    /// Process id as the container sees it.
    pub container_pid: Option<u32>,
    /// Name of the process.
    pub command: Option<String>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The side that began.
    pub direction: Direction,
    /// Whether more can come.
    pub state: FlowState,
    /// Local address.
    pub local_address: Option<IpAddr>,
    /// Local port; not known where flows of several ports are one.
    pub local_port: Option<u16>,
    /// Address of the peer.
    pub remote_address: Option<IpAddr>,
    /// Port of the peer; not known where flows of several ports are one.
    pub remote_port: Option<u16>,
    /// What has the peer's address: `pod NAMESPACE/NAME`, `service NAMESPACE/NAME` or `node NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Services of the namespace that offer the local port, as `NAME:PORT` with the Service's own port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_services: Vec<String>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Calls that received.
    #[serde(default)]
    pub rx_calls: u64,
    /// Calls that sent.
    #[serde(default)]
    pub tx_calls: u64,
    /// Bytes received each second.
    pub rx_bytes_per_second: u64,
    /// Bytes sent each second.
    pub tx_bytes_per_second: u64,
    /// Connections opened, or found open when the trace began.
    pub connections: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that could not be opened.
    pub connect_failures: u64,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// Smoothed round-trip time in microseconds.
    pub rtt_microseconds: Option<u32>,
}

impl Flow {
    /// A flow of which nothing more is known, and that has moved nothing.
    #[must_use]
    pub fn new(protocol: Protocol, direction: Direction) -> Self {
        Self {
            namespace: None,
            pod: None,
            node: None,
            container: None,
            caller_container: None,
            pid: None,
            container_pid: None,
            command: None,
            protocol,
            direction,
            state: FlowState::Open,
            local_address: None,
            local_port: None,
            remote_address: None,
            remote_port: None,
            peer: None,
            local_services: Vec::new(),
            rx_bytes: 0,
            tx_bytes: 0,
            rx_calls: 0,
            tx_calls: 0,
            rx_bytes_per_second: 0,
            tx_bytes_per_second: 0,
            connections: 0,
            connections_open: 0,
            connect_failures: 0,
            retransmits: 0,
            rtt_microseconds: None,
        }
    }

    /// Bytes in both directions, by which flows are ranked.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }
}

/// Sums of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Process id on the node.
    pub pid: Option<u32>,
    /// Name of the process.
    pub command: Option<String>,
    /// Connections opened, or found open when the trace began.
    pub connections_opened: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that could not be opened.
    pub connect_failures: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// The kernel's table of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowTable {
    /// Flows that it has room for.
    pub slots: u64,
    /// Flows in it. A flow that has ended stays for about a second.
    pub slots_in_use: u64,
}

/// A node of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Name of the node.
    pub name: String,
    /// Time at which its numbers were read. Absent: it has not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<Timestamp>,
    /// Why it does not trace, or how its numbers are not as asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// The endpoints with the most requests, most first.
    pub endpoints: Vec<Endpoint>,
    /// Number of endpoints, those not listed included. Absent: all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints_total: Option<u64>,
    /// Requests, those of endpoints that are not listed included.
    pub requests: u64,
    /// The same by the class of the final status, such as `2xx`, `noResponse`.
    pub by_class: BTreeMap<String, u64>,
    /// Calls of gRPC whose own status was not 0. They are in a class too.
    pub grpc_failed: u64,
    /// Bytes of the requests.
    pub request_bytes: u64,
    /// Bytes of the responses.
    pub response_bytes: u64,
    /// Requests that could not be observed, by reason. They are in no other number.
    pub unobserved: BTreeMap<String, u64>,
    /// Losses between kernel and agent, by kind. Their requests are in no other number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, u64>,
    /// Processes that speak TLS, those whose requests cannot be read first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<TlsProcesses>,
}

/// Processes that speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsProcesses {
    /// Whether their requests can be read. Those of others are in no number.
    pub readable: bool,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: Option<String>,
    /// Name of the processes.
    pub command: Option<String>,
    /// The library with its version, such as `OpenSSL 3.0.19`.
    pub library: Option<String>,
    /// Why they are not readable, or not all of what they say is.
    pub reason: Option<String>,
    /// Number of the processes.
    pub processes: u64,
}

/// The requests of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Name of the container.
    pub container: Option<String>,
    /// Name of the process.
    pub command: Option<String>,
    /// `Server` or `Client`.
    pub side: String,
    /// `HTTP/1.1`, `HTTP/2` or `gRPC`.
    pub protocol: String,
    /// Method of the requests.
    pub method: Option<String>,
    /// Host that was asked for.
    pub host: Option<String>,
    /// Path without its query.
    pub path: Option<String>,
    /// Number of requests.
    pub requests: u64,
    /// The same by the class of the final status.
    pub by_class: BTreeMap<String, u64>,
    /// Median duration in microseconds.
    pub p50_microseconds: u64,
    /// Duration that nine of ten requests do not exceed, in microseconds.
    pub p90_microseconds: u64,
    /// Duration that 99 of 100 requests do not exceed, in microseconds.
    pub p99_microseconds: u64,
    /// Longest duration in microseconds.
    pub max_microseconds: u64,
    /// Bytes of the requests.
    pub request_bytes: u64,
    /// Bytes of the responses.
    pub response_bytes: u64,
    /// Calls of gRPC whose own status was not 0.
    pub grpc_failed: u64,
    /// Whether some requests of the endpoint are in other rows, or in the sums alone, because its row was given up for a time.
    pub incomplete: bool,
}

/// The functions that move the bytes of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Functions {
    /// The functions with the most bytes, most first.
    pub functions: Vec<Function>,
    /// Why no function is listed, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Bytes of all stacks, and those of which no stack is known.
    pub bytes: u64,
    /// Number of nodes whose profiles are in these sums. Absent on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
    /// Number of calls whose stack was taken.
    pub stacks: u64,
    /// Bytes, part of `bytes`, that stand at the very call that moved them. Others are spread over the stacks of their process.
    pub bytes_at_own_call: u64,
    /// Bytes, part of `bytes`, of which no stack is known.
    pub bytes_without_stack: u64,
}

/// The bytes that one function of one container moves, by itself or by what it calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// File that has its code.
    pub module: Option<String>,
    /// Name of the process.
    pub command: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Name of the pod. Absent: the bytes are of several pods.
    pub pod: Option<String>,
    /// Name of the container.
    pub container: Option<String>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

impl Function {
    /// Bytes in both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_have_no_fraction() {
        let text = |seconds| serde_json::to_string(&Seconds(seconds)).unwrap();
        assert_eq!(text(1.0), "1");
        assert_eq!(text(0.501), "0.501");
        assert_eq!(serde_json::from_str::<Seconds>("5").unwrap(), Seconds(5.0));
    }

    #[test]
    fn a_snapshot_is_the_same_after_it_was_written_and_read() {
        let snapshot = crate::testing::snapshot();
        let line = serde_json::to_string(&snapshot).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Snapshot>(&line).unwrap(), snapshot);
    }

    #[test]
    fn what_is_absent_is_nothing() {
        assert_eq!(serde_json::from_str::<Snapshot>("{}").unwrap(), Snapshot::default());
    }
}
