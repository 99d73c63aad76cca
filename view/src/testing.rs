//! Snapshots for tests.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::Timestamp;
use traffictrace_crd::flow::{Direction, Protocol};

use crate::snapshot::{Flow, Seconds, Snapshot, Totals};

/// A connection of a process to a peer that no other process has.
pub(crate) fn flow(command: &str, pid: u32) -> Flow {
    Flow {
        pid: Some(pid),
        container_pid: Some(pid),
        command: Some(command.to_owned()),
        local_address: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
        local_port: Some(40_000),
        remote_address: Some(Ipv4Addr::from(0x0a01_0000 + pid).into()),
        remote_port: Some(443),
        rx_bytes: u64::from(pid) * 1000,
        tx_bytes: u64::from(pid) * 100,
        rx_calls: u64::from(pid) * 3,
        tx_calls: u64::from(pid) * 2,
        rx_bytes_per_second: u64::from(pid) * 10,
        tx_bytes_per_second: u64::from(pid),
        connections: 1,
        connections_open: 1,
        rtt_microseconds: Some(150),
        ..Flow::new(Protocol::Tcp, Direction::Outbound)
    }
}

/// A trace of two pods, in which some flows are not listed.
pub(crate) fn snapshot() -> Snapshot {
    let in_pod = |mut flow: Flow, pod: &str, container: &str| {
        flow.namespace = Some("shop".to_owned());
        (flow.pod, flow.container) = (Some(pod.to_owned()), Some(container.to_owned()));
        flow
    };
    let flows = vec![
        in_pod(flow("nginx", 412), "web-7c9f-x2x4l", "nginx"),
        in_pod(flow("php-fpm", 91), "web-7c9f-x2x4l", "php"),
        in_pod(flow("curl", 33), "job-8w2kd", "job"),
        in_pod(Flow { pid: None, container_pid: None, command: None, ..flow("", 5) }, "job-8w2kd", "job"),
    ];
    let sum = |of: fn(&Flow) -> u64| flows.iter().map(of).sum::<u64>();
    let totals = Totals {
        rx_bytes: sum(|flow| flow.rx_bytes) + 300,
        tx_bytes: sum(|flow| flow.tx_bytes) + 200,
        rx_bytes_per_second: sum(|flow| flow.rx_bytes_per_second) + 30,
        tx_bytes_per_second: sum(|flow| flow.tx_bytes_per_second) + 20,
        connections: 9,
        connections_open: 4,
        connect_failures: 1,
        retransmits: 2,
        ..Totals::default()
    };
    Snapshot {
        time: Timestamp::from_second(1_763_906_770).unwrap(),
        subject: "trace shop/checkout (app=web)".to_owned(),
        interval_seconds: Seconds(10.0),
        totals,
        flows_total: flows.len() as u64 + 5,
        flows,
        lost: BTreeMap::from([("tableFullEvents".to_owned(), 0)]),
        ..Snapshot::default()
    }
}
