use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use traffictrace_crd::{
    EndpointRow, HTTP_LOSSES, HttpSpec, TrafficTraceReport, UNOBSERVED_REASONS, decode_endpoints,
};
use traffictrace_http::endpoint::{Counts, Endpoint, Table, Totals};
use traffictrace_http::{Exchange, Protocol, Side, Status};

use super::*;
use crate::cgroups::PodKey;
use crate::engine::{HttpMissing, HttpOwner, Losses as FlowLosses, Snapshot};
use crate::report::{Counted, History, Identities, Outcome, report};
use crate::session::{self, Pod, Trace};

const MAIN: u64 = 11;
/// Cgroup of the container `main` after its restart; [`MAIN`] is the one before.
const MAIN_AGAIN: u64 = 12;
const SIDECAR: u64 = 13;

fn trace(containers: &[&str], top_endpoints: i32) -> Trace {
    Trace {
        containers: containers.iter().map(|name| (*name).to_owned()).collect(),
        http: Some(HttpSpec { top_endpoints, ..HttpSpec::default() }),
        ..session::example("t1")
    }
}

fn identities() -> Identities {
    let mut identities = Identities::default();
    let uid = "p1".to_owned();
    let ids = [("aa", "main"), ("bb", "main"), ("cc", "sidecar")];
    identities.learn(&Pod {
        uid: uid.clone(),
        key: PodKey::of_uid("p1"),
        namespace: "web".into(),
        name: "shop-0".into(),
        created: Timestamp::UNIX_EPOCH,
        labels: BTreeMap::new(),
        finished: false,
        running: true,
        containers: ["main".to_owned(), "sidecar".to_owned()].into(),
        container_ids: ids.map(|(id, name)| (id.repeat(32), name.to_owned())).into(),
        sandboxed: None,
    });
    for (cgroup, (id, _)) in [MAIN, MAIN_AGAIN, SIDECAR].into_iter().zip(ids) {
        let folder = format!("pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60/{}", id.repeat(32));
        identities.saw_child(cgroup, &uid, Path::new(&folder));
    }
    identities
}

fn owner(cgroup: u64, command: &[u8]) -> HttpOwner {
    let mut name = [0; 16];
    name[..command.len()].copy_from_slice(command);
    HttpOwner { cgroup, command: name }
}

fn exchange(path: &str, status: u16, microseconds: u64) -> Exchange {
    Exchange {
        side: Side::Server,
        protocol: Protocol::Http11,
        method: "GET".into(),
        host: "shop.example:8080".into(),
        path: path.into(),
        status: Status::Code(status),
        grpc_status: None,
        request_bytes: 100,
        response_bytes: 1000,
        began: 0,
        first_byte: None,
        ended: microseconds * 1000,
    }
}

fn snapshot(table: &Table<HttpOwner>) -> HttpSnapshot {
    HttpSnapshot {
        totals: table.totals(),
        rows: table.top(usize::MAX),
        rows_total: table.len(),
        missing: HttpMissing::default(),
        tls: Vec::new(),
    }
}

fn build(trace: &Trace, http: HttpSnapshot) -> TrafficTraceReport {
    let flows = Snapshot {
        totals: Default::default(),
        connections_open: 0,
        rows: Vec::new(),
        rows_total: 0,
        losses: FlowLosses::default(),
        slots: 1,
        slots_in_use: 0,
        hook_tier: "tp_btf",
        older_sockets_found: true,
        not_seen: Vec::new(),
        rx_bytes_per_second: 0,
        tx_bytes_per_second: 0,
        interval: std::time::Duration::from_secs(10),
    };
    report(&Inputs {
        trace,
        node: "node-1",
        identities: &identities(),
        history: &History::new(Timestamp::UNIX_EPOCH, 1),
        active_pods: 1,
        not_visible: &[],
        not_enforced: &[],
        clock_offset: None,
        stacks: None,
        outcome: Outcome::Counted(&Counted { flows, http: Some(http) }),
        is_final: false,
        now: Timestamp::UNIX_EPOCH,
    })
}

fn http(report: &TrafficTraceReport) -> &HttpReport {
    report.spec.http.as_ref().unwrap()
}

fn rows(report: &TrafficTraceReport) -> Vec<EndpointRow> {
    let http = http(report);
    decode_endpoints(&http.columns, &http.endpoints).collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_row_says_who_was_asked_for_what() {
    let mut table = Table::default();
    for (status, microseconds) in [(200, 10), (200, 20), (503, 30)] {
        table.record(&owner(MAIN, b"nginx\x1b"), &exchange("/carts/7?x", status, microseconds));
    }
    let report = build(&trace(&[], 20), snapshot(&table));
    let rows = rows(&report);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.pod.as_str(), row.container.as_deref()), ("shop-0", Some("main")));
    assert_eq!((row.command.as_deref(), row.method.as_deref()), (Some("nginx?"), Some("GET")));
    assert_eq!((row.host.as_deref(), row.path.as_deref()), (Some("shop.example:8080"), Some("/carts/{id}")));
    assert_eq!((row.requests, row.response_bytes, row.complete), ([0, 2, 0, 0, 1, 0, 0], 3000, true));
    let durations: endpoint::Histogram = row.durations.parse().unwrap();
    assert_eq!((durations.count(), durations.latency().max), (3, 30));
    assert_eq!((http(&report).totals.requests, http(&report).endpoints_total), (3, 1));
}

#[test]
fn a_container_that_began_again_has_one_row() {
    let mut table = Table::default();
    for cgroup in [MAIN, MAIN_AGAIN, SIDECAR] {
        for path in ["/a", "/a", "/b"] {
            table.record(&owner(cgroup, b"nginx"), &exchange(path, 200, 10));
        }
    }
    let report = build(&trace(&[], 1), snapshot(&table));
    let row = &rows(&report)[0];
    assert_eq!((row.container.as_deref(), row.path.as_deref(), row.total()), (Some("main"), Some("/a"), 4));
    assert_eq!((http(&report).endpoints_total, http(&report).totals.requests), (4, 9));
}

#[test]
fn a_trace_that_names_containers_shows_and_sums_only_these() {
    let mut table = Table::default();
    table.record(&owner(MAIN, b"nginx"), &exchange("/a", 200, 10));
    table.record(&owner(SIDECAR, b"envoy"), &exchange("/a", 500, 10));
    let mut all = snapshot(&table);
    for (cgroup, pid) in [(MAIN, 1), (MAIN, 2), (SIDECAR, 3)] {
        all.tls.push(TlsProcess {
            owner: owner(cgroup, b"nginx"),
            pid,
            library: "OpenSSL 3.0.19".into(),
            readable: pid != 2,
            reason: if pid == 2 { "its library was deleted".into() } else { String::new() },
        });
    }
    let report = build(&trace(&["main"], 20), all);
    assert_eq!(rows(&report).len(), 1);
    let totals = &http(&report).totals;
    assert_eq!((totals.requests, totals.by_class.get("5xx"), totals.request_bytes), (1, None, 100));
    let tls = &http(&report).tls;
    assert_eq!((tls.len(), http(&report).tls_total), (2, 2));
    assert!(!tls[0].readable && tls[1].readable, "those that are not readable come first");
    assert_eq!((tls[0].processes, tls[0].reason.as_deref()), (1, Some("its library was deleted")));
}

#[test]
fn what_is_missing_is_told_by_reason() {
    let mut table = Table::default();
    for (reason, count) in Unobserved::REASONS.into_iter().zip(1..) {
        table.unobserved(reason, count);
    }
    let mut snapshot = snapshot(&table);
    snapshot.missing.connections = 7;
    snapshot.missing.without_flow = 6;
    snapshot.missing.lost = crate::kernel::HttpLost { records: 9, requests: 4, responses: 3, unknown: 2 };
    let report = build(&trace(&[], 20), snapshot);
    let totals = &http(&report).totals;
    let unobserved = [
        ("connectionsNotFollowed", 7),
        ("flowNotKnown", 6),
        ("headTooLarge", 2),
        ("lostResponse", 1),
        ("malformed", 3),
        ("missingBytes", 5),
        ("noMemory", 4),
    ];
    assert_eq!(totals.unobserved, unobserved.map(|(name, count)| (name.to_owned(), count)).into());
    assert!(totals.unobserved.keys().all(|reason| UNOBSERVED_REASONS.contains(&reason.as_str())));
    assert!(totals.lost.keys().all(|what| HTTP_LOSSES.contains(&what.as_str())));
    let lost = [("records", 9), ("requests", 4), ("responses", 3), ("unknownRecords", 2)];
    assert_eq!(totals.lost, lost.map(|(name, count)| (name.to_owned(), count)).into());
}

/// Makes requests whose durations spread over four orders of magnitude.
fn busy(endpoints: u64, requests: u64, path: impl Fn(u64) -> String) -> HttpSnapshot {
    let mut random = fastrand::Rng::with_seed(7);
    let rows: Vec<Row<HttpOwner>> = (0..endpoints)
        .map(|at| {
            let mut counts = Counts::default();
            for _ in 0..requests {
                let microseconds = 50.0 * 10f64.powf(random.f64() * random.f64() * 4.0);
                counts.record(&exchange("/", 200, microseconds as u64));
            }
            let path = path(at);
            let endpoint = Endpoint::new(Side::Server, Protocol::Http11, "GET", "shop.example:8080", &path);
            Row { owner: owner(MAIN, b"nginx"), endpoint, counts, complete: true }
        })
        .collect();
    let mut totals = Totals::default();
    rows.iter().for_each(|row| totals.sums.merge(&row.counts.sums));
    HttpSnapshot { totals, rows_total: rows.len(), rows, missing: HttpMissing::default(), tls: Vec::new() }
}

#[test]
fn usual_endpoints_fit_all_into_the_budget() {
    for (requests, path) in [(100, "/api/v1/carts"), (3000, "/a"), (20_000, "/api/v1/customers/{id}/orders")]
    {
        let report =
            build(&trace(&[], 20), busy(20, requests, |at| format!("{path}/x{}", at % 10 + 10 * (at / 10))));
        let http = http(&report);
        let longest = rows(&report).iter().map(|row| row.durations.len()).max().unwrap();
        println!(
            "{requests} requests: {} bytes, histograms up to {longest}",
            serde_json::to_string(http).unwrap().len()
        );
    }
}

#[test]
fn the_list_is_cut_but_not_the_totals() {
    let words = "segment-of-a-path/".repeat(10);
    let paths = |at: u64| {
        format!("/{words}{}/{}", "go".repeat(at as usize % 10 + 1), "no".repeat(at as usize / 10 + 1))
    };
    let report = build(&trace(&[], 100), busy(100, 3000, paths));
    let http = http(&report);
    let size = serde_json::to_string(http).unwrap().len();
    assert!(size <= 2048 + 500 * 100, "{size}");
    assert!(http.truncated && http.endpoints.len() >= 50, "{}", http.endpoints.len());
    assert_eq!((http.totals.requests, http.endpoints_total), (100 * 3000, 100));
}
