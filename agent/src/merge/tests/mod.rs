//! Tests of the merge: reports in, status out.

mod http;
mod keeping;
mod life;
mod presence;
mod rows;
mod stacks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration as StdDuration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use traffictrace_crd::{
    Direction, Duration, FlowRow, FlowState, Phase, Protocol, Refused, Totals, TrafficTrace,
    TrafficTraceReportSpec, TrafficTraceSpec, TrafficTraceStatus, column_names,
};

use super::{Inputs, LivePods, Merged, NodeNames, NodeReports, PeerNames, merge};

/// Creation time of every trace in these tests, as a Unix time in seconds.
const CREATED: i64 = 1_800_000_000;

/// A trace, the other inputs of the merge, and the last shown status.
struct Case {
    trace: TrafficTrace,
    reports: NodeReports,
    live: BTreeMap<String, LivePods>,
    look_again: Option<Timestamp>,
    existing: Option<BTreeSet<String>>,
    clock_offset: Option<i64>,
    peers: Names,
    invalid: Option<String>,
    filters_changed: bool,
}

/// Names by address, and Services by pod.
#[derive(Default)]
struct Names {
    addresses: BTreeMap<IpAddr, String>,
    services: BTreeMap<String, Vec<String>>,
}

impl PeerNames for Names {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        self.addresses.get(&address).cloned()
    }

    fn services_of(&self, namespace: &str, pod: &str, _: Protocol, port: u16) -> Vec<String> {
        assert_eq!(namespace, "shop");
        let names = self.services.get(pod).into_iter().flatten();
        names.map(|name| format!("{name}:{port}")).collect()
    }
}

impl NodeNames for BTreeSet<String> {
    fn has_node(&self, name: &str) -> bool {
        self.contains(name)
    }
}

impl Case {
    /// Makes a trace of one minute in namespace `shop`, just created.
    fn new() -> Self {
        let spec = TrafficTraceSpec { duration: Duration::new("1m"), ..Default::default() };
        let mut trace = TrafficTrace::new("t", spec);
        trace.metadata.namespace = Some("shop".into());
        trace.metadata.generation = Some(1);
        trace.metadata.creation_timestamp = Some(Time(at(0)));
        Self {
            trace,
            reports: NodeReports::default(),
            live: BTreeMap::new(),
            look_again: None,
            existing: None,
            clock_offset: None,
            peers: Names::default(),
            invalid: None,
            filters_changed: false,
        }
    }

    /// Returns the status at a number of seconds after the creation, and stores it as the last shown one.
    fn status_at(&mut self, seconds: i64) -> TrafficTraceStatus {
        let Merged { status, look_again } = merge(&Inputs {
            trace: &self.trace,
            invalid: self.invalid.as_deref(),
            reports: &self.reports,
            live_pods: &self.live,
            existing_nodes: self.existing.as_ref().map(|names| names as &dyn NodeNames),
            clock_offset: self.clock_offset,
            peers: &self.peers,
            report_interval: StdDuration::from_secs(10),
            filters_changed: self.filters_changed,
            now: at(seconds),
        });
        self.trace.status = Some(status.clone());
        self.look_again = look_again;
        status
    }

    fn phase_at(&mut self, seconds: i64) -> Option<Phase> {
        self.status_at(seconds).phase
    }

    fn apply(&mut self, report: TrafficTraceReportSpec) {
        self.reports.apply(report);
    }

    /// Sets the number of selected pods of each node. They exist since the trace began.
    fn live(&mut self, pods: &[(&str, i32)]) {
        let live = |count| LivePods { count, since: at(0) };
        self.live = pods.iter().map(|(node, count)| ((*node).to_owned(), live(*count))).collect();
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(CREATED + seconds).unwrap()
}

/// Makes a report of a node, with a flow for each pod and its received bytes.
fn report(node: &str, flows: &[(&str, i64)]) -> TrafficTraceReportSpec {
    let total: i64 = flows.iter().map(|(_, bytes)| bytes).sum();
    TrafficTraceReportSpec {
        node_name: node.into(),
        pods_matched: i32::try_from(flows.len()).unwrap(),
        containers_matched: i32::try_from(flows.len()).unwrap(),
        totals: Totals {
            rx_bytes: total,
            connections: i64::try_from(flows.len()).unwrap(),
            ..Default::default()
        },
        columns: column_names(),
        flows: flows.iter().map(|(pod, bytes)| row(pod, *bytes).encode()).collect(),
        flows_total: i64::try_from(flows.len()).unwrap(),
        ..Default::default()
    }
}

fn refusing(node: &str) -> TrafficTraceReportSpec {
    TrafficTraceReportSpec {
        refused: Some(Refused {
            reason: "TooManySessions".into(),
            message: "64 traces run here; delete one".into(),
        }),
        ..report(node, &[])
    }
}

fn row(pod: &str, rx_bytes: i64) -> FlowRow {
    FlowRow {
        pod: pod.into(),
        container: Some("app".into()),
        caller_container: None,
        pid: Some(100),
        container_pid: Some(1),
        command: Some("server".into()),
        protocol: Protocol::Tcp,
        direction: Direction::Inbound,
        state: Some(FlowState::Open),
        local_address: Some("10.0.0.1".into()),
        local_port: Some(80),
        remote_address: Some("10.0.0.9".into()),
        remote_port: None,
        rx_bytes,
        tx_bytes: 0,
        rx_calls: 1,
        tx_calls: 0,
        rx_bytes_per_second: 7,
        tx_bytes_per_second: 0,
        connections: 1,
        retransmits: 0,
        rtt_microseconds: Some(50),
        connections_open: 1,
        connect_failures: 0,
    }
}

fn condition<'a>(status: &'a TrafficTraceStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

/// Returns status and reason of a condition, for example `True AllNodesReported`.
fn condition_of(status: &TrafficTraceStatus, kind: &str) -> String {
    let condition = condition(status, kind);
    format!("{} {}", condition.status, condition.reason)
}
