//! Runs the live screen with an invented trace, or with the snapshots of a file: `live [FILE | FLOWS ROWS]`.
//!
//! The file has one snapshot per line, as `traffictrace top -o json` writes them. `FLOWS` and `ROWS` are the number of flows
//! and of processes of the invented trace.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    sync::mpsc::{Sender, channel},
    thread::{sleep, spawn},
    time::Duration,
};

use jiff::Timestamp;
use traffictrace_crd::flow::{Direction, Protocol};
use traffictrace_view::{
    Snapshot,
    live::{Exit, Settings, Update, run},
    snapshot::{Endpoint, Flow, Function, Functions, Http, Node, Seconds},
};

/// Time between two snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut settings = Settings::from_environment();
    let (updates, source) = channel();
    match arguments.as_slice() {
        [file] => {
            let file = BufReader::new(File::open(file)?);
            settings.is_replay = true;
            spawn(move || replay(file, &updates));
        }
        [flows, rows] => {
            let trace = Trace::large(flows.parse()?, rows.parse()?);
            spawn(move || invent(trace, &updates));
        }
        _ => {
            spawn(move || invent(Trace::small(), &updates));
        }
    }
    match run(settings, &source)? {
        Exit::Quit | Exit::TerminalGone => {}
        Exit::Signal(signal) => eprintln!("Ended by signal {signal}."),
    }
    Ok(())
}

/// Sends the snapshots of a file, one per second.
fn replay(file: BufReader<File>, updates: &Sender<Update>) {
    for line in file.lines().map_while(Result::ok) {
        let update = match serde_json::from_str(&line) {
            Ok(snapshot) => Update::Snapshot(Box::new(snapshot)),
            Err(error) => Update::End(format!("The file cannot be read further: {error}.")),
        };
        if updates.send(update).is_err() {
            return;
        }
        sleep(INTERVAL);
    }
}

/// Sends snapshots of an invented trace until the screen ends.
fn invent(mut trace: Trace, updates: &Sender<Update>) {
    while updates.send(Update::Snapshot(Box::new(trace.next()))).is_ok() {
        sleep(INTERVAL);
    }
}

/// An invented trace. The rate of each flow, in bytes per second, changes a little over time.
struct Trace {
    flows: Vec<(Flow, u64, u64)>,
    second: u64,
    has_more: bool,
}

impl Trace {
    fn small() -> Self {
        let mut flows = Vec::new();
        let mut add = |flow: Flow, rx: u64, tx: u64| flows.push((flow, rx, tx));
        let web = pod("web-7c9f-x2x4l", "nginx", "nginx", 412);
        let php = pod("web-7c9f-x2x4l", "php", "php-fpm", 433);
        let shipper = pod("log-shipper-hx8vz", "fluent-bit", "flb-pipeline", 2210);
        let api = pod("api-6d5c9bb4f8-q7wzk", "api", "api", 801);
        let address = Ipv4Addr::new(10, 0, 3, 4);
        for client in 0..12_u8 {
            let peer = (Ipv4Addr::new(10, 0, 9, client + 10), Some(50_000 + u16::from(client)));
            add(between(&web, Direction::Inbound, (address, Some(8080)), peer), 18_000, 1_200_000);
        }
        let mut redis =
            between(&web, Direction::Outbound, (address, None), (Ipv4Addr::new(10, 0, 3, 7), Some(6379)));
        (redis.peer, redis.connections, redis.connections_open) =
            (Some("pod shop/redis-0".to_owned()), 80, 80);
        add(redis, 10_300_000, 1_150_000);
        let mysql = (Ipv4Addr::new(10, 0, 9, 1), Some(3306));
        let mut mysql = between(&php, Direction::Outbound, (address, Some(40_100)), mysql);
        mysql.peer = Some("service shop/mysql".to_owned());
        add(mysql, 1_050_000, 3_000_000);
        let (from, to) =
            ((Ipv4Addr::new(10, 0, 3, 9), Some(40_200)), (Ipv4Addr::new(10, 0, 3, 12), Some(8080)));
        add(between(&shipper, Direction::Outbound, from, to), 12_000, 26_000_000);
        add(between(&api, Direction::Inbound, to, from), 26_000_000, 12_000);
        let outside = (Ipv4Addr::new(93, 184, 216, 34), Some(443));
        add(
            between(&api, Direction::Outbound, (Ipv4Addr::new(10, 0, 3, 12), Some(40_300)), outside),
            88_000,
            180_000,
        );
        let hostile = pod("job-\u{1b}[31mred", "日本語コンテナ", "naïve\u{202e}x", 77);
        add(between(&hostile, Direction::Unknown, (Ipv4Addr::new(10, 0, 3, 5), None), outside), 4000, 9000);
        let mut nobody =
            between(&web, Direction::Outbound, (address, None), (Ipv4Addr::new(10, 0, 0, 10), Some(53)));
        (nobody.command, nobody.pid, nobody.container_pid, nobody.protocol) =
            (None, None, None, Protocol::Udp);
        add(nobody, 1024, 300);
        Self { flows, second: 0, has_more: true }
    }

    fn large(flows: u32, rows: u32) -> Self {
        let flow = |number: u32| {
            let process = number % rows.max(1);
            let owner = pod(&format!("web-7c9f-{:05}", process / 4), "app", "worker", 1000 + process);
            let remote = (Ipv4Addr::from(0x0a10_0000 + number / 7), Some(443));
            let local = (Ipv4Addr::from(0x0a00_0000 + process), Some(1024 + (number % 60_000) as u16));
            let rate = u64::from(number.wrapping_mul(2_654_435_761) >> 12);
            (between(&owner, Direction::Outbound, local, remote), rate, rate / 3)
        };
        Self { flows: (0..flows).map(flow).collect(), second: 0, has_more: false }
    }

    fn next(&mut self) -> Snapshot {
        self.second += 1;
        let mut snapshot = Snapshot {
            time: Timestamp::now(),
            subject: "trace shop/checkout (app=web)".to_owned(),
            interval_seconds: Seconds(1.0),
            hook_tier: Some("tp_btf".to_owned()),
            pods: Some(5),
            lost: BTreeMap::from([("tableFullEvents".to_owned(), if self.second > 40 { 1204 } else { 0 })]),
            ..Snapshot::default()
        };
        for (place, (flow, rx, tx)) in self.flows.iter_mut().enumerate() {
            // The rate of each flow swings with a period of its own.
            let swing = ((self.second as f64 / (5.0 + (place % 7) as f64)).sin() + 1.5) / 2.5;
            flow.rx_bytes_per_second = (*rx as f64 * swing) as u64;
            flow.tx_bytes_per_second = (*tx as f64 * swing) as u64;
            flow.rx_bytes += flow.rx_bytes_per_second;
            flow.tx_bytes += flow.tx_bytes_per_second;
            flow.retransmits += u64::from(place == 12 && self.second.is_multiple_of(9));
            let totals = &mut snapshot.totals;
            totals.rx_bytes += flow.rx_bytes;
            totals.tx_bytes += flow.tx_bytes;
            totals.rx_bytes_per_second += flow.rx_bytes_per_second;
            totals.tx_bytes_per_second += flow.tx_bytes_per_second;
            totals.connections += flow.connections;
            totals.connections_open += flow.connections_open;
            totals.retransmits += flow.retransmits;
        }
        snapshot.flows = self.flows.iter().map(|(flow, ..)| flow.clone()).collect();
        snapshot.flows.sort_by_key(|flow| std::cmp::Reverse(flow.weight()));
        snapshot.flows_total = snapshot.flows.len() as u64;
        if self.has_more {
            snapshot.flows_total += 4;
            snapshot.totals.rx_bytes += 2048 * self.second;
            snapshot.totals.rx_bytes_per_second += 2048;
            snapshot.notices = self.notices();
            snapshot.nodes = self.nodes(snapshot.time);
            (snapshot.http, snapshot.functions) = (Some(self.http()), Some(self.functions(&snapshot)));
        }
        snapshot
    }

    fn notices(&self) -> Vec<String> {
        let lost =
            "The flow table of node-b is full: new flows are in (other). Totals are exact, rows may be low.";
        if self.second > 40 { vec![lost.to_owned()] } else { Vec::new() }
    }

    fn nodes(&self, now: Timestamp) -> Vec<Node> {
        let late = Timestamp::from_second(now.as_second() - (self.second as i64 - 20).max(0)).ok();
        [("node-a", Some(now)), ("node-b", late)]
            .map(|(name, update_time)| Node { name: name.to_owned(), update_time, notice: None })
            .to_vec()
    }

    fn http(&self) -> Http {
        let endpoint = |method: &str, path: &str, each: u64, errors: u64, p50: u64| {
            let requests = each * self.second;
            Endpoint {
                namespace: Some("shop".to_owned()),
                pod: Some("web-7c9f-x2x4l".to_owned()),
                container: Some("nginx".to_owned()),
                command: Some("nginx".to_owned()),
                side: "Server".to_owned(),
                protocol: "HTTP/1.1".to_owned(),
                method: Some(method.to_owned()),
                host: Some("shop.example".to_owned()),
                path: Some(path.to_owned()),
                requests,
                by_class: BTreeMap::from([
                    ("2xx".to_owned(), requests - errors * self.second),
                    ("5xx".to_owned(), errors * self.second),
                ]),
                p50_microseconds: p50,
                p90_microseconds: p50 * 3,
                p99_microseconds: p50 * 11,
                max_microseconds: p50 * 40,
                request_bytes: requests * 412,
                response_bytes: requests * 9123,
                ..Endpoint::default()
            }
        };
        let endpoints = vec![
            endpoint("GET", "/", 410, 0, 900),
            endpoint("GET", "/static/app.js", 333, 0, 210),
            endpoint("POST", "/cart", 41, 3, 48_000),
            endpoint("GET", "/api/v1/stock", 17, 0, 7_100),
        ];
        let requests = endpoints.iter().map(|endpoint| endpoint.requests).sum();
        Http { endpoints, requests, ..Http::default() }
    }

    fn functions(&self, snapshot: &Snapshot) -> Functions {
        let totals = &snapshot.totals;
        let function = |name: &str, module: &str, rx: u64, tx: u64| Function {
            name: name.to_owned(),
            module: Some(module.to_owned()),
            command: Some("nginx".to_owned()),
            rx_bytes: totals.rx_bytes * rx / 100,
            tx_bytes: totals.tx_bytes * tx / 100,
            ..Function::default()
        };
        let functions = vec![
            function("ngx_writev", "/usr/sbin/nginx", 0, 71),
            function("ngx_unix_recv", "/usr/sbin/nginx", 55, 0),
            function("std::io::Write::write_all", "/usr/local/bin/api", 0, 20),
        ];
        Functions {
            functions,
            bytes: totals.rx_bytes + totals.tx_bytes,
            bytes_without_stack: totals.rx_bytes / 50,
            ..Functions::default()
        }
    }
}

/// A process in a pod, without traffic.
fn pod(pod: &str, container: &str, command: &str, pid: u32) -> Flow {
    Flow {
        namespace: Some("shop".to_owned()),
        pod: Some(pod.to_owned()),
        container: Some(container.to_owned()),
        pid: Some(pid),
        container_pid: Some(7),
        command: Some(command.to_owned()),
        connections: 1,
        connections_open: 1,
        rtt_microseconds: Some(420),
        ..Flow::new(Protocol::Tcp, Direction::Unknown)
    }
}

type End = (Ipv4Addr, Option<u16>);

fn between(owner: &Flow, direction: Direction, local: End, remote: End) -> Flow {
    Flow {
        direction,
        local_address: Some(local.0.into()),
        local_port: local.1,
        remote_address: Some(remote.0.into()),
        remote_port: remote.1,
        ..owner.clone()
    }
}
