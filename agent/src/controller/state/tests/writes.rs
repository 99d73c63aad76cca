//! Writes of statuses and metadata: their causes and their answers.

use super::*;

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
fn agents_learn_a_late_start_and_the_pace_from_the_metadata() {
    let mut state = state();
    let mut old = trace("u1", json!({ "selector": {}, "duration": "10m" }));
    old.metadata.resource_version = Some("7".into());
    tell_trace(&mut state, old, 3600.0);
    assert_eq!(write(&mut state, 3600.0).start_time.map(|time| time.0), Some(at(3600.0)));
    let start = json!({ "annotations": { "traffictrace.dev/start-time": at(3600.0).to_string() } });
    assert_eq!(patch(&mut state, 3600.1), start);
    // With 360 reporting nodes the interval of reports is 12 s. With 400 it becomes 14 s, too small a change to be sent
    // to all agents.
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
