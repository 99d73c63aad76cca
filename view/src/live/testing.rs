//! A trace with data for every tab, for tests of the screen.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, crossterm::event::KeyCode};
use traffictrace_crd::flow::{Direction, FlowState};

use super::{App, Event, Settings};
use crate::{
    Snapshot,
    snapshot::{Endpoint, Flow, Function, Functions, Http, Node, Seconds, Totals},
    testing::flow,
};

/// Time of the first snapshot.
pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_763_906_770).unwrap()
}

fn in_pod(flow: Flow, pod: &str, container: &str) -> Flow {
    Flow {
        namespace: Some("shop".to_owned()),
        pod: Some(pod.to_owned()),
        node: Some(if pod.starts_with("db") { "node-b" } else { "node-a" }.to_owned()),
        container: Some(container.to_owned()),
        ..flow
    }
}

/// Sets the ends and the amounts of a flow; the rates are those of moving the amounts in ten seconds.
fn moved(flow: Flow, local: (&str, u16), remote: (&str, u16), bytes: (u64, u64)) -> Flow {
    let port = |port| (port != 0).then_some(port);
    Flow {
        local_address: local.0.parse().ok(),
        local_port: port(local.1),
        remote_address: remote.0.parse().ok(),
        remote_port: port(remote.1),
        rx_bytes: bytes.0,
        tx_bytes: bytes.1,
        rx_bytes_per_second: bytes.0 / 10,
        tx_bytes_per_second: bytes.1 / 10,
        ..flow
    }
}

fn flows() -> Vec<Flow> {
    let inbound = |flow| Flow { direction: Direction::Inbound, ..flow };
    let web = || in_pod(flow("nginx", 412), "web-7c9f-x2x4l", "nginx");
    let php = || in_pod(flow("php-fpm", 433), "web-7c9f-x2x4l", "php");
    let job = || in_pod(flow("curl", 33), "job-8w2kd", "job");
    let redis = Some("pod shop/redis-0".to_owned());
    let cache = moved(web(), ("10.0.3.4", 40_100), ("10.0.3.7", 6379), (9_900_000, 1_100_000));
    let served = moved(inbound(web()), ("10.0.3.4", 8080), ("10.0.9.9", 0), (200_000, 148_000_000));
    let api = moved(php(), ("10.0.3.4", 40_200), ("10.0.3.9", 3306), (10_000_000, 29_000_000));
    let database = in_pod(flow("mysqld", 77), "db-0", "mysql");
    let database =
        moved(inbound(database), ("10.0.3.9", 3306), ("10.0.3.4", 40_200), (29_000_000, 10_000_000));
    let ended = moved(job(), ("10.0.3.5", 40_300), ("2001:db8::17", 443), (880_000, 1_800_000));
    let unattributed =
        moved(in_pod(flow("", 1), "job-8w2kd", "job"), ("10.0.3.5", 0), ("10.0.3.8", 53), (10_240, 0));
    vec![
        Flow { connections: 900, connections_open: 7, retransmits: 3, ..served },
        Flow { connections: 12, connections_open: 1, ..api },
        Flow { connections: 12, connections_open: 1, ..database },
        Flow { peer: redis, connections: 80, connections_open: 80, retransmits: 9, ..cache },
        Flow {
            state: FlowState::Closed,
            connections_open: 0,
            rx_bytes_per_second: 0,
            tx_bytes_per_second: 0,
            ..ended
        },
        Flow { pid: None, container_pid: None, command: None, rtt_microseconds: None, ..unattributed },
    ]
}

fn endpoint(side: &str, path: &str, requests: u64, errors: u64, p99: u64) -> Endpoint {
    Endpoint {
        namespace: Some("shop".to_owned()),
        pod: Some("web-7c9f-x2x4l".to_owned()),
        container: Some("nginx".to_owned()),
        command: Some("nginx".to_owned()),
        side: side.to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        method: Some("GET".to_owned()),
        host: Some("shop.example".to_owned()),
        path: Some(path.to_owned()),
        requests,
        by_class: BTreeMap::from([("2xx".to_owned(), requests - errors), ("5xx".to_owned(), errors)]),
        p50_microseconds: p99 / 9,
        p90_microseconds: p99 / 2,
        p99_microseconds: p99,
        max_microseconds: p99 * 2,
        request_bytes: requests * 310,
        response_bytes: requests * 5100,
        ..Endpoint::default()
    }
}

fn function(name: &str, module: &str, rx_bytes: u64, tx_bytes: u64) -> Function {
    Function {
        name: name.to_owned(),
        module: Some(module.to_owned()),
        command: Some("nginx".to_owned()),
        rx_bytes,
        tx_bytes,
        ..Function::default()
    }
}

/// A trace of flows, some of which are not listed.
pub(super) fn plain() -> Snapshot {
    let flows = flows();
    let sum = |of: fn(&Flow) -> u64| flows.iter().map(of).sum::<u64>();
    Snapshot {
        time: start(),
        subject: "trace shop/checkout (app=web)".to_owned(),
        interval_seconds: Seconds(10.0),
        hook_tier: Some("tp_btf".to_owned()),
        end_time: Timestamp::from_second(1_763_906_770 + 348).ok(),
        totals: Totals {
            rx_bytes: sum(|flow| flow.rx_bytes) + 20_480,
            tx_bytes: sum(|flow| flow.tx_bytes) + 30_720,
            rx_bytes_per_second: sum(|flow| flow.rx_bytes_per_second) + 2048,
            tx_bytes_per_second: sum(|flow| flow.tx_bytes_per_second) + 3072,
            connections: 1040,
            connections_open: 94,
            connect_failures: 0,
            retransmits: 12,
            ..Totals::default()
        },
        flows_total: flows.len() as u64 + 4,
        flows,
        lost: BTreeMap::from([("tableFullEvents".to_owned(), 0), ("rxBytes".to_owned(), 0)]),
        pods: Some(3),
        nodes: ["node-a", "node-b"]
            .map(|name| Node { name: name.to_owned(), update_time: Some(start()), notice: None })
            .to_vec(),
        ..Snapshot::default()
    }
}

/// A trace that has HTTP requests and stacks as well.
pub(crate) fn full() -> Snapshot {
    Snapshot {
        http: Some(Http {
            endpoints: vec![
                endpoint("Server", "/", 120_345, 12, 18_000),
                endpoint("Server", "/cart", 8021, 431, 1_900_000),
                endpoint("Client", "/v1/stock", 977, 0, 44_000),
            ],
            requests: 129_343,
            unobserved: BTreeMap::from([("lostData".to_owned(), 3)]),
            ..Http::default()
        }),
        functions: Some(Functions {
            functions: vec![
                function("ngx_writev", "/usr/sbin/nginx", 0, 150_000_000),
                function("ngx_unix_recv", "/usr/sbin/nginx", 30_000_000, 0),
                function("__send", "/lib/libc.so.6", 0, 20_000_000),
            ],
            bytes: 240_000_000,
            notice: None,
            nodes: None,
            stacks: 81_204,
            bytes_at_own_call: 199_000_000,
            bytes_without_stack: 9_000_000,
        }),
        ..plain()
    }
}

/// A trace with names that try to harm the terminal or the layout.
pub(crate) fn hostile() -> Snapshot {
    let mut snapshot = full();
    let names = [
        "\u{1b}[2J\u{1b}]0;x\u{7}\n",
        "a\u{202e}b\u{200f}\u{feff}",
        "日本語のコンテナ名",
        "",
        "e\u{301}\u{301}👩‍👩‍👧❤\u{fe0f}",
    ];
    for (flow, name) in snapshot.flows.iter_mut().zip(names.into_iter().cycle()) {
        let long = name.repeat(60);
        (flow.command, flow.pod) = (Some(name.to_owned()), Some(long.clone()));
        flow.node = Some(name.to_owned());
        (flow.container, flow.namespace, flow.peer) =
            (Some(name.to_owned()), Some(name.to_owned()), Some(long));
    }
    for (endpoint, name) in snapshot.http.as_mut().unwrap().endpoints.iter_mut().zip(names) {
        (endpoint.path, endpoint.host) = (Some(name.repeat(60)), Some(name.to_owned()));
        (endpoint.method, endpoint.protocol) = (Some(name.to_owned()), name.to_owned());
        endpoint.by_class.insert(name.to_owned(), 1);
    }
    for (function, name) in snapshot.functions.as_mut().unwrap().functions.iter_mut().zip(names) {
        (function.name, function.module) = (name.repeat(60), Some(name.to_owned()));
    }
    snapshot.subject = names.concat();
    snapshot.hook_tier = Some(names[0].to_owned());
    snapshot.notices = names.map(str::to_owned).to_vec();
    snapshot.not_seen = names.map(str::to_owned).to_vec();
    snapshot.lost = names.iter().map(|name| ((*name).to_owned(), 3)).collect();
    snapshot.nodes[0].name = names[0].to_owned();
    snapshot.nodes[1].notice = Some(names[1].to_owned());
    snapshot
}

/// A screen that has shown a minute of a trace.
pub(super) fn app(snapshot: &Snapshot) -> App {
    app_with(snapshot, Settings::default())
}

/// A screen that has shown a minute of a trace, with the given settings.
pub(super) fn app_with(snapshot: &Snapshot, settings: Settings) -> App {
    let mut app = App::new(settings, start());
    for step in 0..7_u32 {
        let mut earlier = snapshot.clone();
        let back = i64::from(6 - step) * 10;
        earlier.time = Timestamp::from_second(snapshot.time.as_second() - back).unwrap();
        if step < 6 {
            let part = |rate: u64| rate * u64::from(step * 5 % 7 + 1) / 8;
            earlier.totals.rx_bytes_per_second = part(earlier.totals.rx_bytes_per_second);
            earlier.totals.tx_bytes_per_second = part(earlier.totals.tx_bytes_per_second);
            for flow in &mut earlier.flows {
                flow.rx_bytes_per_second = part(flow.rx_bytes_per_second);
                flow.tx_bytes_per_second = part(flow.tx_bytes_per_second);
            }
        }
        app.apply(Event::Snapshot(Box::new(earlier)));
    }
    pass(&mut app, 3);
    app
}

/// Lets `seconds` pass since the last snapshot.
pub(super) fn pass(app: &mut App, seconds: i64) {
    app.apply(Event::Tick(Timestamp::from_second(start().as_second() + seconds).unwrap()));
}

pub(super) fn press(app: &mut App, code: KeyCode) -> super::Outcome {
    app.apply(Event::Key(code.into()))
}

/// Presses keys, one for each character.
pub(super) fn type_in(app: &mut App, keys: &str) {
    for key in keys.chars() {
        press(app, KeyCode::Char(key));
    }
}

/// Returns the cells of the screen, drawn in the given size.
pub(super) fn cells(app: &mut App, columns: u16, rows: u16) -> Buffer {
    app.apply(Event::Resize { columns, rows });
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| app.draw(frame)).unwrap();
    terminal.backend().buffer().clone()
}

/// Returns the text of the screen, drawn in the given size, without trailing spaces.
pub(super) fn drawn(app: &mut App, columns: u16, rows: u16) -> String {
    super::draw::lines_of(&cells(app, columns, rows)).join("\n")
}
