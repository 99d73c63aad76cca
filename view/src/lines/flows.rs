//! Lines of flows.

use std::net::IpAddr;

use serde::Serialize;
use traffictrace_crd::flow::{Direction, FlowState, Protocol};

use super::OTHER;
use crate::{Snapshot, names, rows::Sums, snapshot::Flow};

/// One flow, or the sums of the flows that are not listed: then `command` is [`OTHER`] and `pid` is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of `snapshot::Flow`")]
pub struct FlowLine {
    /// Time at which the numbers were read, in UTC.
    pub time: String,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub node: Option<String>,
    pub container: Option<String>,
    pub caller_container: Option<String>,
    pub pid: Option<u32>,
    pub container_pid: Option<u32>,
    pub command: Option<String>,
    pub protocol: Option<Protocol>,
    pub direction: Option<Direction>,
    pub state: Option<FlowState>,
    pub local_address: Option<IpAddr>,
    pub local_port: Option<u16>,
    pub remote_address: Option<IpAddr>,
    pub remote_port: Option<u16>,
    pub peer: Option<String>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_calls: Option<u64>,
    pub tx_calls: Option<u64>,
    pub rx_bytes_per_second: u64,
    pub tx_bytes_per_second: u64,
    pub connections: u64,
    pub connections_open: u64,
    pub connect_failures: u64,
    pub retransmits: u64,
    pub rtt_microseconds: Option<u32>,
}

/// Returns the lines of a snapshot's flows. The last line has the sums of the flows that the snapshot does not list.
pub fn flows(snapshot: &Snapshot) -> impl Iterator<Item = FlowLine> + '_ {
    let time = names::second(snapshot.time);
    let mut listed = Sums::default();
    snapshot.flows.iter().for_each(|flow| listed.add(&flow.into()));
    let other = FlowLine::other(time.clone(), &Sums::from(snapshot).beyond(&listed));
    snapshot.flows.iter().map(move |flow| FlowLine::of(time.clone(), flow)).chain([other])
}

impl FlowLine {
    fn of(time: String, flow: &Flow) -> Self {
        let flow = flow.clone();
        Self {
            time,
            namespace: flow.namespace,
            pod: flow.pod,
            node: flow.node,
            container: flow.container,
            caller_container: flow.caller_container,
            pid: flow.pid,
            container_pid: flow.container_pid,
            command: flow.command,
            protocol: Some(flow.protocol),
            direction: Some(flow.direction),
            state: Some(flow.state),
            local_address: flow.local_address,
            local_port: flow.local_port,
            remote_address: flow.remote_address,
            remote_port: flow.remote_port,
            peer: flow.peer,
            rx_bytes: flow.rx_bytes,
            tx_bytes: flow.tx_bytes,
            rx_calls: Some(flow.rx_calls),
            tx_calls: Some(flow.tx_calls),
            rx_bytes_per_second: flow.rx_bytes_per_second,
            tx_bytes_per_second: flow.tx_bytes_per_second,
            connections: flow.connections,
            connections_open: flow.connections_open,
            connect_failures: flow.connect_failures,
            retransmits: flow.retransmits,
            rtt_microseconds: flow.rtt_microseconds,
        }
    }

    fn other(time: String, sums: &Sums) -> Self {
        Self {
            time,
            command: Some(OTHER.to_owned()),
            rx_bytes: sums.rx_bytes,
            tx_bytes: sums.tx_bytes,
            rx_bytes_per_second: sums.rx_rate,
            tx_bytes_per_second: sums.tx_rate,
            connections: sums.connections,
            connections_open: sums.connections_open,
            connect_failures: sums.connect_failures,
            retransmits: sums.retransmits,
            ..Self::default()
        }
    }

    /// Returns the texts that come from traced processes and traffic, so that a caller can make them safe.
    pub(crate) fn names(&mut self) -> [&mut Option<String>; 7] {
        let Self { namespace, pod, node, container, caller_container, command, peer, .. } = self;
        [namespace, pod, node, container, caller_container, command, peer]
    }
}
