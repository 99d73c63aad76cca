//! The data that all output is made from: one trace at one moment.
//!
//! Its JSON is the output of `traffictrace top -o json`, one object per line; a file of such lines can be replayed. Counts
//! are since the trace began; rates are over the last interval. A value that is not known is `null` or absent.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use traffictrace_crd::flow::{Direction, FlowState, Protocol};

/// One trace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// Time at which the numbers were read; with several nodes, the time of the newest numbers.
    pub time: Timestamp,
    /// Time at which the oldest of the numbers were read, among the nodes that still trace. Absent if all were read at
    /// `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_time: Option<Timestamp>,
    /// Description of the traced container, process or pods, such as `trace shop/checkout (app=web)`.
    pub subject: String,
    /// State of the trace.
    pub state: State,
    /// Length of the interval that the rates are averaged over, in seconds.
    pub interval_seconds: Seconds,
    /// Kind of kernel hooks in use, such as `tp_btf`. Absent if nodes can differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_tier: Option<String>,
    /// Time at which the trace began. Absent if that is the time of the first snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Time at which the trace ends by itself, or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Sums over all flows, listed or not.
    pub totals: Totals,
    /// The flows with the most bytes, in descending order.
    pub flows: Vec<Flow>,
    /// Number of flows, listed or not.
    pub flows_total: u64,
    /// Sums of each process over all of its flows, listed or not, in descending order of bytes. Empty if the source of the
    /// snapshot does not keep such sums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// True if all processes were searched for sockets that were open before the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_sockets_found: Option<bool>,
    /// Names of the kinds of traffic that the kernels cannot see; `traffictrace check` explains each.
    pub not_seen: Vec<String>,
    /// Losses by kind: a number of events, or of bytes if the kind's name ends with `Bytes`.
    pub lost: BTreeMap<String, u64>,
    /// Fill level of the kernel's flow table. Absent if there are several nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_table: Option<FlowTable>,
    /// Number of pods that are or were traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
    /// Number of containers that are or were traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<u64>,
    /// Number of nodes that have or had traced pods. Absent on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_matched: Option<u64>,
    /// Number of nodes that trace, or have traced. Absent on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_reporting: Option<u64>,
    /// The nodes by name: all of them, or only those with a notice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// Sentences about what is missing or not as the trace asks, the most important first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// The HTTP requests, if the trace asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// The functions that move the bytes, if the trace has stacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<Functions>,
}

impl Snapshot {
    /// Returns the number of nodes that trace or have traced, and of nodes that should; `None` on one host.
    #[must_use]
    pub fn number_of_nodes(&self) -> Option<(u64, u64)> {
        let known = self.nodes.iter().filter(|node| node.update_time.is_some()).count() as u64;
        let all = self.nodes.len() as u64;
        let (reporting, matched) = (self.nodes_reporting.unwrap_or(known), self.nodes_matched.unwrap_or(all));
        (matched > 0 || reporting > 0).then_some((reporting, matched.max(reporting)))
    }
}

/// A length of time in seconds. A whole number is written without a fraction.
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
    /// Tracing; the numbers grow.
    #[default]
    Live,
    /// The trace is over and its numbers are final.
    Completed,
    /// The trace could not run.
    Failed,
    /// The trace was deleted; the numbers are the last ones before that.
    Deleted,
    /// The source of the numbers cannot be reached; the numbers are the last ones before that.
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
    /// Bytes received per second.
    pub rx_bytes_per_second: u64,
    /// Bytes sent per second.
    pub tx_bytes_per_second: u64,
    /// Number of connections opened, or found open when the trace began.
    pub connections: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// Number of connections that could not be opened.
    pub connect_failures: u64,
    /// Number of TCP segments sent again.
    pub retransmits: u64,
    /// Bytes, included in those received and sent, whose process or peer is not known. Absent if the source of the
    /// snapshot does not sum them up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unattributed_bytes: Option<u64>,
    /// Bytes, included in those received and sent, of connections whose opener is not known. Absent if the source of the
    /// snapshot does not sum them up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_direction_bytes: Option<u64>,
}

/// One flow: a connection, or several that were folded together.
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
    /// Name of the calling process's container, if another container owns the socket.
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
    /// The side that began the exchange.
    pub direction: Direction,
    /// State of the flow's connections.
    pub state: FlowState,
    /// Local address.
    pub local_address: Option<IpAddr>,
    /// Local port; absent if the flow folds several ports.
    pub local_port: Option<u16>,
    /// Address of the peer.
    pub remote_address: Option<IpAddr>,
    /// Port of the peer; absent if the flow folds several ports.
    pub remote_port: Option<u16>,
    /// Owner of the peer's address: `pod NAMESPACE/NAME`, `service NAMESPACE/NAME` or `node NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Services of the namespace that offer the local port, as `NAME:PORT` with the Service's own port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_services: Vec<String>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Number of system calls that received.
    #[serde(default)]
    pub rx_calls: u64,
    /// Number of system calls that sent.
    #[serde(default)]
    pub tx_calls: u64,
    /// Bytes received per second.
    pub rx_bytes_per_second: u64,
    /// Bytes sent per second.
    pub tx_bytes_per_second: u64,
    /// Number of connections opened, or found open when the trace began.
    pub connections: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// Number of connections that could not be opened.
    pub connect_failures: u64,
    /// Number of TCP segments sent again.
    pub retransmits: u64,
    /// Number of flows, more than one if this sums up flows that are not listed one by one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub flows: u64,
    /// Smoothed round-trip time in microseconds.
    pub rtt_microseconds: Option<u32>,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_one(number: &u64) -> bool {
    *number == 1
}

impl Flow {
    /// Makes a flow that has moved nothing and of which nothing else is known.
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
            flows: 1,
            rtt_microseconds: None,
        }
    }

    /// Bytes in both directions, by which flows are ranked.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }
}

/// Sums over the flows of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Process id on the node.
    pub pid: Option<u32>,
    /// Name of the process.
    pub command: Option<String>,
    /// Number of connections opened, or found open when the trace began.
    pub connections_opened: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// Number of connections that could not be opened.
    pub connect_failures: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// Fill level of the kernel's flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowTable {
    /// Number of flows for which the table has room.
    pub slots: u64,
    /// Number of flows in the table. A flow that has ended stays for about a second.
    pub slots_in_use: u64,
}

/// A node of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Name of the node.
    pub name: String,
    /// Time at which the node's numbers were read. Absent if it has not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<Timestamp>,
    /// Reason why the node does not trace, or how its numbers differ from what the trace asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// The endpoints with the most requests, in descending order.
    pub endpoints: Vec<Endpoint>,
    /// Number of endpoints, listed or not. Absent: all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints_total: Option<u64>,
    /// Number of requests, including those of endpoints that are not listed.
    pub requests: u64,
    /// Number of requests by the class of the final status, such as `2xx` or `noResponse`.
    pub by_class: BTreeMap<String, u64>,
    /// Number of gRPC calls whose own status was not 0. These calls are also in `by_class`.
    pub grpc_failed: u64,
    /// Bytes of the requests.
    pub request_bytes: u64,
    /// Bytes of the responses.
    pub response_bytes: u64,
    /// Number of requests that could not be observed, by reason. These requests are in no other number.
    pub unobserved: BTreeMap<String, u64>,
    /// Losses between kernel and agent, by kind. Lost requests are in no other number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, u64>,
    /// Processes that speak TLS; those whose requests cannot be read come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<TlsProcesses>,
}

/// Processes of one container that speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsProcesses {
    /// True if the requests of these processes can be read. Requests that cannot be read are in no number.
    pub readable: bool,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: Option<String>,
    /// Name of the processes.
    pub command: Option<String>,
    /// TLS library with its version, such as `OpenSSL 3.0.19`.
    pub library: Option<String>,
    /// Reason, if the requests cannot be read or only some of them can.
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
    /// Requested host.
    pub host: Option<String>,
    /// Path without its query.
    pub path: Option<String>,
    /// Number of requests.
    pub requests: u64,
    /// Number of requests by the class of the final status.
    pub by_class: BTreeMap<String, u64>,
    /// Median duration in microseconds.
    pub p50_microseconds: u64,
    /// Duration in microseconds that 90 % of the requests do not exceed.
    pub p90_microseconds: u64,
    /// Duration in microseconds that 99 % of the requests do not exceed.
    pub p99_microseconds: u64,
    /// Longest duration in microseconds.
    pub max_microseconds: u64,
    /// Bytes of the requests.
    pub request_bytes: u64,
    /// Bytes of the responses.
    pub response_bytes: u64,
    /// Number of gRPC calls whose own status was not 0.
    pub grpc_failed: u64,
    /// True if some requests of the endpoint are counted in other rows, or in the sums only, because the endpoint had no row
    /// for some time.
    pub incomplete: bool,
}

/// The functions that move the bytes of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Functions {
    /// The functions with the most bytes, in descending order.
    pub functions: Vec<Function>,
    /// The reason why no function is listed, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Bytes of all stacks, including those without a known stack.
    pub bytes: u64,
    /// Number of nodes whose profiles are included in these sums. Absent on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
    /// Number of calls whose stack was taken.
    pub stacks: u64,
    /// Bytes, included in `bytes`, that are attributed to the stack of the very call that moved them. Others are spread over
    /// the stacks of their process.
    pub bytes_at_own_call: u64,
    /// Bytes, included in `bytes`, without a known stack.
    pub bytes_without_stack: u64,
}

/// The bytes that one function of one container moves, either itself or through the functions that it calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// File that contains the function's code.
    pub module: Option<String>,
    /// Name of the process.
    pub command: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Name of the pod. Absent if the bytes belong to several containers, or to none of a pod.
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
