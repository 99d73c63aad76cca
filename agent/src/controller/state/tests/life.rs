//! The life of a trace from its first status to its last one.

use super::*;

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

    // A report with the same numbers causes no write.
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
