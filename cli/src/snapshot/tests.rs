//! Tests that compare statuses, as the controller writes them, with the snapshots made from them.

use proptest::prelude::*;
use serde_json::Value;
use traffictrace_view::{lines, rows::rows};

use super::*;
use crate::testing::{at, completed, created, hostile, running, status};

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// Panics unless each number of `of` has the same value under its own name in `shown`.
fn same_numbers(of: &Value, shown: &Value) {
    let fields = of.as_object().unwrap().iter();
    for (name, number) in fields.filter(|(_, value)| value.is_number()) {
        assert_eq!(&shown[name], number, "{name}");
    }
}

#[test]
fn every_number_of_a_status_is_that_of_the_snapshot() {
    let trace = running();
    let (snapshot, status) = (json(&of(&trace)), json(trace.status.as_ref().unwrap()));
    same_numbers(&status["totals"], &snapshot["totals"]);
    same_numbers(&status["lost"], &snapshot["lost"]);
    for (name, shown) in [
        ("podsMatched", "pods"),
        ("containersMatched", "containers"),
        ("nodesMatched", "nodesMatched"),
        ("nodesReporting", "nodesReporting"),
        ("flowsTotal", "flowsTotal"),
        ("reportIntervalSeconds", "intervalSeconds"),
        ("updateTime", "time"),
        ("oldestUpdateTime", "oldestTime"),
        ("startTime", "startTime"),
        ("endTime", "endTime"),
    ] {
        assert_eq!(snapshot[shown], status[name], "{name}");
    }
    for (name, shown) in [("topFlows", &snapshot["flows"]), ("tls", &snapshot["http"]["tls"])] {
        let of = if name == "tls" { &status["http"][name] } else { &status[name] };
        assert_eq!(of.as_array().unwrap().len(), shown.as_array().unwrap().len());
        of.as_array().unwrap().iter().zip(shown.as_array().unwrap()).for_each(|(of, shown)| {
            same_numbers(of, shown);
        });
    }
    let (http, shown) = (&status["http"], &snapshot["http"]);
    same_numbers(&http["totals"], shown);
    for part in ["byClass", "unobserved", "lost"] {
        assert_eq!(http["totals"][part], shown[part], "{part}");
    }
    assert_eq!(http["endpointsTotal"], shown["endpointsTotal"]);
    for (of, shown) in
        http["topEndpoints"].as_array().unwrap().iter().zip(shown["endpoints"].as_array().unwrap())
    {
        same_numbers(of, shown);
        assert_eq!((&of["byClass"], &of["path"]), (&shown["byClass"], &shown["path"]));
    }
    same_numbers(&status["stacks"], &snapshot["functions"]);
}

#[test]
fn names_are_those_of_the_status() {
    let snapshot = of(&running());
    assert_eq!((snapshot.subject.as_str(), snapshot.state), ("trace shop/checkout (app=web)", State::Live));
    let flow = &snapshot.flows[1];
    assert_eq!(flow.node.as_deref(), Some("node-a"));
    assert_eq!(
        (flow.caller_container.as_deref(), flow.peer.as_deref(), flow.remote_port, flow.local_port),
        (Some("debug"), Some("pod shop/db-0"), Some(8006), None)
    );
    assert_eq!(snapshot.flows[3].remote_address, "2001:db8::17".parse().ok());
    let endpoints = &snapshot.http.as_ref().unwrap().endpoints;
    assert_eq!(
        (endpoints[1].side.as_str(), endpoints[1].protocol.as_str(), endpoints[1].incomplete),
        ("Server", "gRPC", true)
    );
}

#[test]
fn rows_and_lines_add_up_to_the_totals() {
    let trace = running();
    let snapshot = of(&trace);
    let shown = rows(&snapshot, &Default::default());
    let mut sum = shown.unlisted;
    shown.rows.iter().for_each(|row| sum.add(&row.sums));
    assert_eq!((sum.rx_bytes, sum.tx_bytes, sum.flows), (51_380_224, 190_840_832, 10));
    assert_eq!(sum, (&snapshot).into());
    assert_eq!(lines::flows(&snapshot).map(|line| line.rx_bytes).sum::<u64>(), 51_380_224);
    assert_eq!(lines::endpoints(&snapshot).map(|line| line.requests).sum::<u64>(), 129_343);
}

#[test]
fn notices_are_in_the_order_of_their_importance() {
    let snapshot = of(&running());
    insta::assert_snapshot!(snapshot.notices.join("\n"), @r"
    2 of 4 nodes with selected pods report. 1 of them still trace by the spec before its last change.
    No agent has reported from node-d, and the traffic of selected pods there is not counted: see whether the node is Ready and the agent's pod runs there.
    The requests inside the TLS of java in pod api-0 cannot be read: its library is not known.
    Tracing on node-b was interrupted, and bytes between 2026-11-23T14:02:00Z and 2026-11-23T14:02:06Z may be missing (AgentRestarted).
    The status lists fewer flows than were asked for, so that it stays small; its totals are exact.
    ");
    let nodes: Vec<_> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(nodes, ["node-c", "node-d"]);
    assert_eq!(snapshot.number_of_nodes(), Some((2, 4)));
    let completed = of(&completed());
    assert_eq!((completed.state, completed.notices, completed.nodes), (State::Completed, vec![], vec![]));
}

#[test]
fn a_trace_that_failed_says_why_first() {
    let mut trace = running();
    status(&mut trace).phase = Some(Phase::Failed);
    let failed =
        status(&mut trace).conditions.iter_mut().find(|condition| condition.type_ == kind::FAILED).unwrap();
    (failed.status, failed.message) = ("True".to_owned(), "No pod matched.".to_owned());
    let snapshot = of(&trace);
    assert_eq!((snapshot.state, snapshot.notices[0].as_str()), (State::Failed, "No pod matched."));
}

#[test]
fn a_trace_that_nobody_has_seen_waits() {
    let snapshot = of(&created());
    assert_eq!((snapshot.state, snapshot.time), (State::Waiting, at("14:00:00")));
    assert_eq!((snapshot.subject.as_str(), snapshot.flows_total), ("trace shop/new (all pods)", 0));
    assert_eq!((snapshot.interval_seconds, snapshot.number_of_nodes()), (Seconds(10.0), None));
}

#[test]
fn reports_name_every_node_with_its_age() {
    let mut snapshot = of(&running());
    let report = |name: &str, second: &str| TrafficTraceReportSpec {
        node_name: name.to_owned(),
        update_time: Some(Time(at(second))),
        ..TrafficTraceReportSpec::default()
    };
    let refused =
        TrafficTraceReportSpec { refused: Some(Default::default()), ..report("node-c", "14:06:10") };
    let partly =
        TrafficTraceReportSpec { not_enforced: vec!["http: no.".to_owned()], ..report("node-a", "14:06:02") };
    add_nodes(&mut snapshot, &[report("node-b", "14:06:10"), partly, refused]);
    let nodes: Vec<_> = snapshot
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.update_time, node.notice.is_some()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("node-a", Some(at("14:06:02")), true),
            ("node-b", Some(at("14:06:10")), false),
            ("node-c", None, true),
            ("node-d", None, true),
        ]
    );
}

#[test]
fn messages_are_parted_into_sentences() {
    let parted = |text| sentences(text).collect::<Vec<_>>();
    assert_eq!(parted("One. Two (1.5 s). e.g. this. Three."), ["One.", "Two (1.5 s). e.g. this.", "Three."]);
    assert_eq!(parted("  "), [""; 0]);
    assert_eq!(parted("cut..."), ["cut..."]);
}

proptest! {
    #[test]
    fn any_message_is_parted_without_a_loss(text in "[ .A-Za-zÄß\u{1b}]{0,80}") {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let together = sentences(&text).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(words(&together), words(&text));
    }

    #[test]
    fn any_number_is_a_count(rx: i64, total: i64, pods: i32, port: i32, pid: i64) {
        let mut trace = running();
        let status = status(&mut trace);
        status.totals.rx_bytes = rx;
        status.flows_total = total;
        status.pods_matched = pods;
        status.top_flows[0].remote_port = Some(port);
        status.top_flows[0].pid = Some(pid);
        let snapshot = of(&trace);
        prop_assert_eq!(snapshot.totals.rx_bytes, u64::try_from(rx).unwrap_or(0));
        prop_assert!(snapshot.flows_total >= snapshot.flows.len() as u64);
        prop_assert_eq!(snapshot.flows[0].remote_port.map(i32::from), (0..=65535).contains(&port).then_some(port));
    }
}

#[test]
fn hostile_names_are_as_they_are() {
    for name in crate::testing::HOSTILE {
        assert_eq!(of(&hostile(name)).flows[0].command.as_deref(), Some(name));
    }
}
