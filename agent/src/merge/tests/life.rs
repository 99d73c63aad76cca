use traffictrace_crd::Interruption;

use super::*;

#[test]
fn a_trace_without_pods_says_so_and_fails_at_its_end() {
    let mut case = Case::new();
    let status = case.status_at(1);
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!((status.start_time, status.end_time), (Some(Time(at(0))), Some(Time(at(60)))));
    assert_eq!(condition_of(&case.status_at(1), "Accepted"), "True Valid");
    assert_eq!(condition_of(&case.status_at(1), "Tracing"), "False NoPods");
    assert_eq!(condition_of(&case.status_at(1), "Failed"), "False NotFailed");
    let status = case.status_at(60);
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(condition_of(&status, "Failed"), "True NoPods");
    assert_eq!(condition_of(&status, "Complete"), "False Failed");
    assert!(status.summary.message.contains("matched the selector"), "{}", status.summary.message);
}

#[test]
fn a_trace_of_pods_that_no_agent_reported_on_fails_and_says_what_to_look_at() {
    let mut case = Case::new();
    case.live(&[("n1", 2), ("n2", 1)]);
    case.status_at(1);
    assert_eq!(case.phase_at(60), Some(Phase::Pending), "agents may still answer");
    let status = case.status_at(90);
    assert_eq!(
        (status.phase, condition_of(&status, "Failed").as_str()),
        (Some(Phase::Failed), "True NoAgent")
    );
    let message = &condition(&status, "Failed").message;
    assert!(message.contains("2 nodes") && message.contains("agent's pods run there"), "{message}");
    assert_eq!(status.summary.lost, "not traced on 2 nodes");
}

#[test]
fn it_runs_with_the_first_report_and_completes_with_the_last_final_one() {
    let mut case = Case::new();
    case.live(&[("n1", 2), ("n2", 1)]);
    let status = case.status_at(1);
    assert_eq!(condition_of(&status, "Tracing"), "False WaitingForNodes");
    assert_eq!((status.pods_matched, status.summary.nodes.as_str()), (3, "0/2"));

    case.apply(report("n1", &[("a", 10), ("b", 20)]));
    let status = case.status_at(3);
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!((status.nodes_matched, status.nodes_reporting, status.pods_matched), (2, 1, 3));
    assert_eq!(condition(&status, "Tracing").message, "1 of 2 nodes with selected pods report.");

    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n1", &[("a", 10), ("b", 20)]) });
    assert_eq!(case.phase_at(60), Some(Phase::Running), "n2 is waited for");
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n2", &[("c", 5)]) });
    let status = case.status_at(62);
    assert_eq!(status.phase, Some(Phase::Completed));
    assert_eq!(status.totals.rx_bytes, 35);
    assert_eq!(condition_of(&status, "Complete"), "True AllNodesReported");
    assert_eq!(condition_of(&status, "Tracing"), "False Ended");
    assert_eq!(condition_of(&status, "Degraded"), "False AsAsked");
}

#[test]
fn a_node_that_does_not_answer_is_named_after_thirty_seconds_and_may_still_come() {
    let mut case = Case::new();
    case.live(&[("n1", 1), ("n2", 1), ("n3", 1)]);
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n1", &[("a", 10)]) });
    case.apply(report("n2", &[("b", 10)]));
    assert_eq!(case.phase_at(89), Some(Phase::Running));
    let status = case.status_at(90);
    assert_eq!(status.phase, Some(Phase::Completed));
    assert_eq!(status.missing_nodes, ["n2", "n3"]);
    assert_eq!(condition_of(&status, "Complete"), "True NodesMissing");
    assert_eq!(condition_of(&status, "Degraded"), "True NodesMissing");
    let message = &condition(&status, "Degraded").message;
    assert!(message.starts_with("No agent has reported from n3, "), "{message}");
    assert!(message.contains("The last numbers of n2 are missing: no agent"), "{message}");
    assert_eq!(status.summary.lost, "not traced on 1 node; no last numbers of 1 node");

    // Pods that appear after the end change nothing, but a last report that arrives late is added.
    case.live(&[("n9", 4)]);
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n2", &[("b", 15)]) });
    let status = case.status_at(200);
    assert_eq!(status.missing_nodes, ["n3"]);
    assert_eq!((status.totals.rx_bytes, status.nodes_matched, status.pods_matched), (25, 3, 3));
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n3", &[("c", 1)]) });
    let status = case.status_at(201);
    assert_eq!((status.phase, status.missing_nodes.len()), (Some(Phase::Completed), 0));
    assert_eq!(condition_of(&status, "Complete"), "True AllNodesReported");
}

#[test]
fn an_invalid_spec_fails_and_an_invalid_change_does_not() {
    let mut case = Case::new();
    case.invalid = Some("spec.remoteCIDRs[0]: no".into());
    let status = case.status_at(1);
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(condition_of(&status, "Accepted"), "False InvalidSpec");
    assert!(status.summary.message.contains("spec.remoteCIDRs[0]"));

    let mut case = Case::new();
    case.apply(report("n1", &[("a", 10)]));
    case.status_at(1);
    case.invalid = Some("spec.remoteCIDRs[0]: no".into());
    let status = case.status_at(5);
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(condition_of(&status, "Accepted"), "False InvalidSpec");
    assert_eq!(condition_of(&status, "Degraded"), "True InvalidSpec");
}

#[test]
fn a_duration_that_cannot_be_read_fails() {
    let mut case = Case::new();
    case.trace.spec.duration = Duration::new("long");
    case.invalid = Some("spec.duration: no".into());
    let status = case.status_at(1);
    assert_eq!((status.phase, status.end_time), (Some(Phase::Failed), None));
}

#[test]
fn refusals_show_at_once_and_fail_only_at_the_end() {
    let mut case = Case::new();
    case.live(&[("n1", 1)]);
    case.apply(refusing("n1"));
    let status = case.status_at(2);
    assert_eq!(status.phase, Some(Phase::Pending), "a place may become free");
    assert_eq!(condition_of(&status, "Tracing"), "False Refused");
    assert_eq!(condition_of(&status, "Degraded"), "True RefusedByNodes");
    assert!(status.summary.message.contains("64 traces run here"), "{}", status.summary.message);
    let status = case.status_at(60);
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(condition_of(&status, "Failed"), "True RefusedByNodes");
    assert_eq!(condition_of(&status, "Complete"), "False Failed", "nobody waits for this with success");
    assert_eq!(status.refused_nodes[0].message, "64 traces run here; delete one");
    assert_eq!(status.summary.lost, "not traced on 1 node");

    let mut case = Case::new();
    case.apply(refusing("n1"));
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n2", &[("a", 1)]) });
    let status = case.status_at(60);
    assert_eq!(status.phase, Some(Phase::Completed), "n1 is not waited for");
    assert_eq!(condition_of(&status, "Degraded"), "True RefusedByNodes");
}

#[test]
fn an_end_that_is_changed_moves_and_one_that_has_passed_does_not() {
    let mut case = Case::new();
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n1", &[("a", 1)]) });
    case.status_at(1);
    case.trace.spec.duration = Duration::new("2m");
    assert_eq!(case.status_at(30).end_time, Some(Time(at(120))));
    case.trace.spec.duration = Duration::new("40s");
    let status = case.status_at(41);
    assert_eq!((status.phase, status.end_time), (Some(Phase::Completed), Some(Time(at(40)))));
    case.trace.spec.duration = Duration::new("1h");
    let status = case.status_at(42);
    assert_eq!((status.phase, status.end_time), (Some(Phase::Completed), Some(Time(at(40)))));
}

#[test]
fn a_trace_that_is_made_longer_while_its_last_reports_are_awaited_stays_ended() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 1)]));
    case.status_at(1);
    let status = case.status_at(60);
    assert_eq!(
        (status.phase, condition_of(&status, "Tracing").as_str()),
        (Some(Phase::Running), "False Ended")
    );
    assert!(condition(&status, "Tracing").message.contains("n1"), "who is awaited");
    case.trace.spec.duration = Duration::new("1h");
    let status = case.status_at(61);
    assert_eq!(status.end_time, Some(Time(at(60))));
    assert_eq!(condition_of(&status, "Degraded"), "True NotEnforced");
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n1", &[("a", 2)]) });
    assert_eq!(case.status_at(62).phase, Some(Phase::Completed));
}

#[test]
fn a_node_that_left_the_cluster_is_named_at_once_unless_it_had_nothing_more_to_count() {
    let mut case = Case::new();
    case.existing = Some(["n1".to_owned()].into());
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n1", &[("a", 1)]) });
    case.apply(TrafficTraceReportSpec { active_pods: 0, ..report("drained", &[("b", 1)]) });
    let status = case.status_at(60);
    assert_eq!((status.phase, status.missing_nodes.len()), (Some(Phase::Completed), 0));
    assert_eq!(condition_of(&status, "Degraded"), "False AsAsked");

    let mut case = Case::new();
    case.existing = Some(["n1".to_owned()].into());
    case.live(&[("died", 2)]);
    case.apply(report("n1", &[("a", 1)]));
    case.apply(TrafficTraceReportSpec { active_pods: 2, ..report("died", &[("b", 1)]) });
    let status = case.status_at(5);
    assert_eq!(status.missing_nodes, ["died"]);
    let message = &condition(&status, "Degraded").message;
    assert!(
        message.starts_with("The last numbers of died are missing") && message.contains("left the cluster"),
        "{message}"
    );
}

#[test]
fn a_clock_that_is_off_is_named_with_what_to_do() {
    let mut case = Case::new();
    case.apply(TrafficTraceReportSpec {
        clock_offset_milliseconds: Some(60_400),
        ..report("n1", &[("a", 1)])
    });
    case.clock_offset = Some(-3_100);
    let status = case.status_at(5);
    let clocks: Vec<_> =
        status.skewed_clocks.iter().map(|clock| (clock.node_name.as_str(), clock.offset_seconds)).collect();
    assert_eq!(clocks, [("the controller", -3), ("n1", 60)]);
    assert_eq!(condition_of(&status, "Degraded"), "True ClockSkew");
    let message = &condition(&status, "Degraded").message;
    assert!(message.contains("3 s behind the API server's") && message.contains("NTP"), "{message}");
}

#[test]
fn a_node_that_falls_silent_is_named_and_the_age_of_the_numbers_told() {
    let mut case = Case::new();
    case.trace.spec.duration = Duration::new("1h");
    let read = |node: &str, seconds| TrafficTraceReportSpec {
        update_time: Some(Time(at(seconds))),
        sequence: seconds,
        ..report(node, &[(node, 1)])
    };
    case.apply(read("n1", 5));
    case.apply(read("n2", 5));
    case.apply(read("n1", 70));
    let status = case.status_at(75);
    assert_eq!(
        (status.update_time.clone(), status.oldest_update_time.clone()),
        (Some(Time(at(70))), Some(Time(at(5))))
    );
    assert_eq!(condition_of(&status, "Degraded"), "False AsAsked");
    let status = case.status_at(76);
    assert_eq!(condition_of(&status, "Degraded"), "True NodesSilent");
    assert!(condition(&status, "Degraded").message.contains("Nothing new came from n2 for"), "{status:?}");
}

#[test]
fn nodes_that_do_not_go_by_the_newest_spec_yet_are_told() {
    let mut case = Case::new();
    let by = |node: &str, generation| TrafficTraceReportSpec {
        observed_generation: Some(generation),
        sequence: generation,
        ..report(node, &[(node, 1)])
    };
    case.trace.metadata.generation = Some(2);
    case.apply(by("n1", 1));
    case.apply(by("n2", 2));
    let status = case.status_at(5);
    assert_eq!(
        (status.observed_generation, condition(&status, "Tracing").observed_generation),
        (Some(2), Some(1))
    );
    let message = &condition(&status, "Tracing").message;
    assert!(message.ends_with("1 of them still trace by the spec before its last change."), "{message}");
    case.apply(by("n1", 2));
    let status = case.status_at(6);
    assert_eq!(condition(&status, "Tracing").observed_generation, Some(2));
    assert_eq!(condition(&status, "Tracing").message, "2 of 2 nodes with selected pods report.");
}

#[test]
fn names_of_nodes_stand_as_they_are_spelled() {
    let mut case = Case::new();
    case.apply(refusing("node1"));
    case.apply(refusing("node2"));
    case.apply(report("node3", &[("a", 1)]));
    let message = condition(&case.status_at(5), "Degraded").message.clone();
    assert_eq!(message, "Refused by node1 and 1 more: 64 traces run here; delete one.");
}

#[test]
fn a_trace_older_than_the_installation_begins_when_it_is_seen() {
    let mut case = Case::new();
    let status = case.status_at(3600);
    assert_eq!((status.phase, status.start_time), (Some(Phase::Pending), Some(Time(at(3600)))));

    // Agents that traced without the controller began at the trace's creation.
    let mut case = Case::new();
    case.apply(TrafficTraceReportSpec { is_final: true, ..report("n1", &[("a", 1)]) });
    let status = case.status_at(3600);
    assert_eq!((status.phase, status.start_time), (Some(Phase::Completed), Some(Time(at(0)))));
}

#[test]
fn conditions_keep_the_time_since_when_they_hold() {
    let mut case = Case::new();
    case.status_at(1);
    case.apply(report("n1", &[("a", 1)]));
    let running = case.status_at(5);
    assert_eq!(condition(&running, "Tracing").last_transition_time, Time(at(5)));
    case.live(&[("n2", 1)]);
    let later = case.status_at(9);
    assert_eq!(condition(&later, "Tracing").message, "1 of 2 nodes with selected pods report.");
    assert_eq!(condition(&later, "Tracing").last_transition_time, Time(at(5)));
    assert_eq!(condition(&later, "Accepted").last_transition_time, Time(at(1)));
}

#[test]
fn nothing_new_gives_the_same_status() {
    let mut case = Case::new();
    case.live(&[("n1", 1)]);
    case.apply(report("n1", &[("a", 1), ("b", 1), ("c", 1)]));
    let first = case.status_at(5);
    assert_eq!(case.status_at(17), first);
}

#[test]
fn the_status_says_when_filters_changed() {
    let mut case = Case::new();
    assert_eq!(case.status_at(1).filters_changed_time, None);
    case.filters_changed = true;
    assert_eq!(case.status_at(7).filters_changed_time, Some(Time(at(7))));
    case.filters_changed = false;
    assert_eq!(case.status_at(9).filters_changed_time, Some(Time(at(7))));
}

#[test]
fn what_is_missing_from_the_numbers_is_said() {
    let mut case = Case::new();
    let mut first = report("n1", &[("a", 1)]);
    first.lost = [("tableFull".to_owned(), 3)].into();
    first.not_enforced = vec!["protocols: UDP".into()];
    first.interruptions = vec![Interruption {
        time: Time(at(4)),
        since: None,
        node_name: None,
        reason: "AgentRestarted".into(),
    }];
    case.apply(first);
    let mut second = report("n2", &[("b", 1)]);
    second.lost = [("tableFull".to_owned(), 4)].into();
    case.apply(second);
    let status = case.status_at(5);
    assert_eq!(status.lost, [("tableFull".to_owned(), 7)].into());
    assert_eq!(status.interruptions[0].node_name.as_deref(), Some("n1"));
    assert_eq!(condition_of(&status, "Degraded"), "True Lost");
    let message = &condition(&status, "Degraded").message;
    for part in ["Lost: tableFull 7.", "Tracing on n1 was interrupted", "Not done on n1: protocols: UDP."] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(status.summary.lost, "tableFull 7; maybe: interrupted on 1 node");
}

#[test]
fn what_some_node_cannot_see_is_listed_once_and_degrades_nothing() {
    let mut case = Case::new();
    for (node, not_seen) in
        [("n1", ["SkippedEvents", "SocketsPassedLater"]), ("n2", ["SocketsPassedLater"; 2])]
    {
        let mut report = report(node, &[("a", 1)]);
        report.not_seen = not_seen.map(str::to_owned).to_vec();
        case.apply(report);
    }
    let status = case.status_at(5);
    assert_eq!(status.not_seen, ["SkippedEvents", "SocketsPassedLater"]);
    assert_eq!(condition_of(&status, "Degraded"), "False AsAsked");
}

#[test]
fn a_node_that_gives_way_after_it_traced_has_numbers_and_sends_its_last_ones() {
    let mut case = Case::new();
    case.live(&[("n1", 1)]);
    case.apply(report("n1", &[("a", 100)]));
    // The node traces and refuses within one interval, so no status in between has shown that it traced.
    let refused = refusing("n1").refused;
    case.apply(TrafficTraceReportSpec { refused, sequence: 1, ..report("n1", &[("a", 100)]) });
    let status = case.status_at(5);
    assert_eq!(
        (status.phase, status.nodes_reporting, status.totals.rx_bytes),
        (Some(Phase::Running), 1, 100)
    );
    assert_eq!(condition_of(&status, "Degraded"), "True RefusedByNodes");
    assert_eq!(status.summary.lost, "not traced on 1 node");
    let status = case.status_at(60);
    assert_eq!(status.phase, Some(Phase::Running), "its last numbers are awaited");
    assert_eq!(condition_of(&status, "Complete"), "False Ended");
    assert_eq!(
        condition(&status, "Complete").message,
        "The trace has ended; the last numbers of n1 are awaited."
    );

    // A controller that starts now knows only the node's last report, which has numbers and a refusal.
    let last = TrafficTraceReportSpec { is_final: true, sequence: 2, ..report("n1", &[("a", 100)]) };
    let refused = refusing("n1").refused;
    case.reports = NodeReports::default();
    case.apply(TrafficTraceReportSpec { refused, ..last });
    let status = case.status_at(61);
    assert_eq!((status.phase, status.nodes_reporting), (Some(Phase::Completed), 1));
}

#[test]
fn pods_that_were_there_and_that_nobody_traced_are_no_missing_pods() {
    let mut case = Case::new();
    case.live(&[("n1", 1), ("n2", 2)]);
    case.status_at(1);
    case.live(&[]);
    let status = case.status_at(30);
    assert_eq!(condition_of(&status, "Tracing"), "False NoPods", "now there are none");
    assert_eq!((status.pods_matched, status.nodes_matched), (3, 2));
    let status = case.status_at(60);
    assert_eq!(condition_of(&status, "Failed"), "True NoAgent");
    assert!(condition(&status, "Failed").message.contains("2 nodes"), "{:?}", condition(&status, "Failed"));
}

#[test]
fn no_text_of_a_report_reaches_a_terminal_as_it_is() {
    let mut case = Case::new();
    let harmful = |text: &str| format!("{text}\u{1b}[2J");
    let mut first = report("n1", &[("a", 1)]);
    first.flows = vec![row("a\u{202e}b", 1).encode()];
    first.lost = [(harmful("lost"), 1)].into();
    first.not_enforced = vec![harmful("ports")];
    first.not_seen = vec![harmful("seen")];
    first.not_visible = vec![traffictrace_crd::NotVisible { pod: harmful("pod"), reason: harmful("reason") }];
    first.interruptions = vec![Interruption {
        time: Time(at(2)),
        since: None,
        node_name: None,
        reason: harmful("AgentRestarted"),
    }];
    case.apply(first);
    let refused = Refused { reason: harmful("Why"), message: harmful("Message") };
    case.apply(TrafficTraceReportSpec { refused: Some(refused), ..report("n2", &[]) });
    case.live(&[("n1", 1), ("n2", 1)]);
    let status = case.status_at(5);
    assert_eq!(status.top_flows[0].pod, "a?b");
    assert_eq!(status.refused_nodes[0].message, "Message?[2J");
    let text = serde_json::to_string(&status).unwrap();
    assert!(!text.contains("\\u001b") && !text.contains('\u{202e}'), "{text}");
    for shown in ["lost?[2J 1", "ports?[2J", "seen?[2J", "pod?[2J", "AgentRestarted?[2J", "Why?[2J"] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
}
