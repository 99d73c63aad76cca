//! Invented HTTP requests and stacks.

use std::{collections::BTreeMap, error::Error};

use traffictrace_profile::{About, By, Coverage, Frame, FrameKind, Graph, Known, Process, Row, RowKey, Way};
use traffictrace_view::snapshot::{Endpoint, Function, Functions, Http};

/// An endpoint: method, path, host, protocol, number of requests by class, and median duration in microseconds.
type GivenEndpoint =
    (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, u64)], u64);

const ENDPOINTS: [GivenEndpoint; 7] = [
    ("GET", "/products/{id}", "shop.example", "HTTP/2", &[("2xx", 18_231), ("4xx", 402), ("5xx", 31)], 4_100),
    ("GET", "/", "shop.example", "HTTP/2", &[("2xx", 9_120), ("3xx", 77)], 900),
    ("POST", "/cart", "shop.example", "HTTP/1.1", &[("2xx", 2_204), ("4xx", 19), ("noResponse", 6)], 18_200),
    ("GET", "/search", "shop.example", "HTTP/2", &[("2xx", 1_811), ("5xx", 240)], 412_000),
    ("POST", "/catalog.Catalog/List", "catalog:8080", "gRPC", &[("2xx", 1_204)], 7_300),
    ("GET", "/img/<b onmouseover=alert(1)>.png", "cdn.example\"", "HTTP/1.1", &[("2xx", 204)], 12_000),
    ("GET", "/healthz", "10.244.1.4", "HTTP/1.1", &[("2xx", 120)], 210),
];

pub(super) fn http() -> Http {
    let endpoints: Vec<Endpoint> = ENDPOINTS
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
                ..Endpoint::default()
            }
        })
        .collect();
    let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
    endpoints.iter().flat_map(|endpoint| &endpoint.by_class).for_each(|(class, number)| {
        *by_class.entry(class.clone()).or_default() += number;
    });
    *by_class.entry("2xx".to_owned()).or_default() += 88;
    let requests = by_class.values().sum();
    let unobserved = BTreeMap::from([("malformed".to_owned(), 14)]);
    Http { endpoints, requests, by_class, unobserved, ..Http::default() }
}

/// Stacks with their bytes, the source of both the list of functions and the flame graph.
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

fn module(name: &str) -> &'static str {
    if name.starts_with("__") { "libc.so.6" } else { "main" }
}

pub(super) fn functions() -> Functions {
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
    let mut functions: Vec<Function> = sums
        .into_iter()
        .map(|((name, process), (rx_bytes, tx_bytes))| Function {
            name: name.to_owned(),
            module: Some(module(name).to_owned()),
            command: Some(process.to_owned()),
            rx_bytes,
            tx_bytes,
            ..Function::default()
        })
        .collect();
    functions.sort_by_key(|function| std::cmp::Reverse(function.bytes()));
    let bytes = STACKS.iter().map(|(_, bytes)| bytes).sum();
    Functions { functions, bytes, bytes_without_stack: 1_204_331, ..Functions::default() }
}

pub(super) fn flame_graph() -> Result<String, Box<dyn Error>> {
    let rows = STACKS.into_iter().map(|(stack, bytes)| {
        let mut frames = stack.split(';');
        let way = if frames.next() == Some("sent") { Way::Sent } else { Way::Received };
        let (command, pid) = frames.next().and_then(|process| process.split_once(' ')).unwrap_or_default();
        let pid = pid.trim_matches(['(', ')']).parse().unwrap_or(0);
        let process = Process { command: command.to_owned(), pid, ..Process::default() };
        let frame = |name: &str| Frame {
            name: name.to_owned(),
            module: module(name).to_owned(),
            kind: FrameKind::User,
        };
        let frames = frames.map(|name| frame(name).into()).collect();
        let key = RowKey { way, process: process.into(), thread: "".into(), frames, known: Known::Whole };
        Row { key, bytes, calls: bytes / 8000 }
    });
    Ok(Graph::new(About::default(), rows, Coverage::default())?.svg(By::Bytes)?)
}
