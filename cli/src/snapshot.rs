//! The plain data of a trace's status, as every view starts from.

use std::net::IpAddr;

use jiff::Timestamp;
use kube::ResourceExt as _;
use traffictrace_crd::{Flow, FlowState, Phase, TrafficTrace};
use traffictrace_view::{
    self as view,
    snapshot::{Seconds, State, Totals},
};

/// The numbers of a trace.
pub(crate) fn of(trace: &TrafficTrace) -> view::Snapshot {
    let status = trace.status.clone().unwrap_or_default();
    let flows: Vec<view::snapshot::Flow> = status.top_flows.iter().map(flow).collect();
    let rate = |of: fn(&view::snapshot::Flow) -> u64| flows.iter().map(of).fold(0, u64::saturating_add);
    view::Snapshot {
        time: status.update_time.map_or_else(Timestamp::now, |time| time.0),
        subject: format!("trace {}/{}", trace.namespace().unwrap_or_default(), trace.name_any()),
        state: match status.phase {
            None | Some(Phase::Pending) => State::Waiting,
            Some(Phase::Running) => State::Live,
            Some(Phase::Completed) => State::Completed,
            Some(Phase::Failed) => State::Failed,
        },
        interval_seconds: Seconds(status.report_interval_seconds.unwrap_or_default().into()),
        end_time: status.end_time.map(|time| time.0),
        totals: Totals {
            rx_bytes: count(status.totals.rx_bytes),
            tx_bytes: count(status.totals.tx_bytes),
            rx_bytes_per_second: rate(|flow| flow.rx_bytes_per_second),
            tx_bytes_per_second: rate(|flow| flow.tx_bytes_per_second),
            connections: count(status.totals.connections),
            connections_open: count(status.totals.connections_open),
            connect_failures: count(status.totals.connect_failures),
            retransmits: count(status.totals.retransmits),
        },
        flows,
        flows_total: count(status.flows_total),
        not_seen: status.not_seen,
        lost: status.lost.into_iter().map(|(kind, number)| (kind, count(number))).collect(),
        pods: Some(count(status.pods_matched.into())),
        ..view::Snapshot::default()
    }
}

fn flow(flow: &Flow) -> view::snapshot::Flow {
    let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<IpAddr>().ok());
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
    let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    view::snapshot::Flow {
        namespace: Some(flow.namespace.clone()),
        pod: Some(flow.pod.clone()),
        container: flow.container.clone(),
        pid: small(flow.pid),
        container_pid: small(flow.container_pid),
        command: flow.command.clone(),
        protocol: flow.protocol,
        direction: flow.direction,
        state: flow.state.unwrap_or(FlowState::Open),
        local_address: address(&flow.local_address),
        local_port: port(flow.local_port),
        remote_address: address(&flow.remote_address),
        remote_port: port(flow.remote_port),
        peer: flow.peer.clone(),
        rx_bytes: count(flow.rx_bytes),
        tx_bytes: count(flow.tx_bytes),
        rx_bytes_per_second: count(flow.rx_bytes_per_second),
        tx_bytes_per_second: count(flow.tx_bytes_per_second),
        connections: count(flow.connections),
        connections_open: count(flow.connections_open),
        connect_failures: count(flow.connect_failures),
        retransmits: count(flow.retransmits),
        rtt_microseconds: small(flow.rtt_microseconds),
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
