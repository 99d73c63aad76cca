use serde_json::json;
use traffictrace_crd::{Phase, TrafficTraceStatus};

use super::*;

/// When every trace of these tests is created.
const CREATED: i64 = 1_800_000_000;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(CREATED * 1000 + (seconds * 1000.0) as i64).unwrap()
}

/// A state whose first lists are complete and empty.
fn state() -> State {
    let mut state = State::default();
    for told in [
        Told::Trace(Change::Complete),
        Told::Report(Change::Complete),
        Told::Pod(Change::Complete),
        Told::Service(Change::Complete),
    ] {
        state.tell(told);
        assert!(state.due(at(0.0)).is_empty());
    }
    state.tell(Told::Node(Change::Complete));
    state
}

fn trace(uid: &str, spec: serde_json::Value) -> TrafficTrace {
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

fn minute() -> serde_json::Value {
    json!({ "selector": {}, "duration": "1m" })
}

fn report(node: &str, uid: &str, rx_bytes: i64, is_final: bool) -> TrafficTraceReport {
    serde_json::from_value(json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTraceReport",
        "metadata": { "name": format!("t-{node}"), "namespace": "shop" },
        "traceName": "t", "traceUID": uid, "nodeName": node, "podsMatched": 1,
        "totals": { "rxBytes": rx_bytes }, "final": is_final,
    }))
    .unwrap()
}

fn tell_report(state: &mut State, node: &str, rx_bytes: i64, is_final: bool) {
    state.tell(Told::Report(Change::Apply(report(node, "u1", rx_bytes, is_final))));
}

fn key() -> Key {
    Key { namespace: "shop".into(), name: "t".into() }
}

/// The one status to be written now; the write succeeds, and the watch tells of it too.
fn write(state: &mut State, seconds: f64) -> TrafficTraceStatus {
    let mut actions = state.due(at(seconds));
    assert_eq!(actions.len(), 1, "at {seconds}: {actions:?}");
    let Action::Write(mut object) = actions.remove(0) else { panic!("a deletion") };
    assert!(state.due(at(seconds)).is_empty(), "one write at a time");
    let version: u64 = object.metadata.resource_version.as_ref().unwrap().parse().unwrap();
    object.metadata.resource_version = Some((version + 1).to_string());
    let uid = object.metadata.uid.clone().unwrap();
    state.done(&uid, Outcome::Written(object.clone()), at(seconds));
    state.tell(Told::Trace(Change::Apply((*object).clone())));
    object.status.unwrap()
}

fn nothing_until(state: &mut State, now: f64, next: f64) {
    assert!(state.due(at(now)).is_empty());
    assert_eq!(state.next_due(at(now)), Some(at(next)));
    assert!(state.due(at(next - 0.001)).is_empty());
}

#[test]
fn nothing_is_written_before_everything_is_known() {
    let mut state = State::default();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    assert!(state.due(at(1.0)).is_empty());
    assert_eq!(state.next_due(at(1.0)), None);
}

#[test]
fn a_life() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    let status = write(&mut state, 0.2);
    assert_eq!((status.phase, status.report_interval_seconds), (Some(Phase::Pending), Some(10)));
    nothing_until(&mut state, 0.2, 60.0);

    // What people wait for comes within a second of the last write, the rest once in an interval.
    tell_report(&mut state, "n1", 10, false);
    nothing_until(&mut state, 0.5, 1.2);
    assert_eq!(write(&mut state, 1.2).phase, Some(Phase::Running));
    tell_report(&mut state, "n1", 20, false);
    nothing_until(&mut state, 2.0, 11.2);
    tell_report(&mut state, "n2", 5, false);
    nothing_until(&mut state, 2.0, 2.2);
    assert_eq!(write(&mut state, 2.2).totals.rx_bytes, 25);
    nothing_until(&mut state, 2.2, 60.0);

    // The same again is no news.
    tell_report(&mut state, "n2", 5, false);
    assert!(state.due(at(12.2)).is_empty());
    nothing_until(&mut state, 12.2, 60.0);

    tell_report(&mut state, "n1", 30, true);
    assert_eq!(write(&mut state, 59.0).totals.rx_bytes, 35);
    assert!(state.due(at(60.0)).is_empty(), "n2 has not sent its last numbers");
    nothing_until(&mut state, 60.0, 90.0);
    tell_report(&mut state, "n2", 6, true);
    let status = write(&mut state, 60.1);
    assert_eq!((status.phase, status.totals.rx_bytes), (Some(Phase::Completed), 36));
    assert_eq!(state.next_due(at(61.0)), None);
}

#[test]
fn a_changed_spec_is_answered_at_once() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    write(&mut state, 0.2);
    let change = |state: &mut State, generation: i64, spec: serde_json::Value| {
        let mut changed = state.traces["u1"].object.clone();
        changed.metadata.generation = Some(generation);
        changed.metadata.resource_version = Some((1000 * generation).to_string());
        changed.spec = serde_json::from_value(spec).unwrap();
        state.tell(Told::Trace(Change::Apply(changed)));
    };
    change(&mut state, 2, json!({ "selector": {}, "duration": "2m" }));
    let status = write(&mut state, 0.3);
    assert_eq!((status.observed_generation, status.end_time.map(|end| end.0)), (Some(2), Some(at(120.0))));
    assert_eq!(status.filters_changed_time, None, "a duration is no filter");
    change(&mut state, 3, json!({ "selector": {}, "duration": "2m", "ports": [443] }));
    assert_eq!(write(&mut state, 5.0).filters_changed_time.map(|time| time.0), Some(at(5.0)));

    // An older version that comes late does not bring the old spec back.
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    assert!(state.due(at(6.0)).is_empty());
}

#[test]
fn a_failed_write_is_tried_again_after_a_pause() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    assert_eq!(state.due(at(0.0)).len(), 1);
    state.done("u1", Outcome::Again(None), at(0.0));
    nothing_until(&mut state, 0.0, 1.0);
    assert_eq!(state.due(at(1.0)).len(), 1);
    state.done("u1", Outcome::Again(Some(Duration::from_secs(9))), at(1.0));
    nothing_until(&mut state, 1.0, 10.0);
    write(&mut state, 10.0);
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_until_thirty_seconds_after_the_end() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    tell_report(&mut state, "n1", 1, false);
    assert_eq!(write(&mut state, 1.0).phase, Some(Phase::Running));
    assert!(state.due(at(60.0)).is_empty());
    nothing_until(&mut state, 60.0, 90.0);
    let status = write(&mut state, 90.0);
    assert_eq!((status.phase, status.missing_nodes), (Some(Phase::Completed), vec!["n1".to_owned()]));
    tell_report(&mut state, "n1", 2, true);
    let status = write(&mut state, 100.0);
    assert_eq!((status.totals.rx_bytes, status.missing_nodes.len()), (2, 0));
}

#[test]
fn a_trace_goes_when_its_time_has_come() {
    let mut state = state();
    let spec = json!({ "selector": {}, "duration": "1m", "ttlAfterFinished": "5m" });
    state.tell(Told::Trace(Change::Apply(trace("u1", spec))));
    write(&mut state, 0.2);
    assert_eq!(write(&mut state, 60.0).phase, Some(Phase::Completed));
    nothing_until(&mut state, 61.0, 360.0);
    let actions = state.due(at(360.0));
    assert!(matches!(&actions[..], [Action::Delete(object)] if object.metadata.uid.as_deref() == Some("u1")));
    state.done("u1", Outcome::Again(None), at(360.0));
    state.tell(Told::Trace(Change::Gone(key())));
    assert_eq!(state.next_due(at(360.0)), None);
}

#[test]
fn reports_belong_to_a_uid_and_not_to_a_name() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    tell_report(&mut state, "n1", 10, false);
    assert_eq!(write(&mut state, 1.0).totals.rx_bytes, 10);
    state.tell(Told::Trace(Change::Apply(trace("u2", minute()))));
    assert_eq!(write(&mut state, 2.0).totals.rx_bytes, 0);
    assert_eq!(state.traces.len(), 1);

    // A report may come before its trace, and one of a trace that has gone is not kept.
    state.tell(Told::Trace(Change::Gone(key())));
    state.tell(Told::Report(Change::Apply(report("n1", "u3", 7, false))));
    let mut third = trace("u3", minute());
    third.metadata.name = Some("third".into());
    state.tell(Told::Trace(Change::Apply(third)));
    assert_eq!(write(&mut state, 3.0).totals.rx_bytes, 7);
    state.tell(Told::Trace(Change::Gone(Key { namespace: "shop".into(), name: "third".into() })));
    state.tell(Told::Report(Change::Apply(report("n1", "u3", 8, false))));
    state.tell(Told::Report(Change::Gone(Key { namespace: "shop".into(), name: "t-n1".into() })));
    assert!(state.reports.is_empty() && state.traces.is_empty());
}

#[test]
fn a_deleted_report_of_a_trace_that_lives_stays_counted() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    tell_report(&mut state, "n1", 10, false);
    write(&mut state, 1.0);
    state.tell(Told::Report(Change::Gone(Key { namespace: "shop".into(), name: "t-n1".into() })));
    tell_report(&mut state, "n2", 1, false);
    assert_eq!(write(&mut state, 2.0).totals.rx_bytes, 11);
}

#[test]
fn many_reports_stretch_the_interval_of_every_trace() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    for node in 0..600 {
        tell_report(&mut state, &format!("n{node}"), 1, false);
    }
    assert_eq!(write(&mut state, 1.0).report_interval_seconds, Some(20));
    tell_report(&mut state, "n0", 2, false);
    nothing_until(&mut state, 2.0, 21.0);
}

#[test]
fn pods_of_the_namespace_are_counted_and_others_are_not() {
    let mut state = state();
    state.tell(Told::Trace(Change::Apply(trace("u1", minute()))));
    write(&mut state, 0.0);
    for (namespace, node) in [("shop", "n1"), ("shop", "n2"), ("other", "n3")] {
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
            "metadata": { "name": node, "namespace": namespace },
            "spec": { "nodeName": node, "containers": [] }, "status": { "phase": "Running" },
        }))
        .unwrap();
        state.tell(Told::Pod(Change::Apply(pod.into())));
    }
    let status = write(&mut state, 10.0);
    assert_eq!((status.pods_matched, status.nodes_matched, status.summary.nodes.as_str()), (2, 2, "0/2"));
}
