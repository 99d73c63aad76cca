//! The controller's decisions at given times. This file has common steps; each file in `tests/` has the tests of one
//! subject.

mod events;
mod life;
mod missing;
mod reports;
mod writes;

use serde_json::json;
use traffictrace_crd::{Phase, TrafficTraceStatus, report_name};

use super::*;

/// Creation time of every trace in these tests, as a Unix time in seconds.
const CREATED: i64 = 1_800_000_000;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(CREATED * 1000 + (seconds * 1000.0) as i64).unwrap()
}

/// A state whose first lists are complete, with the nodes `n1` to `n3` and nothing else.
fn state() -> State {
    let mut state = State::default();
    for node in ["n1", "n2", "n3"] {
        tell_node(&mut state, node);
    }
    for told in [
        Told::Trace(Change::Complete),
        Told::Report(Change::Complete),
        Told::Pod(Change::Complete),
        Told::Service(Change::Complete),
    ] {
        state.tell(told, at(0.0));
        assert!(state.due(at(0.0)).is_empty());
    }
    state.tell(Told::Node(Change::Complete), at(0.0));
    state
}

fn node_object(name: &str) -> k8s_openapi::api::core::v1::Node {
    serde_json::from_value(json!({ "metadata": { "name": name, "uid": name } })).unwrap()
}

fn tell_node(state: &mut State, name: &str) {
    state.tell(Told::Node(Change::Apply(node_object(name).into())), at(0.0));
}

fn tell_trace(state: &mut State, trace: TrafficTrace, seconds: f64) {
    state.tell(Told::Trace(Change::Apply(trace)), at(seconds));
}

fn trace(uid: &str, spec: Value) -> TrafficTrace {
    serde_json::from_value(json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
        "metadata": {
            "name": "t", "namespace": "shop", "uid": uid, "generation": 1, "resourceVersion": "100",
            "creationTimestamp": at(0.0).to_string(),
        },
        "spec": spec,
    }))
    .unwrap()
}

fn minute() -> Value {
    json!({ "selector": {}, "duration": "1m" })
}

/// Makes a report of the trace `t`. A report with more bytes is newer.
fn report(node: &str, uid: &str, rx_bytes: i64, is_final: bool) -> TrafficTraceReport {
    serde_json::from_value(json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTraceReport",
        "metadata": { "name": report_name(uid, node), "namespace": "shop", "uid": format!("{uid}-{node}") },
        "traceName": "t", "traceUID": uid, "nodeName": node, "podsMatched": 1, "activePods": 1,
        "sequence": rx_bytes, "totals": { "rxBytes": rx_bytes }, "final": is_final,
    }))
    .unwrap()
}

fn tell_report(state: &mut State, node: &str, rx_bytes: i64, is_final: bool, seconds: f64) {
    state.tell(Told::Report(Change::Apply(report(node, "u1", rx_bytes, is_final))), at(seconds));
}

fn key(uid: &str) -> Key {
    Key { namespace: "shop".into(), name: "t".into(), uid: uid.into() }
}

/// Returns the only action that is due.
fn one(state: &mut State, seconds: f64) -> Action {
    let mut actions = state.due(at(seconds));
    assert_eq!(actions.len(), 1, "at {seconds}: {actions:?}");
    assert!(state.due(at(seconds)).is_empty(), "one request at a time");
    actions.remove(0)
}

/// Returns the object with the resource version that the API server gives it at its next write.
fn newer(mut object: TrafficTrace) -> TrafficTrace {
    let version: u64 = object.metadata.resource_version.as_ref().unwrap().parse().unwrap();
    object.metadata.resource_version = Some((version + 1).to_string());
    object
}

/// Writes the only status that is due. The write succeeds, and the watch reports it, too.
fn write(state: &mut State, seconds: f64) -> TrafficTraceStatus {
    let Action::Write(object, _) = one(state, seconds) else { panic!("no status at {seconds}") };
    let object = newer(*object);
    let uid = object.metadata.uid.clone().unwrap();
    state.done(&uid, Outcome::Written(Box::new(object.clone())), at(seconds));
    tell_trace(state, object.clone(), seconds);
    object.status.unwrap()
}

/// Makes the only metadata patch that is due. It succeeds.
fn patch(state: &mut State, seconds: f64) -> Value {
    let Action::Patch(object, patch) = one(state, seconds) else { panic!("no patch at {seconds}") };
    let mut object = newer(*object);
    let meta = &mut object.metadata;
    let mut changes = patch["metadata"].as_object().unwrap().clone();
    assert_eq!(changes.remove("uid").as_ref().and_then(Value::as_str), meta.uid.as_deref());
    for (kind, values) in &changes {
        let known = if kind == "labels" { &mut meta.labels } else { &mut meta.annotations };
        let known = known.get_or_insert_default();
        for (name, value) in values.as_object().unwrap() {
            match value.as_str() {
                Some(text) => known.insert(name.clone(), text.to_owned()),
                None => known.remove(name),
            };
        }
    }
    let uid = meta.uid.clone().unwrap();
    state.done(&uid, Outcome::Patched(Box::new(object.clone())), at(seconds));
    tell_trace(state, object, seconds);
    changes.into()
}

/// Completes a trace after its final status: its reports are deleted, and its metadata is marked as finished.
fn finish(state: &mut State, seconds: f64) {
    let Action::DeleteReports(object) = one(state, seconds) else {
        panic!("no deletion of reports at {seconds}")
    };
    state.done(object.metadata.uid.as_ref().unwrap(), Outcome::Done, at(seconds));
    assert_eq!(state.reports.in_memory("shop"), (0, 0));
    assert_eq!(patch(state, seconds), json!({ "labels": { "traffictrace.dev/finished": "true" } }));
}

fn nothing_until(state: &mut State, now: f64, next: f64) {
    assert!(state.due(at(now)).is_empty());
    assert_eq!(state.next_due(), Some(at(next)));
    assert!(state.due(at(next - 0.001)).is_empty());
}
