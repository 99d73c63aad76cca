//! Reports: the trace they count for, forged ones, and their deletion.

use super::*;
use crate::controller::reports::WAITING;

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
