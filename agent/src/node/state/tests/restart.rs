//! A trace whose agent dies and is followed by another.

use super::*;

/// Runs an agent that counts `bytes` of `t1`, a trace of 600 s from Unix time 0, and then dies. Returns the agent's
/// last report.
fn first_run(bytes: u64) -> TrafficTraceReportSpec {
    let mut node = Node::new();
    node.trace("t1", "web", 600).pod("p1", "web", 11).step();
    node.fake().receive("t1", bytes);
    node.wait(10);
    node.last("t1").clone()
}

/// Adds the trace as another agent reads it.
fn same_trace(node: &mut Node) -> &mut Node {
    node.apply(Event::Trace(Box::new(session::example("t1"))))
}

#[test]
fn the_next_agent_goes_on_and_tells_the_gap() {
    let last = first_run(1000);
    let mut node = Node::after(vec![last.clone()], 20);
    same_trace(&mut node).pod("p1", "web", 11).step();
    node.fake().receive("t1", 5);
    node.wait(3);
    let report = node.last("t1");
    assert_eq!((report.totals.rx_bytes, row_bytes(report)), (1005, 1005));
    assert_eq!(report.base.as_ref().unwrap().rx_bytes, 1000);
    assert!(report.epoch > last.epoch);
    assert_eq!(report.start_time, last.start_time);
    let told = &report.interruptions[0];
    assert_eq!((told.reason.as_str(), told.since.as_ref()), ("AgentRestarted", last.update_time.as_ref()));
}

#[test]
fn the_gap_is_told_also_where_no_pod_is_left() {
    let mut node = Node::after(vec![first_run(1000)], 20);
    assert_eq!(node.state.unfinished().collect::<Vec<_>>(), ["t1"]);
    same_trace(&mut node).wait(3);
    let report = node.last("t1");
    assert_eq!((report.totals.rx_bytes, report.active_pods, report.interruptions.len()), (1000, 0, 1));
}

#[test]
fn an_epoch_grows_also_when_the_clock_was_set_back() {
    let late = TrafficTraceReportSpec { epoch: 1 << 50, ..first_run(1000) };
    let mut node = Node::after(vec![late], 20);
    same_trace(&mut node).pod("p1", "web", 11).wait(3);
    assert!(node.last("t1").epoch > 1 << 50);
}

#[test]
fn a_trace_that_ended_before_does_not_begin_again() {
    let over = TrafficTraceReportSpec { is_final: true, ..first_run(1000) };
    let mut node = Node::after(vec![over], 20);
    same_trace(&mut node).pod("p1", "web", 11).wait(30);
    assert_eq!((node.seen("t1"), node.reports.len()), (Seen::Ended, 0));
}

#[test]
fn a_trace_that_ended_without_an_agent_is_closed() {
    let last = first_run(1000);
    let mut node = Node::after(vec![last.clone()], 700);
    same_trace(&mut node).pod("p1", "web", 11).step();
    let report = node.last("t1");
    assert_eq!((report.is_final, report.totals.rx_bytes, &report.flows), (true, 1000, &last.flows));
    assert_eq!(report.interruptions.last().unwrap().reason, "AgentAbsentAtEnd");
    node.wait(60);
    assert_eq!(node.reports.len(), 1);
}

/// After a restart, a node that refuses still shows the earlier counts. Once it counts again, nothing is counted twice.
#[test]
fn refused_after_a_restart_and_then_taken() {
    let mut node = Node::after(vec![first_run(1000)], 20);
    node.fake().refuses = Some(10);
    same_trace(&mut node).pod("p1", "web", 11).wait(3);
    let report = node.last("t1");
    assert!(report.refused.is_some());
    assert_eq!((report.totals.rx_bytes, report.base.as_ref().unwrap().rx_bytes), (1000, 1000));
    assert_eq!(row_bytes(report), 1000);
    // A third agent finds the report of the second one, which was refused.
    let mut third = Node::after(vec![report.clone()], 40);
    same_trace(&mut third).pod("p1", "web", 11).wait(3);
    assert_eq!((third.last("t1").totals.rx_bytes, row_bytes(third.last("t1"))), (1000, 1000));
    // The second agent's kernel finally accepts the trace.
    node.fake().refuses = None;
    node.wait(31);
    node.fake().receive("t1", 5);
    node.wait(11);
    let report = node.last("t1");
    assert_eq!((report.totals.rx_bytes, report.base.as_ref().unwrap().rx_bytes), (1005, 1000));
    assert!(report.refused.is_none());
}

#[test]
fn an_agent_that_ends_leaves_a_report_that_the_next_one_goes_on_from() {
    let mut node = Node::new();
    node.trace("t1", "web", 600).pod("p1", "web", 11).step();
    node.fake().receive("t1", 77);
    let actions = node.state.shut_down(node.now);
    let [Action::Report { report, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((report.spec.is_final, report.spec.totals.rx_bytes), (false, 77));
    assert!(node.fake().sessions.is_empty());
}

/// If the trace and its pod are older than the node's first agent, the report has an interruption that begins at the
/// later of the two.
#[test]
fn what_was_there_before_the_first_agent_is_told() {
    let mut node = Node::after(Vec::new(), 20);
    same_trace(&mut node).pod("p1", "web", 11);
    node.apply(Event::TracesListed).apply(Event::PodsListed).wait(3);
    let told = &node.last("t1").interruptions[0];
    assert_eq!(
        (told.reason.as_str(), told.since.as_ref().unwrap().0),
        ("AgentStartedLate", Timestamp::UNIX_EPOCH)
    );
    // A trace newer than the agent has no such gap, even if its time, in whole seconds, looks older.
    let newer = Trace { started: Some(Timestamp::from_second(19).unwrap()), ..session::example("t2") };
    node.apply(Event::Trace(Box::new(newer))).wait(3);
    assert!(node.last("t2").interruptions.is_empty());
}

#[test]
fn a_pod_that_is_newer_than_the_agent_has_no_gap() {
    let mut node = Node::after(Vec::new(), 20);
    // The trace's metadata is listed before the trace is read.
    node.apply(Event::Metadata("t1".into(), Box::default())).apply(Event::TracesListed);
    node.apply(Event::PodsListed).pod("p1", "web", 11);
    same_trace(&mut node).wait(3);
    assert!(node.last("t1").interruptions.is_empty());
    let mut node = Node::after(Vec::new(), 20);
    node.apply(Event::Metadata("t1".into(), Box::default())).apply(Event::TracesListed);
    node.pod("p1", "web", 11).apply(Event::PodsListed);
    same_trace(&mut node).wait(3);
    assert_eq!(node.last("t1").interruptions[0].reason, "AgentStartedLate");
}
