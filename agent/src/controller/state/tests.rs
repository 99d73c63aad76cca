mod missing;

use serde_json::json;
use traffictrace_crd::{Phase, TrafficTraceStatus, report_name};

use super::super::reports::WAITING;
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

/// Returns the object as it is after a write.
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

#[test]
fn nothing_is_written_before_everything_is_known() {
    let mut state = State::default();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    assert!(state.due(at(1.0)).is_empty());
    assert_eq!(state.next_due(), None);
}

#[test]
fn a_life() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.1);
    let status = write(&mut state, 0.2);
    assert_eq!((status.phase, status.report_interval_seconds), (Some(Phase::Pending), Some(10)));
    nothing_until(&mut state, 0.2, 60.0);

    // News that people wait for are written a second after the last write, others once per interval.
    tell_report(&mut state, "n1", 10, false, 0.3);
    nothing_until(&mut state, 0.5, 1.2);
    assert_eq!(write(&mut state, 1.2).phase, Some(Phase::Running));
    tell_report(&mut state, "n1", 20, false, 1.3);
    nothing_until(&mut state, 2.0, 11.2);
    tell_report(&mut state, "n2", 5, false, 2.0);
    nothing_until(&mut state, 2.0, 2.2);
    assert_eq!(write(&mut state, 2.2).totals.rx_bytes, 25);
    nothing_until(&mut state, 2.2, 60.0);

    // An identical report is no news.
    tell_report(&mut state, "n2", 5, false, 3.0);
    assert!(state.due(at(12.2)).is_empty());
    nothing_until(&mut state, 12.2, 60.0);

    tell_report(&mut state, "n1", 30, true, 59.0);
    assert_eq!(write(&mut state, 59.0).totals.rx_bytes, 35);
    let status = write(&mut state, 60.0);
    assert_eq!(status.phase, Some(Phase::Running), "n2 has not sent its last numbers");
    let ended = status.conditions.iter().find(|condition| condition.type_ == "Tracing").unwrap();
    assert_eq!((ended.status.as_str(), ended.reason.as_str()), ("False", "Ended"));
    nothing_until(&mut state, 60.0, 90.0);
    tell_report(&mut state, "n2", 6, true, 60.5);
    let status = write(&mut state, 61.1);
    assert_eq!((status.phase, status.totals.rx_bytes), (Some(Phase::Completed), 36));
    finish(&mut state, 61.2);
    assert_eq!(state.next_due(), Some(at(61.0 + 86400.0)), "it is deleted a day later");
}

#[test]
fn a_changed_spec_is_answered_at_once() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    write(&mut state, 0.2);
    let change = |state: &mut State, generation: i64, spec: Value| {
        let mut changed = state.traces["u1"].object.clone();
        changed.metadata.generation = Some(generation);
        changed.metadata.resource_version = Some((1000 * generation).to_string());
        changed.spec = serde_json::from_value(spec).unwrap();
        tell_trace(state, changed, 0.2);
    };
    change(&mut state, 2, json!({ "selector": {}, "duration": "2m" }));
    let status = write(&mut state, 0.3);
    assert_eq!((status.observed_generation, status.end_time.map(|end| end.0)), (Some(2), Some(at(120.0))));
    assert_eq!(status.filters_changed_time, None, "a duration is no filter");
    change(&mut state, 3, json!({ "selector": {}, "duration": "2m", "ports": [443] }));
    assert_eq!(write(&mut state, 5.0).filters_changed_time.map(|time| time.0), Some(at(5.0)));

    // An older version that arrives late does not restore the old spec.
    tell_trace(&mut state, trace("u1", minute()), 6.0);
    assert!(state.due(at(6.0)).is_empty());
}

#[test]
fn the_watch_may_tell_of_a_write_before_its_answer_comes() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    write(&mut state, 0.2);
    tell_report(&mut state, "n1", 1, false, 0.3);
    let Action::Write(object, events) = one(&mut state, 2.0) else { panic!("no status") };
    let reasons: Vec<&str> = events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, ["Started"], "before the answer, from the status that was shown");

    // The watch reports the write and then another change of the filters, both before the answer.
    let written = newer(*object);
    tell_trace(&mut state, written.clone(), 2.1);
    let mut changed = newer(written.clone());
    changed.metadata.generation = Some(2);
    changed.spec =
        serde_json::from_value(json!({ "selector": {}, "duration": "1m", "ports": [443] })).unwrap();
    tell_trace(&mut state, changed, 2.2);
    state.done("u1", Outcome::Written(Box::new(written)), at(2.3));
    assert_eq!(write(&mut state, 2.4).filters_changed_time.map(|time| time.0), Some(at(2.0)));
}

#[test]
fn a_failed_write_is_tried_again_after_a_pause() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    one(&mut state, 0.0);
    state.done("u1", Outcome::Again(None), at(0.0));
    let pause = state.next_due().unwrap();
    assert!(pause > at(0.2) && pause <= at(0.5), "{pause}");
    assert!(state.due(at(0.2)).is_empty());
    one(&mut state, 0.5);
    state.done("u1", Outcome::Again(Some(Duration::from_secs(9))), at(1.0));
    let pause = state.next_due().unwrap();
    assert!(pause >= at(10.0) && pause <= at(12.3), "{pause}");
    write(&mut state, 12.3);
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_until_thirty_seconds_after_the_end() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 1, false, 0.5);
    assert_eq!(write(&mut state, 1.0).phase, Some(Phase::Running));
    write(&mut state, 60.0);
    nothing_until(&mut state, 60.0, 90.0);
    let status = write(&mut state, 90.0);
    assert_eq!((status.phase, status.missing_nodes), (Some(Phase::Completed), vec!["n1".to_owned()]));
    patch(&mut state, 90.1);
    tell_report(&mut state, "n1", 2, true, 99.0);
    let status = write(&mut state, 100.0);
    assert_eq!((status.totals.rx_bytes, status.missing_nodes.len()), (2, 0));
    let Action::DeleteReports(_) = one(&mut state, 100.1) else { panic!("reports are not needed any more") };
}

#[test]
fn reports_of_a_node_that_stays_missing_are_given_up_after_ten_minutes() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 1, false, 0.5);
    write(&mut state, 1.0);
    write(&mut state, 60.0);
    let last = write(&mut state, 90.0);
    patch(&mut state, 90.1);
    nothing_until(&mut state, 91.0, 660.0);
    let Action::DeleteReports(_) = one(&mut state, 660.0) else { panic!("reports are given up") };
    state.done("u1", Outcome::Done, at(660.1));
    // Later reports are deleted as well, and change nothing.
    tell_report(&mut state, "n1", 5, true, 700.0);
    let Action::DeleteReports(_) = one(&mut state, 700.0) else { panic!("a stray report goes") };
    state.done("u1", Outcome::Done, at(700.1));
    assert_eq!(state.traces["u1"].status(), Some(&last));
}

#[test]
fn a_deletion_of_reports_that_failed_is_tried_again_and_holds_up_nothing() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 1, true, 0.5);
    write(&mut state, 1.0);
    write(&mut state, 60.0);
    for seconds in [61.0, 62.0, 64.0] {
        let Action::DeleteReports(_) = one(&mut state, seconds) else { panic!("no deletion at {seconds}") };
        state.done("u1", Outcome::Again(None), at(seconds));
    }
    assert_eq!(
        (state.merges, state.reports.in_memory("shop").0),
        (2, 0),
        "the status is not made of nothing"
    );
    finish(&mut state, 80.0);
}

#[test]
fn a_saved_manifest_of_a_finished_trace_can_be_applied_again() {
    let mut state = state();
    let mut again = trace("u2", minute());
    again.metadata.labels = Some([("traffictrace.dev/finished".to_owned(), "true".to_owned())].into());
    let old = ("traffictrace.dev/start-time".to_owned(), at(-3600.0).to_string());
    again.metadata.annotations = Some([old].into());
    tell_trace(&mut state, again, 0.1);
    assert_eq!(write(&mut state, 0.2).start_time.map(|time| time.0), Some(at(0.0)));
    let corrected = json!({
        "labels": { "traffictrace.dev/finished": null },
        "annotations": { "traffictrace.dev/start-time": at(0.0).to_string() },
    });
    assert_eq!(patch(&mut state, 0.3), corrected);
    nothing_until(&mut state, 0.4, 60.0);
}

#[test]
fn a_trace_goes_when_its_time_has_come() {
    let mut state = state();
    let spec = json!({ "selector": {}, "duration": "1m", "ttlAfterFinished": "5m" });
    tell_trace(&mut state, trace("u1", spec), 0.0);
    write(&mut state, 0.2);
    assert_eq!(write(&mut state, 60.0).phase, Some(Phase::Failed), "it selected nobody");
    patch(&mut state, 60.1);
    nothing_until(&mut state, 61.0, 360.0);
    let Action::Delete(object) = one(&mut state, 360.0) else { panic!("a deletion") };
    assert_eq!(object.metadata.uid.as_deref(), Some("u1"));
    state.done("u1", Outcome::Again(None), at(360.0));
    state.tell(Told::Trace(Change::Gone(key("u1"))), at(360.5));
    assert_eq!(state.next_due(), None);
    assert!(state.of_namespace.is_empty() && state.traces.is_empty());
}

#[test]
fn a_trace_that_is_to_stay_stays() {
    let mut state = state();
    let spec = json!({ "selector": {}, "duration": "1m", "ttlAfterFinished": "Never" });
    tell_trace(&mut state, trace("u1", spec), 0.0);
    write(&mut state, 0.2);
    write(&mut state, 60.0);
    patch(&mut state, 60.1);
    assert_eq!(state.next_due(), None);
}

#[test]
fn a_controller_that_begins_later_leaves_a_finished_trace_as_it_is() {
    let mut first = state();
    tell_trace(&mut first, trace("u1", minute()), 0.0);
    tell_report(&mut first, "n1", 10, true, 0.5);
    write(&mut first, 1.0);
    write(&mut first, 60.0);
    finish(&mut first, 60.1);
    let finished = first.traces["u1"].object.clone();
    let mut second = state();
    tell_trace(&mut second, finished.clone(), 100.0);
    assert!(second.due(at(100.0)).is_empty());
    assert_eq!((second.merges, second.traces["u1"].status()), (0, finished.status.as_ref()));
}

#[test]
fn the_final_status_follows_a_changed_lifetime_and_stays_as_it_is() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 10, true, 0.5);
    write(&mut state, 1.0);
    let last = write(&mut state, 60.0);
    finish(&mut state, 60.1);
    let mut changed = newer(state.traces["u1"].object.clone());
    changed.metadata.generation = Some(2);
    changed.spec.ttl_after_finished = traffictrace_crd::Duration::new("1h");
    tell_trace(&mut state, changed, 100.0);
    let mut status = write(&mut state, 100.1);
    assert_eq!(status.observed_generation, Some(2));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
    status.observed_generation = Some(1);
    status.conditions.iter_mut().for_each(|condition| condition.observed_generation = Some(1));
    assert_eq!(status, last);
    nothing_until(&mut state, 101.0, 3660.0);
}

#[test]
fn agents_learn_a_late_start_and_the_pace_from_the_metadata() {
    let mut state = state();
    let mut old = trace("u1", json!({ "selector": {}, "duration": "10m" }));
    old.metadata.resource_version = Some("7".into());
    tell_trace(&mut state, old, 3600.0);
    assert_eq!(write(&mut state, 3600.0).start_time.map(|time| time.0), Some(at(3600.0)));
    let start = json!({ "annotations": { "traffictrace.dev/start-time": at(3600.0).to_string() } });
    assert_eq!(patch(&mut state, 3600.1), start);
    // With 360 reporting nodes the interval is 12 s. With 400 it would be 14 s, too small a change to be sent to all.
    let tell_nodes = |state: &mut State, range: std::ops::Range<u32>| {
        for node in range {
            tell_node(state, &format!("m{node}"));
            tell_report(state, &format!("m{node}"), 1, false, 3601.0);
        }
    };
    tell_nodes(&mut state, 0..360);
    assert_eq!(write(&mut state, 3602.0).report_interval_seconds, Some(12));
    let pace =
        |seconds: &str| json!({ "annotations": { "traffictrace.dev/report-interval-seconds": seconds } });
    assert_eq!(patch(&mut state, 3602.1), pace("12"));
    tell_nodes(&mut state, 360..400);
    assert_eq!(write(&mut state, 3620.0).report_interval_seconds, Some(14));
    tell_nodes(&mut state, 400..600);
    assert_eq!(write(&mut state, 3640.0).report_interval_seconds, Some(20));
    assert_eq!(patch(&mut state, 3640.1), pace("20"));
}

#[test]
fn reports_belong_to_a_uid_and_not_to_a_name() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 10, false, 0.5);
    assert_eq!(write(&mut state, 1.0).totals.rx_bytes, 10);
    // A list reports the new trace before the deletion of the old one.
    tell_trace(&mut state, trace("u2", minute()), 2.0);
    state.tell(Told::Trace(Change::Gone(key("u1"))), at(2.0));
    assert_eq!(write(&mut state, 2.0).totals.rx_bytes, 0);
    assert_eq!(state.traces.len(), 1);

    // A report may arrive before its trace, and a report of a deleted trace is not kept.
    state.tell(Told::Trace(Change::Gone(key("u2"))), at(2.0));
    let third = report("n1", "u3", 7, false);
    state.tell(Told::Report(Change::Apply(third.clone())), at(2.0));
    tell_trace(&mut state, trace("u3", minute()), 3.0);
    assert_eq!(write(&mut state, 3.0).totals.rx_bytes, 7);
    state.tell(Told::Trace(Change::Gone(key("u3"))), at(3.0));
    state.tell(Told::Report(Change::Apply(third.clone())), at(3.0));
    state.tell(Told::Report(Change::Gone(Key::of(&third))), at(3.0));
    assert!(state.reports.in_memory("shop") == (0, 0) && state.traces.is_empty());
}

#[test]
fn a_report_that_goes_before_its_trace_is_known_takes_no_other_with_it() {
    let mut state = state();
    let (first, second) = (report("n1", "u1", 10, false), report("n2", "u1", 5, false));
    state.tell(Told::Report(Change::Apply(first.clone())), at(0.0));
    state.tell(Told::Report(Change::Apply(second)), at(0.0));
    state.tell(Told::Report(Change::Gone(Key::of(&first))), at(0.0));
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    assert_eq!(write(&mut state, 1.0).totals.rx_bytes, 5);
}

#[test]
fn a_report_of_another_namespace_or_under_another_name_counts_for_nothing() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    let mut elsewhere = report("n1", "u1", 1000, false);
    elsewhere.metadata.namespace = Some("evil".into());
    let mut renamed = report("n1", "u1", 1000, false);
    renamed.metadata.name = Some("t-0123456789".into());
    // This report has the trace's UID, but names another trace.
    let mut other = report("n1", "u1", 1000, false);
    other.spec.trace_name = "other".into();
    for forged in [elsewhere, renamed, other] {
        state.tell(Told::Report(Change::Apply(forged)), at(0.5));
    }
    let status = write(&mut state, 1.0);
    assert_eq!((status.phase, status.totals.rx_bytes), (Some(Phase::Pending), 0));
}

#[test]
fn forged_reports_of_traces_that_do_not_exist_fill_only_a_bounded_room_of_their_namespace() {
    let mut state = state();
    let forged = |namespace: &str, at: usize| {
        let mut forged = report("n1", &format!("f{at}"), 1, false);
        forged.metadata.namespace = Some(namespace.into());
        forged
    };
    for at in 0..WAITING + 10 {
        state.tell(Told::Report(Change::Apply(forged("evil", at))), self::at(0.1));
    }
    assert_eq!(state.reports.in_memory("evil"), (WAITING, WAITING));
    // A deleted report makes room for another, and a known one may change.
    state.tell(Told::Report(Change::Gone(Key::of(&forged("evil", 3)))), at(0.2));
    for at in [5, WAITING + 5, WAITING + 6] {
        state.tell(Told::Report(Change::Apply(forged("evil", at))), self::at(0.2));
    }
    assert_eq!(state.reports.in_memory("evil"), (WAITING, WAITING));
    // Other namespaces are not affected: a report may still arrive before its trace.
    tell_report(&mut state, "n1", 10, false, 0.3);
    tell_trace(&mut state, trace("u1", minute()), 0.4);
    assert_eq!(write(&mut state, 1.0).totals.rx_bytes, 10);
    assert_eq!(state.reports.in_memory("shop").1, 0);
}

#[test]
fn a_report_that_is_made_anew_outlives_the_end_of_the_old_one() {
    let mut state = state();
    let old = report("n1", "u1", 10, false);
    let mut new = report("n1", "u1", 12, false);
    new.metadata.uid = Some("new".into());
    for told in [Change::Apply(old.clone()), Change::Apply(new), Change::Gone(Key::of(&old))] {
        state.tell(Told::Report(told), at(0.1));
    }
    tell_trace(&mut state, trace("u1", minute()), 0.2);
    assert_eq!(write(&mut state, 1.0).totals.rx_bytes, 12);
}

#[test]
fn a_deleted_report_of_a_trace_that_lives_stays_counted() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 10, false, 0.5);
    write(&mut state, 1.0);
    state.tell(Told::Report(Change::Gone(Key::of(&report("n1", "u1", 10, false)))), at(1.5));
    tell_report(&mut state, "n2", 1, false, 1.5);
    assert_eq!(write(&mut state, 2.0).totals.rx_bytes, 11);
}

#[test]
fn an_event_costs_the_same_however_many_traces_there_are() {
    let mut state = state();
    let finished = json!({
        "phase": "Completed", "startTime": at(-99.0).to_string(), "endTime": at(-9.0).to_string(), "observedGeneration": 1,
        "conditions": [{ "type": "Complete", "status": "True", "reason": "AllNodesReported", "message": "",
                         "lastTransitionTime": at(-9.0).to_string() }],
    });
    for at in 0..10_000 {
        let mut object = trace(&format!("u{at}"), minute());
        object.metadata.name = Some(format!("t{at}"));
        object.metadata.namespace = Some(format!("ns{}", at % 50));
        if at >= 100 {
            object.metadata.labels =
                Some([("traffictrace.dev/finished".to_owned(), "true".to_owned())].into());
            object.status = Some(serde_json::from_value(finished.clone()).unwrap());
        }
        tell_trace(&mut state, object, 0.0);
    }
    let actions = state.due(at(0.1));
    assert_eq!((actions.len(), state.merges), (100, 100), "those that run");
    for action in actions {
        let Action::Write(object, _) = action else { panic!("no status") };
        let uid = object.metadata.uid.clone().unwrap();
        state.done(&uid, Outcome::Written(Box::new(newer(*object))), at(0.1));
    }
    assert!(state.due(at(0.2)).is_empty());
    let mut one_report = report("n1", "u7", 1, false);
    one_report.metadata.namespace = Some("ns7".into());
    one_report.spec.trace_name = "t7".into();
    one_report.metadata.name = Some(report_name("u7", "n1"));
    state.tell(Told::Report(Change::Apply(one_report)), at(5.0));
    assert_eq!(state.due(at(20.0)).len(), 1);
    assert_eq!(state.merges, 101, "no other trace was looked at");
    assert_eq!(state.next_due(), Some(at(60.0)));
}

#[test]
fn pods_of_the_namespace_are_counted_and_others_are_not() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    write(&mut state, 0.0);
    for (namespace, node) in [("shop", "n1"), ("shop", "n2"), ("other", "n3")] {
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
            "metadata": { "name": node, "namespace": namespace, "uid": node },
            "spec": { "nodeName": node, "containers": [] }, "status": { "phase": "Running" },
        }))
        .unwrap();
        state.tell(Told::Pod(Change::Apply(pod.into())), at(1.0));
    }
    let status = write(&mut state, 10.0);
    assert_eq!((status.pods_matched, status.nodes_matched, status.summary.nodes.as_str()), (2, 2, "0/2"));
}

#[test]
fn a_pod_is_news_for_the_traces_that_select_it() {
    let mut state = state();
    let selecting = |app: &str| json!({ "selector": { "matchLabels": { "app": app } }, "duration": "1m" });
    for app in ["web", "db"] {
        let mut object = trace(app, selecting(app));
        object.metadata.name = Some(app.into());
        tell_trace(&mut state, object, 0.0);
    }
    for action in state.due(at(0.1)) {
        let Action::Write(object, _) = action else { panic!("no status") };
        let uid = object.metadata.uid.clone().unwrap();
        state.done(&uid, Outcome::Written(Box::new(newer(*object))), at(0.1));
    }
    let merges = state.merges;
    let pod = |app: &str| -> k8s_openapi::api::core::v1::Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "shop", "uid": "p", "labels": { "app": app } },
            "spec": { "nodeName": "n1", "containers": [] }, "status": { "phase": "Running" },
        }))
        .unwrap()
    };
    for (app, seconds, looks) in [("web", 1.0, 1), ("web", 2.0, 1), ("db", 31.0, 3), ("other", 45.0, 4)] {
        state.tell(Told::Pod(Change::Apply(pod(app).into())), at(seconds));
        for action in state.due(at(seconds + 12.0)) {
            let Action::Write(object, _) = action else { panic!("no status") };
            let uid = object.metadata.uid.clone().unwrap();
            state.done(&uid, Outcome::Written(Box::new(newer(*object))), at(seconds + 12.0));
        }
        assert_eq!(state.merges - merges, looks, "{app} at {seconds}");
    }
}
