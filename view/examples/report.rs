//! Writes a report of invented data: `cargo run -p traffictrace-view --example report -- report.html`.

use std::{collections::BTreeMap, error::Error, fs, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use traffictrace_crd::flow::{Direction, FlowState, Protocol};
use traffictrace_view::{
    Snapshot,
    report::{self, Moment, Report, Series},
    snapshot::{Endpoint, Flow, Function, Functions, Http, Node, Seconds, State, Totals},
};

/// Seconds that the invented trace lasts, and between two of its snapshots.
const LASTED: i64 = 600;
const INTERVAL: i64 = 5;

/// Process, pid, pod, container, peer's name, its address and port, local address and port, direction, received and sent KiB.
type Given = (
    &'static str,
    u32,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    u16,
    (&'static str, u16),
    bool,
    u64,
    u64,
);

const OUT: bool = false;
const IN: bool = true;
const GIVEN: [Given; 15] = [
    (
        "fluent-bit",
        3301,
        "log-shipper-7xk2p",
        "fluent-bit",
        "",
        "203.0.113.40",
        443,
        ("10.244.1.9", 51_200),
        OUT,
        1_900,
        2_310_000,
    ),
    (
        "nginx",
        412,
        "web-7c9f-x2x4l",
        "nginx",
        "service shop/catalog",
        "10.96.12.7",
        8080,
        ("10.244.1.4", 40_100),
        OUT,
        812_000,
        43_000,
    ),
    (
        "nginx",
        412,
        "web-7c9f-x2x4l",
        "nginx",
        "",
        "198.51.100.23",
        0,
        ("10.244.1.4", 443),
        IN,
        61_000,
        744_000,
    ),
    (
        "nginx",
        413,
        "web-7c9f-p0qrs",
        "nginx",
        "",
        "198.51.100.77",
        0,
        ("10.244.2.4", 443),
        IN,
        38_000,
        402_000,
    ),
    (
        "nginx",
        413,
        "web-7c9f-p0qrs",
        "nginx",
        "service shop/catalog",
        "10.96.12.7",
        8080,
        ("10.244.2.4", 40_100),
        OUT,
        395_000,
        20_400,
    ),
    (
        "java",
        9120,
        "catalog-0",
        "catalog",
        "pod shop/web-7c9f-x2x4l",
        "10.244.1.4",
        0,
        ("10.244.2.8", 8080),
        IN,
        43_000,
        812_000,
    ),
    (
        "java",
        9120,
        "catalog-0",
        "catalog",
        "pod shop/postgres-0",
        "10.244.3.5",
        5432,
        ("10.244.2.8", 47_210),
        OUT,
        610_000,
        21_000,
    ),
    (
        "postgres",
        771,
        "postgres-0",
        "postgres",
        "pod shop/catalog-0",
        "10.244.2.8",
        47_210,
        ("10.244.3.5", 5432),
        IN,
        21_000,
        610_000,
    ),
    (
        "php-fpm",
        433,
        "web-7c9f-x2x4l",
        "php",
        "pod shop/redis-0",
        "10.244.3.6",
        6379,
        ("10.244.1.4", 52_310),
        OUT,
        91_000,
        12_000,
    ),
    (
        "redis-server",
        688,
        "redis-0",
        "redis",
        "pod shop/web-7c9f-x2x4l",
        "10.244.1.4",
        52_310,
        ("10.244.3.6", 6379),
        IN,
        12_000,
        91_000,
    ),
    (
        "coredns",
        1201,
        "web-7c9f-x2x4l",
        "nginx",
        "service kube-system/kube-dns",
        "10.96.0.10",
        53,
        ("10.244.1.4", 0),
        OUT,
        310,
        140,
    ),
    (
        "curl",
        20_114,
        "job-8w2kd",
        "job",
        "",
        "2001:db8:40::19",
        443,
        ("2001:db8:1::7", 43_222),
        OUT,
        15_400,
        210,
    ),
    (
        "<script>alert(1)</script>",
        6666,
        "job-8w2kd",
        "\"><img src=x onerror=alert(1)>",
        "pod shop/a&b'\u{202e}gpj.exe",
        "10.244.7.7",
        8443,
        ("10.244.1.12", 40_001),
        OUT,
        4_100,
        3_900,
    ),
    (
        "prometheus",
        5120,
        "prometheus-0",
        "prometheus",
        "pod shop/catalog-0",
        "10.244.2.8",
        9090,
        ("10.244.3.9", 40_400),
        OUT,
        38_000,
        600,
    ),
    ("", 0, "web-7c9f-x2x4l", "nginx", "", "", 0, ("", 0), OUT, 220, 180),
];

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
    let mut flows: Vec<Flow> = GIVEN.iter().map(flow).collect();
    // Clients of the web server, few bytes each.
    for client in 0..120_u64 {
        let address = format!("198.51.100.{}", client + 100);
        let mut flow = flow(&GIVEN[2]);
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
        http: Some(http()),
        functions: Some(functions()),
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
        flame_graph: Some(flame_graph()?),
    })
}

fn flow(given: &Given) -> Flow {
    let (command, pid, pod, container, peer, address, port, (local, local_port), is_inbound, rx, tx) = *given;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let address: Option<IpAddr> = address.parse().ok();
    let is_known = pid > 0;
    Flow {
        namespace: some("shop"),
        pod: some(pod),
        container: some(container),
        pid: is_known.then_some(pid),
        container_pid: is_known.then_some(pid % 97 + 1),
        command: some(command),
        protocol: if port == 53 { Protocol::Udp } else { Protocol::Tcp },
        direction: if is_inbound { Direction::Inbound } else { Direction::Outbound },
        state: FlowState::Open,
        local_address: local.parse().ok(),
        local_port: (local_port > 0).then_some(local_port),
        remote_address: address,
        remote_port: (port > 0).then_some(port),
        peer: some(peer),
        rx_bytes: rx * 1024 + 311,
        tx_bytes: tx * 1024 + 77,
        rx_bytes_per_second: rx * 1024 / 580,
        tx_bytes_per_second: tx * 1024 / 580,
        connections: 1 + rx % 41,
        connections_open: 1,
        connect_failures: 0,
        retransmits: tx / 90_000,
        rtt_microseconds: (port != 53 && is_known).then_some(180 + pid % 3000),
    }
}

/// A course that ends with the totals: a quiet beginning, a burst, waves.
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

fn http() -> Http {
    let given: [(&str, &str, &str, &str, &[(&str, u64)], u64); 7] = [
        (
            "GET",
            "/products/{id}",
            "shop.example",
            "HTTP/2",
            &[("2xx", 18_231), ("4xx", 402), ("5xx", 31)],
            4_100,
        ),
        ("GET", "/", "shop.example", "HTTP/2", &[("2xx", 9_120), ("3xx", 77)], 900),
        (
            "POST",
            "/cart",
            "shop.example",
            "HTTP/1.1",
            &[("2xx", 2_204), ("4xx", 19), ("noResponse", 6)],
            18_200,
        ),
        ("GET", "/search", "shop.example", "HTTP/2", &[("2xx", 1_811), ("5xx", 240)], 412_000),
        ("POST", "/catalog.Catalog/List", "catalog:8080", "gRPC", &[("2xx", 1_204)], 7_300),
        ("GET", "/img/<b onmouseover=alert(1)>.png", "cdn.example\"", "HTTP/1.1", &[("2xx", 204)], 12_000),
        ("GET", "/healthz", "10.244.1.4", "HTTP/1.1", &[("2xx", 120)], 210),
    ];
    let endpoints: Vec<Endpoint> = given
        .into_iter()
        .map(|(method, path, host, protocol, by_class, p50)| {
            let by_class: BTreeMap<String, u64> =
                by_class.iter().map(|(class, number)| ((*class).to_owned(), *number)).collect();
            let requests = by_class.values().sum();
            Endpoint {
                namespace: Some("shop".to_owned()),
                pod: Some("web-7c9f-x2x4l".to_owned()),
                container: Some("nginx".to_owned()),
                command: Some("nginx".to_owned()),
                side: if protocol == "gRPC" { "Client" } else { "Server" }.to_owned(),
                protocol: protocol.to_owned(),
                method: Some(method.to_owned()),
                host: Some(host.to_owned()),
                path: Some(path.to_owned()),
                requests,
                by_class,
                p50_microseconds: p50,
                p90_microseconds: p50 * 3,
                p99_microseconds: p50 * 9,
                max_microseconds: p50 * 31,
                request_bytes: requests * 640,
                response_bytes: requests * 11_200,
            }
        })
        .collect();
    let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
    endpoints.iter().flat_map(|endpoint| &endpoint.by_class).for_each(|(class, number)| {
        *by_class.entry(class.clone()).or_default() += number;
    });
    *by_class.entry("2xx".to_owned()).or_default() += 88;
    let requests = by_class.values().sum();
    Http { endpoints, requests, by_class, unobserved: BTreeMap::from([("ringFull".to_owned(), 14)]) }
}

/// Stacks with their bytes, from which come the functions and the picture.
const STACKS: [(&str, u64); 9] = [
    (
        "sent;fluent-bit (3301);flb_engine_start;output_thread;cb_http_flush;flb_tls_net_write;SSL_write;__libc_write",
        1_890_000_000,
    ),
    (
        "sent;fluent-bit (3301);flb_engine_start;output_thread;cb_http_flush;flb_io_net_write;__libc_send",
        475_000_000,
    ),
    (
        "sent;nginx (412);ngx_worker_process_cycle;ngx_epoll_process_events;ngx_http_writer;ngx_linux_sendfile;sendfile64",
        690_000_000,
    ),
    (
        "sent;nginx (412);ngx_worker_process_cycle;ngx_epoll_process_events;ngx_http_upstream_handler;ngx_unix_send;__libc_send",
        71_000_000,
    ),
    (
        "received;nginx (412);ngx_worker_process_cycle;ngx_epoll_process_events;ngx_http_upstream_handler;ngx_readv_chain;__readv",
        812_000_000,
    ),
    (
        "received;java (9120);java.lang.Thread.run;HikariPool.getConnection;PgPreparedStatement.executeQuery;SocketInputStream.read;__libc_recv",
        610_000_000,
    ),
    (
        "sent;java (9120);java.lang.Thread.run;CatalogController.list;JsonWriter.<init>;SocketOutputStream.write;__libc_send",
        801_000_000,
    ),
    ("sent;postgres (771);PostgresMain;exec_simple_query;pq_flush;secure_write;__libc_send", 612_000_000),
    ("received;php-fpm (433);zend_execute;php_redis_read;__libc_recv", 91_000_000),
];

fn functions() -> Functions {
    let mut sums: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for (stack, bytes) in STACKS {
        let mut frames = stack.split(';');
        let is_sent = frames.next() == Some("sent");
        let process = frames.next().and_then(|process| process.split(' ').next()).unwrap_or_default();
        for frame in frames {
            let sum = sums.entry((frame, process)).or_default();
            if is_sent { sum.1 += bytes } else { sum.0 += bytes }
        }
    }
    let module = |name: &str| if name.starts_with("__") { "libc.so.6" } else { "main" };
    let mut functions: Vec<Function> = sums
        .into_iter()
        .map(|((name, process), (rx_bytes, tx_bytes))| Function {
            name: name.to_owned(),
            module: Some(module(name).to_owned()),
            command: Some(process.to_owned()),
            rx_bytes,
            tx_bytes,
        })
        .collect();
    functions.sort_by_key(|function| std::cmp::Reverse(function.rx_bytes + function.tx_bytes));
    Functions { functions, bytes: STACKS.iter().map(|(_, bytes)| bytes).sum(), bytes_not_whole: 1_204_331 }
}

fn flame_graph() -> Result<String, Box<dyn Error>> {
    let mut options = inferno::flamegraph::Options::default();
    options.title = "Bytes by the code that moves them".to_owned();
    options.count_name = "bytes".to_owned();
    let mut lines: Vec<String> = STACKS.iter().map(|(stack, bytes)| format!("{stack} {bytes}")).collect();
    lines.sort();
    let mut svg = Vec::new();
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(String::from_utf8(svg)?)
}
