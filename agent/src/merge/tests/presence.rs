//! Tests of nodes that never report, or no longer.

use super::*;

fn degraded(status: &TrafficTraceStatus) -> (String, &str, &str) {
    (
        condition_of(status, "Degraded"),
        condition(status, "Degraded").message.as_str(),
        status.summary.lost.as_str(),
    )
}

/// Makes a trace of an hour with pods on `n1`, which reports, and on `n2`, which does not.
fn half() -> Case {
    let mut case = Case::new();
    case.trace.spec.duration = Duration::new("1h");
    case.live(&[("n1", 1), ("n2", 2)]);
    case.apply(report("n1", &[("a", 10)]));
    case
}

#[test]
fn a_node_that_nobody_traces_is_named_while_the_trace_runs() {
    let mut case = half();
    let status = case.status_at(29);
    assert_eq!((degraded(&status).0.as_str(), degraded(&status).2), ("False AsAsked", "none"));
    assert_eq!(case.look_again, Some(at(30)), "nothing has to happen for it to be told");
    let status = case.status_at(30);
    assert_eq!(status.phase, Some(Phase::Running));
    let (reason, message, lost) = degraded(&status);
    assert_eq!((reason.as_str(), lost), ("True NodesMissing", "not traced on 1 node"));
    assert!(message.starts_with("No agent has reported from n2, "), "{message}");
    assert!(message.contains("see whether the node is Ready and the agent's pod runs there"), "{message}");
    assert_eq!((status.missing_nodes.as_slice(), status.summary.nodes.as_str()), (&["n2".into()][..], "1/2"));
    assert_eq!(case.look_again, None);

    // The agent of `n2` begins late and reports the gap.
    let mut late = report("n2", &[("b", 5)]);
    late.interruptions = vec![traffictrace_crd::Interruption {
        time: Time(at(100)),
        since: Some(Time(at(0))),
        node_name: None,
        reason: "AgentStartedLate".into(),
    }];
    case.apply(late);
    let status = case.status_at(101);
    assert!(status.missing_nodes.is_empty());
    let (reason, message, lost) = degraded(&status);
    assert_eq!((reason.as_str(), lost), ("True Interrupted", "maybe: interrupted on 1 node"));
    assert!(message.contains("AgentStartedLate") && !message.contains("No agent"), "{message}");
}

#[test]
fn a_trace_that_nobody_traces_at_all_says_so_before_its_end() {
    let mut case = Case::new();
    case.live(&[("n1", 1), ("n2", 1)]);
    let status = case.status_at(29);
    assert_eq!((status.phase, degraded(&status).2), (Some(Phase::Pending), "none"));
    let status = case.status_at(31);
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!(
        (degraded(&status).0.as_str(), degraded(&status).2),
        ("True NodesMissing", "not traced on 2 nodes")
    );
}

#[test]
fn a_node_has_time_to_report_from_its_first_pod_on() {
    let mut case = half();
    case.live.insert("n2".into(), LivePods { count: 1, since: at(100) });
    assert_eq!(condition_of(&case.status_at(129), "Degraded"), "False AsAsked");
    assert_eq!(case.look_again, Some(at(130)));
    assert_eq!(condition_of(&case.status_at(130), "Degraded"), "True NodesMissing");
}

#[test]
fn a_node_that_refuses_or_has_no_pod_is_not_missing() {
    let mut case = half();
    case.apply(refusing("n2"));
    let status = case.status_at(60);
    assert_eq!((degraded(&status).0.as_str(), status.missing_nodes.len()), ("True RefusedByNodes", 0));
    assert_eq!(degraded(&status).2, "not traced on 1 node", "counted once");
    let mut case = half();
    case.live(&[("n1", 1)]);
    assert_eq!(condition_of(&case.status_at(60), "Degraded"), "False AsAsked");
}

#[test]
fn what_untraced_pods_moved_stays_missing_when_they_are_gone() {
    let mut case = half();
    case.status_at(40);
    case.live(&[("n1", 1)]);
    let status = case.status_at(50);
    assert_eq!(
        (degraded(&status).0.as_str(), degraded(&status).2),
        ("True NodesMissing", "not traced on 1 node")
    );
    assert_eq!(status.summary.nodes, "1/2");
    // n2 has not traced its pods, which are gone, so no last report of it is awaited.
    case.apply(TrafficTraceReportSpec { is_final: true, sequence: 1, ..report("n1", &[("a", 10)]) });
    let status = case.status_at(3600);
    assert_eq!(status.phase, Some(Phase::Completed));
    assert_eq!(
        (condition_of(&status, "Complete").as_str(), degraded(&status).2),
        ("True NodesMissing", "not traced on 1 node")
    );
    assert_eq!(case.status_at(3601), status);
}

#[test]
fn nobody_is_missing_where_the_spec_cannot_be_used() {
    let mut case = Case::new();
    case.live(&[("n1", 1)]);
    case.invalid = Some("spec.remoteCIDRs[0]: no".into());
    for seconds in [1, 2, 60] {
        let status = case.status_at(seconds);
        assert_eq!((status.phase, status.missing_nodes.len()), (Some(Phase::Failed), 0));
        assert_eq!(degraded(&status).0, "False AsAsked");
    }
}

#[test]
fn pods_that_came_after_the_end_are_nothing_to_wait_for() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 10)]));
    case.status_at(59);
    case.live.insert("n2".into(), LivePods { count: 1, since: at(60) });
    case.apply(TrafficTraceReportSpec { is_final: true, sequence: 1, ..report("n1", &[("a", 10)]) });
    let status = case.status_at(62);
    assert_eq!((status.phase, degraded(&status).2), (Some(Phase::Completed), "none"));
}

#[test]
fn a_node_that_was_drained_and_left_may_lack_its_last_interval_and_no_more() {
    let mut case = half();
    case.existing = Some(["n1".to_owned(), "n2".to_owned()].into());
    let last = TrafficTraceReportSpec {
        active_pods: 2,
        update_time: Some(Time(at(20))),
        ..report("n2", &[("b", 5)])
    };
    case.apply(last.clone());
    case.status_at(21);
    // The node's pods were deleted, and then the node, all before its next report.
    case.live(&[("n1", 1)]);
    case.existing = Some(["n1".to_owned()].into());
    let status = case.status_at(25);
    let (reason, message, lost) = degraded(&status);
    assert_eq!((reason.as_str(), lost), ("True NodesLeft", "maybe: the last interval of 1 node"));
    let since = format!("in the last interval after {} may be missing", at(20));
    assert!(message.contains("gone from n2") && message.contains(&since), "{message}");
    assert!(status.missing_nodes.is_empty());
    case.apply(TrafficTraceReportSpec { is_final: true, sequence: 1, ..report("n1", &[("a", 10)]) });
    let status = case.status_at(3600);
    assert_eq!(
        (status.phase, condition_of(&status, "Complete").as_str()),
        (Some(Phase::Completed), "True AllNodesReported")
    );
    assert_eq!(degraded(&status).0, "True NodesLeft");

    // The report that no pods are left may arrive after the node has gone.
    let mut case = half();
    case.existing = Some(["n1".to_owned()].into());
    case.live(&[("n1", 1)]);
    case.apply(last.clone());
    assert_eq!(condition_of(&case.status_at(25), "Degraded"), "True NodesLeft");
    case.apply(TrafficTraceReportSpec { active_pods: 0, sequence: 1, ..last });
    assert_eq!(condition_of(&case.status_at(26), "Degraded"), "False AsAsked");
}

#[test]
fn a_node_that_died_with_its_pods_stays_missing_after_the_end() {
    let mut case = half();
    case.existing = Some(["n1".to_owned()].into());
    case.apply(TrafficTraceReportSpec { active_pods: 2, ..report("n2", &[("b", 5)]) });
    case.apply(TrafficTraceReportSpec { is_final: true, sequence: 1, ..report("n1", &[("a", 10)]) });
    let status = case.status_at(3600);
    assert_eq!((status.phase, status.missing_nodes.as_slice()), (Some(Phase::Completed), &["n2".into()][..]));
    case.live(&[]);
    let status = case.status_at(3700);
    assert_eq!(
        (degraded(&status).0.as_str(), degraded(&status).2),
        ("True NodesMissing", "no last numbers of 1 node")
    );
}

#[test]
fn silence_is_told_although_nothing_happens() {
    let mut case = half();
    case.live(&[("n1", 1)]);
    case.apply(TrafficTraceReportSpec {
        update_time: Some(Time(at(5))),
        sequence: 1,
        ..report("n1", &[("a", 10)])
    });
    case.status_at(6);
    let told = case.look_again.expect("a moment at which the silence is told");
    let seconds = told.as_second() - CREATED;
    assert_eq!(condition_of(&case.status_at(seconds - 1), "Degraded"), "False AsAsked");
    assert_eq!(condition_of(&case.status_at(seconds), "Degraded"), "True NodesSilent");
    assert_eq!(case.look_again, None);
}
