use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use traffictrace_crd::decode_rows;

use super::*;
use crate::cgroups::PodKey;
use crate::engine;
use crate::flows::{FlowState, GroupBy, Key, Protocol, Seed};
use crate::session::{self, Pod};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const POD: u64 = 10;
const MAIN: u64 = 11;
const SIDECAR: u64 = 12;
const UNNAMED: u64 = 13;

fn trace(containers: &[&str], top_flows: usize) -> Trace {
    Trace {
        containers: containers.iter().map(|name| (*name).to_owned()).collect(),
        group_by: GroupBy::Connection,
        top_flows,
        ..session::example("t1")
    }
}

fn identities() -> Identities {
    let mut identities = Identities::default();
    let uid = "p1".to_owned();
    identities.learn(&Pod {
        uid: uid.clone(),
        key: PodKey::of_uid("p1"),
        namespace: "web".into(),
        name: "shop-0".into(),
        created: NOW,
        labels: BTreeMap::new(),
        finished: false,
        running: true,
        containers: ["main".to_owned(), "sidecar".to_owned()].into(),
        container_ids: [("aa".repeat(32), "main".to_owned()), ("bb".repeat(32), "sidecar".to_owned())].into(),
        sandboxed: None,
    });
    identities.saw_pod(POD, &uid);
    for (cgroup, id) in [(MAIN, "aa"), (SIDECAR, "bb"), (UNNAMED, "cc")] {
        let folder = format!("pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60/{}", id.repeat(32));
        identities.saw_child(cgroup, &uid, Path::new(&folder));
    }
    identities
}

fn row(cgroup: u64, pid: u32, rx_bytes: u64, tx_bytes: u64) -> Row {
    let mut command = [0; 16];
    command[..5].copy_from_slice(b"nginx");
    Row {
        key: Key {
            cgroup,
            caller_cgroup: cgroup,
            pid,
            container_pid: 1,
            command,
            protocol: Protocol::Tcp,
            direction: Direction::Inbound,
            local_address: Some("10.0.0.1".parse().unwrap()),
            remote_address: Some("2001:db8::1".parse().unwrap()),
            local_port: Some(80),
            remote_port: None,
        },
        totals: Totals { rx_bytes, tx_bytes, rx_calls: 2, tx_calls: 3, connections: 1, ..Totals::default() },
        rx_bytes_per_second: 7,
        tx_bytes_per_second: 8,
        connections_open: 1,
        rtt_us: 150,
        state: FlowState::Open,
        folded: false,
        flows: 1,
    }
}

fn snapshot(rows: Vec<Row>) -> Snapshot {
    let mut totals = Totals::default();
    rows.iter().for_each(|row| totals.add(&row.totals));
    Snapshot {
        totals,
        connections_open: rows.iter().map(|row| row.connections_open).sum(),
        rows_total: rows.len(),
        rows,
        losses: engine::Losses::default(),
        slots: 1,
        slots_in_use: 0,
        hook_tier: "tp_btf",
        older_sockets_found: true,
        not_seen: Vec::new(),
        rx_bytes_per_second: 0,
        tx_bytes_per_second: 0,
        interval: Duration::from_secs(10),
    }
}

fn build(
    trace: &Trace,
    identities: &Identities,
    history: &History,
    snapshot: &Snapshot,
) -> TrafficTraceReport {
    let counted = Counted { flows: snapshot.clone(), http: None };
    report(&inputs(trace, identities, history, Outcome::Counted(&counted)))
}

fn inputs<'a>(
    trace: &'a Trace,
    identities: &'a Identities,
    history: &'a History,
    outcome: Outcome<'a>,
) -> Inputs<'a> {
    Inputs {
        trace,
        node: "node-1",
        identities,
        history,
        active_pods: 1,
        not_visible: &[],
        not_enforced: &[],
        clock_offset: None,
        stacks: None,
        outcome,
        is_final: false,
        now: NOW,
    }
}

fn rows_of(report: &TrafficTraceReport) -> Vec<FlowRow> {
    decode_rows(&report.spec.columns, &report.spec.flows).collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_row_says_who_talked_to_whom() {
    let snapshot = snapshot(vec![row(MAIN, 42, 1000, 2000), row(SIDECAR, 43, 10, 20)]);
    let report = build(&trace(&[], 20), &identities(), &History::new(NOW, 1), &snapshot);
    let rows = rows_of(&report);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].pod.as_str(), rows[0].container.as_deref()), ("shop-0", Some("main")));
    assert_eq!((rows[0].pid, rows[0].container_pid), (Some(42), Some(1)));
    assert_eq!(rows[0].command.as_deref(), Some("nginx"));
    assert_eq!(rows[0].remote_address.as_deref(), Some("2001:db8::1"));
    assert_eq!((rows[0].local_port, rows[0].remote_port), (Some(80), None));
    assert_eq!((rows[0].rx_bytes, rows[0].tx_bytes, rows[0].connections), (1000, 2000, 1));
    assert_eq!(rows[0].rtt_microseconds, Some(150));
    assert_eq!(rows[1].container.as_deref(), Some("sidecar"));
    assert_eq!((report.spec.totals.rx_bytes, report.spec.totals.tx_bytes), (1010, 2020));
    assert_eq!(report.spec.flows_total, 2);
    assert_eq!(report.spec.hook_tier.as_deref(), Some("tp_btf"));
    let owner = &report.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
        ("TrafficTrace", "shop", "t1")
    );
}

#[test]
fn the_list_is_cut_but_not_the_totals() {
    let rows: Vec<Row> = (0..5).map(|at| row(MAIN, 100 + at, 1000 - u64::from(at), 0)).collect();
    let report = build(&trace(&[], 2), &identities(), &History::new(NOW, 1), &snapshot(rows));
    assert_eq!(rows_of(&report).len(), 2);
    assert_eq!(report.spec.totals.rx_bytes, 1000 + 999 + 998 + 997 + 996);
    assert_eq!(report.spec.flows_total, 5);
    assert!(!report.spec.truncated, "as many flows as were asked for");
}

#[test]
fn a_trace_that_names_containers_shows_and_sums_only_these() {
    let snapshot = snapshot(vec![
        row(SIDECAR, 43, 5000, 0),
        row(MAIN, 42, 1000, 2000),
        row(UNNAMED, 44, 300, 0),
        row(POD, 45, 200, 0),
        row(99, 46, 100, 0),
    ]);
    let report = build(&trace(&["main"], 20), &identities(), &History::new(NOW, 1), &snapshot);
    assert_eq!(rows_of(&report).len(), 1);
    assert_eq!((report.spec.totals.rx_bytes, report.spec.totals.tx_bytes), (1000, 2000));
    assert_eq!((report.spec.totals.connections, report.spec.flows_total), (1, 1));
    // A trace that names no containers has all rows, whether the names of their containers are known or not.
    let report = build(&trace(&[], 20), &identities(), &History::new(NOW, 1), &snapshot);
    let names: Vec<Option<String>> = rows_of(&report).into_iter().map(|row| row.container).collect();
    assert_eq!(names, [Some("sidecar".into()), Some("main".into()), None, None, None]);
    assert_eq!(report.spec.totals.rx_bytes, 6600);
}

#[test]
fn a_socket_that_was_handed_over_names_the_callers_container() {
    let mut handed = row(MAIN, 42, 10, 10);
    handed.key.caller_cgroup = SIDECAR;
    let report = build(&trace(&[], 20), &identities(), &History::new(NOW, 1), &snapshot(vec![handed]));
    let rows = rows_of(&report);
    assert_eq!(rows[0].container.as_deref(), Some("main"));
    assert_eq!(rows[0].caller_container.as_deref(), Some("sidecar"));
}

#[test]
fn what_has_no_process_or_no_peer_is_unattributed() {
    let mut overflow = row(MAIN, 0, 600, 400);
    overflow.key.command = [0; 16];
    overflow.folded = true;
    let mut no_peer = row(MAIN, 43, 30, 0);
    no_peer.key.remote_address = None;
    let mut snapshot = snapshot(vec![overflow, row(MAIN, 42, 1, 1), no_peer]);
    snapshot.losses.table_full = 4;
    let report = build(&trace(&[], 20), &identities(), &History::new(NOW, 1), &snapshot);
    assert_eq!(report.spec.totals.unattributed_bytes, 1030);
    assert_eq!(report.spec.lost["flowTableFull"], 4);
    let rows = rows_of(&report);
    assert_eq!((rows[0].pid, rows[0].command.clone(), rows[0].state), (None, None, None));
}

#[test]
fn a_report_keeps_to_its_size() {
    let long = |at: u32| {
        let mut row = row(MAIN, 4_000_000 + at, u64::MAX >> 12, u64::MAX >> 12);
        row.key.local_address = Some("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap());
        row.key.remote_address = row.key.local_address;
        row.key.remote_port = Some(60000);
        (row.totals.rx_calls, row.totals.tx_calls) = (u64::MAX >> 12, u64::MAX >> 12);
        row
    };
    let rows: Vec<Row> = (0..100).map(long).collect();
    let report = build(&trace(&[], 100), &identities(), &History::new(NOW, 1), &snapshot(rows));
    assert!(serde_json::to_string(&report).unwrap().len() <= 2048 + 220 * 100);
    assert!(report.spec.truncated && report.spec.flows.len() >= 50, "{}", report.spec.flows.len());
}

#[test]
fn a_single_flow_that_is_asked_for_is_listed() {
    let report =
        build(&trace(&[], 1), &identities(), &History::new(NOW, 1), &snapshot(vec![row(MAIN, 40_000, 9, 9)]));
    assert_eq!((report.spec.flows.len(), report.spec.truncated), (1, false));
}

#[test]
fn usual_rows_fit_all_into_the_budget() {
    let rows: Vec<Row> = (0..20).map(|at| row(MAIN, 40_000 + at, 123_456_789, 98_765_432)).collect();
    let report = build(&trace(&[], 20), &identities(), &History::new(NOW, 1), &snapshot(rows));
    assert_eq!(report.spec.flows.len(), 20);
    assert!(!report.spec.truncated);
}

#[test]
fn a_refusal_is_reported_with_its_reason() {
    let refused = Refused { reason: "TooManySessions".into(), message: "delete one".into() };
    let (trace, identities, history) = (trace(&[], 20), identities(), History::new(NOW, 1));
    let outcome = Outcome::Refused(refused.clone(), None);
    let report = report(&inputs(&trace, &identities, &history, outcome));
    assert_eq!(report.spec.refused, Some(refused));
    assert!(report.spec.flows.is_empty() && report.spec.hook_tier.is_none());
}

#[test]
fn a_reason_of_any_length_fits_the_schema() {
    let refused = Refused { reason: "KernelNotSupported".into(), message: "ä".repeat(700) };
    let (trace, identities, history) = (trace(&[], 20), identities(), History::new(NOW, 1));
    let report = report(&inputs(&trace, &identities, &history, Outcome::Refused(refused, None)));
    let message = report.spec.refused.unwrap().message;
    assert_eq!(message.chars().count(), REFUSED_MESSAGE);
    assert!(message.starts_with("ää") && message.ends_with("(the agent's log has the rest)"), "{message}");
}

#[test]
fn what_was_counted_stays_when_the_trace_is_refused_later() {
    let snapshot = snapshot(vec![row(MAIN, 42, 1000, 2000), row(SIDECAR, 43, 10, 20)]);
    let (trace, mut identities, mut history) = (trace(&[], 20), identities(), History::new(NOW, 1));
    let last = build(&trace, &identities, &history, &snapshot);
    history.resume(&last.spec, "web", &mut identities);
    let refused = Refused { reason: "TooManySessions".into(), message: "delete one".into() };
    let outcome = Outcome::Refused(refused, Some(&last.spec));
    let report = report(&inputs(&trace, &identities, &history, outcome));
    let totals = crd::Totals { connections_open: 0, ..last.spec.totals.clone() };
    assert_eq!((&report.spec.totals, &report.spec.base), (&totals, &Some(totals.clone())));
    let rows = rows_of(&report);
    assert_eq!(rows.iter().map(|row| row.rx_bytes).collect::<Vec<_>>(), [1000, 10]);
    assert!(rows.iter().all(|row| row.rx_bytes_per_second == 0 && row.connections_open == 0), "{rows:?}");
}

#[test]
fn the_last_report_of_an_agent_that_is_gone_can_be_closed() {
    let (trace, identities, history) = (trace(&[], 20), identities(), History::new(NOW, 1));
    let last = build(&trace, &identities, &history, &snapshot(vec![row(MAIN, 42, 1000, 2000)])).spec;
    let later: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let closed = closing(&last, &trace, later);
    assert!(closed.spec.is_final);
    assert_eq!((&closed.spec.totals, &closed.spec.flows), (&last.totals, &last.flows));
    let told = &closed.spec.interruptions[0];
    assert_eq!((told.reason.as_str(), told.time.0), ("AgentAbsentAtEnd", later));
    assert_eq!(told.since, last.update_time);
}

#[test]
fn a_process_cannot_write_on_the_terminal_by_its_name() {
    let mut hostile = row(MAIN, 42, 1, 1);
    hostile.key.command[..7].copy_from_slice(b"\x1b[2Jsh\n");
    let report = build(&trace(&[], 20), &identities(), &History::new(NOW, 1), &snapshot(vec![hostile]));
    assert_eq!(rows_of(&report)[0].command.as_deref(), Some("?[2Jsh?"));
}

#[test]
fn after_a_restart_everything_goes_on_from_the_last_report() {
    let later: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let mut before = snapshot(vec![row(MAIN, 42, 1000, 2000), row(UNNAMED, 7, 50, 0), row(MAIN, 43, 5, 5)]);
    before.losses.table_full = 2;
    before.losses.rx_bytes = 9;
    let mut history = History::new(NOW, 1);
    history.pods.insert("p1".into());
    history.pods.insert("p0-gone".into());
    // The report has room for two of the three rows.
    let last = build(&trace(&[], 2), &identities(), &history, &before);

    let mut known = identities();
    let mut history = History::new(later, 2);
    history.pods.insert("p1".into());
    let resumed = history.resume(&last.spec, "web", &mut known);
    history.interrupted("AgentRestarted", Some(NOW), later);
    assert_eq!(
        (resumed.totals.rx_bytes, resumed.totals.tx_bytes, resumed.totals.connections),
        (1055, 2005, 3)
    );
    // Simulates an engine that was seeded with the two listed rows and has counted nothing since.
    let seeds: Vec<Seed> = resumed.rows;
    assert_eq!(seeds.len(), 2);
    assert_eq!(seeds[0].key, before.rows[0].key);
    let seeded = |seed: &Seed| Row { key: seed.key, totals: seed.totals, ..row(MAIN, 1, 0, 0) };
    let mut now = snapshot(seeds.iter().map(seeded).collect());
    now.totals = resumed.totals;
    now.rows_total = 2;
    now.losses.table_full = 1;
    let report = build(&trace(&[], 2), &known, &history, &now);
    assert_eq!(report.spec.totals.rx_bytes, last.spec.totals.rx_bytes);
    assert_eq!(report.spec.start_time, last.spec.start_time);
    assert_eq!(report.spec.pods_matched, 2, "the pod that is gone was counted before");
    assert_eq!(report.spec.lost, [("flowTableFull".to_owned(), 3), ("rxBytes".to_owned(), 9)].into());
    assert_eq!(report.spec.interruptions.len(), 1);
    assert_eq!(report.spec.interruptions[0].reason, "AgentRestarted");
    assert_eq!(report.spec.interruptions[0].time.0, later);
    let (old, new) = (rows_of(&last), rows_of(&report));
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((&old.pod, &old.container, old.pid), (&new.pod, &new.container, new.pid));
        assert_eq!(
            (old.rx_bytes, old.tx_bytes, old.connections),
            (new.rx_bytes, new.tx_bytes, new.connections)
        );
    }
}
