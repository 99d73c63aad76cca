//! Writes a report from invented data: `cargo run -p traffictrace-view --example report -- report.html`.

mod data;

use std::{collections::BTreeMap, error::Error, fs};

use jiff::{SignedDuration, Timestamp};
use traffictrace_crd::flow::{Direction, FlowState, Protocol};
use traffictrace_view::{
    Snapshot,
    report::{self, Moment, Report, Series},
    snapshot::{Flow, Node, Seconds, State, Totals},
};

/// Length of the invented trace and interval between two of its snapshots, both in seconds.
const LASTED: i64 = 600;
const INTERVAL: i64 = 5;

/// One flow per line: process, pid, pod, container, the peer's name, address and port, local address and port, direction, and
/// KiB received and sent.
const FLOWS: &str = include_str!("flows.txt");

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "report.html".to_owned());
    let report = invented()?;
    let page = report::html(&report)?;
    fs::write(&path, &page)?;
    println!("{path}: {} bytes", page.len());
    Ok(())
}

fn invented() -> Result<Report, Box<dyn Error>> {
    let began: Timestamp = "2026-11-23T13:56:10Z".parse()?;
    let ended = began.checked_add(SignedDuration::from_secs(LASTED))?;
    let mut flows: Vec<Flow> = FLOWS.lines().map(flow).collect();
    // Clients of the web server, which move few bytes each.
    for client in 0..120_u64 {
        let address = format!("198.51.100.{}", client + 100);
        let mut flow = flow(FLOWS.lines().nth(2).unwrap_or_default());
        flow.remote_address = address.parse().ok();
        (flow.rx_bytes, flow.tx_bytes) = (9_000 + client * 977, 80_000 + client * 31_007);
        (flow.rx_bytes_per_second, flow.tx_bytes_per_second) = (client * 11, client * 370);
        (flow.connections, flow.connections_open) = (1 + client % 4, client % 2);
        flow.state = if client % 2 == 0 { FlowState::Closed } else { FlowState::Open };
        flows.push(flow);
    }
    let sum = |of: fn(&Flow) -> u64| flows.iter().map(of).sum::<u64>();
    let totals = Totals {
        rx_bytes: sum(|flow| flow.rx_bytes) + 4_412_331,
        tx_bytes: sum(|flow| flow.tx_bytes) + 9_120_044,
        rx_bytes_per_second: sum(|flow| flow.rx_bytes_per_second) + 7_100,
        tx_bytes_per_second: sum(|flow| flow.tx_bytes_per_second) + 15_000,
        connections: sum(|flow| flow.connections) + 214,
        connections_open: sum(|flow| flow.connections_open) + 6,
        connect_failures: 12,
        retransmits: sum(|flow| flow.retransmits) + 9,
        ..Totals::default()
    };
    let node = |name: &str| Node { name: name.to_owned(), update_time: Some(ended), notice: None };
    let snapshot = Snapshot {
        time: ended,
        subject: "trace shop/who-floods-the-uplink".to_owned(),
        state: State::Completed,
        interval_seconds: Seconds(INTERVAL as f64),
        totals,
        flows_total: flows.len() as u64 + 214,
        flows,
        end_time: Some(ended),
        pods: Some(9),
        nodes: vec![
            node("node-a"),
            Node {
                notice: Some("The agent restarted at 14:01:02 UTC; 1.4 s were not traced.".to_owned()),
                ..node("node-b")
            },
            node("node-c"),
        ],
        not_seen: vec!["ioUringRegisteredBuffers".to_owned()],
        lost: BTreeMap::from([("flowTableFull".to_owned(), 0), ("missedEvents".to_owned(), 3)]),
        http: Some(data::http()),
        functions: Some(data::functions()),
        ..Snapshot::default()
    };
    Ok(Report {
        title: "Who floods the uplink of shop?".to_owned(),
        asked: [
            ("Namespace", "shop"),
            ("Selector", "tier in (web, data, jobs)"),
            ("Protocols", "TCP, UDP"),
            ("Direction", "both"),
            ("Grouped by", "endpoint"),
            ("Duration", "10m"),
            ("HTTP", "yes"),
            ("Stacks", "yes"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        command: Some(
            "kubectl traffictrace run -n shop -l 'tier in (web, data, jobs)' --protocols TCP,UDP --http --stacks --duration 10m"
                .to_owned(),
        ),
        began: Some(began),
        ended: Some(ended),
        series: series(began, &totals)?,
        snapshot,
        flame_graph: Some(data::flame_graph()?),
    })
}

/// Parses the flow of a line.
fn flow(line: &str) -> Flow {
    let fields: Vec<&str> = line.split('|').collect();
    let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
    let name = |at| field(at).map(str::to_owned);
    let port = |at| field(at).and_then(|port| port.parse::<u16>().ok());
    let kib = |at| field(at).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let pid = field(1).and_then(|pid| pid.parse::<u32>().ok());
    let (rx, tx) = (kib(10), kib(11));
    let protocol = if port(6) == Some(53) { Protocol::Udp } else { Protocol::Tcp };
    let direction = match field(9) {
        Some("in") => Direction::Inbound,
        Some(_) => Direction::Outbound,
        None => Direction::Unknown,
    };
    Flow {
        namespace: Some("shop".to_owned()),
        pod: name(2),
        container: name(3),
        pid,
        container_pid: pid.map(|pid| pid % 97 + 1),
        command: name(0),
        local_address: field(7).and_then(|address| address.parse().ok()),
        local_port: port(8),
        remote_address: field(5).and_then(|address| address.parse().ok()),
        remote_port: port(6),
        peer: name(4),
        rx_bytes: rx * 1024 + 311,
        tx_bytes: tx * 1024 + 77,
        rx_bytes_per_second: rx * 1024 / 580,
        tx_bytes_per_second: tx * 1024 / 580,
        connections: 1 + rx % 41,
        connections_open: 1,
        retransmits: tx / 90_000,
        rtt_microseconds: pid.filter(|_| port(6) != Some(53)).map(|pid| 180 + pid % 3000),
        ..Flow::new(protocol, direction)
    }
}

/// Invents the totals over time: a quiet beginning, a burst, then waves, ending with the given totals.
fn series(began: Timestamp, totals: &Totals) -> Result<Series, Box<dyn Error>> {
    let steps = LASTED / INTERVAL;
    let wave =
        |step: i64, slow: f64| 1.0 + 0.35 * (step as f64 / slow).sin() + 0.1 * (step as f64 * 1.7).cos();
    let burst = |step: i64| if (38..66).contains(&step) { 4.2 } else { 1.0 };
    let rx: Vec<f64> = (0..steps).map(|step| wave(step, 9.0)).collect();
    let tx: Vec<f64> = (0..steps).map(|step| wave(step, 14.0) * burst(step)).collect();
    let until = |parts: &[f64], step: usize, all: u64| {
        let part = parts[..step].iter().sum::<f64>() / parts.iter().sum::<f64>();
        (all as f64 * part) as u64
    };
    let mut series = Series::default();
    for step in 0..=rx.len() {
        series.add(Moment {
            time: began.checked_add(SignedDuration::from_secs(step as i64 * INTERVAL))?,
            rx_bytes: until(&rx, step, totals.rx_bytes),
            tx_bytes: until(&tx, step, totals.tx_bytes),
        });
    }
    Ok(series)
}
