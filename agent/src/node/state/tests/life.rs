//! The life of a trace, from its first pod to its end.

use super::*;

/// Makes a node count a trace of 60 s.
fn counting(node: &mut Node) {
    node.trace("t1", "web", 60).pod("p1", "web", 11).step();
}

/// Gives a node the trace of [`counting`], which its kernel refuses.
fn refused(node: &mut Node) {
    node.fake().refuses = Some(10);
    counting(node);
}

/// Tests each line of the table in `state/mod.rs`.
#[test]
fn a_trace_moves_as_the_table_says() {
    type Do = dyn Fn(&mut Node);
    let table: [(&str, &Do, Seen, &Do, Seen); 13] = [
        (
            "no pod",
            &|n| {
                n.trace("t1", "web", 60);
            },
            Seen::Idle,
            &|n| {
                n.wait(1);
            },
            Seen::Idle,
        ),
        (
            "a pod comes",
            &|n| {
                n.trace("t1", "web", 60).step();
            },
            Seen::Idle,
            &|n| {
                n.pod("p1", "web", 11).step();
            },
            Seen::Counting,
        ),
        (
            "the kernel refuses",
            &|n| {
                n.trace("t1", "web", 60).step();
            },
            Seen::Idle,
            &refused,
            Seen::Refused,
        ),
        (
            "no pod ever",
            &|n| {
                n.trace("t1", "web", 60).step();
            },
            Seen::Idle,
            &|n| {
                n.wait(60);
            },
            Seen::Ended,
        ),
        (
            "its pod goes",
            &counting,
            Seen::Counting,
            &|n| {
                n.apply(Event::Places(BTreeMap::new())).apply(Event::PodGone("p1".into())).wait(1);
            },
            Seen::Counting,
        ),
        (
            "its time is over",
            &counting,
            Seen::Counting,
            &|n| {
                n.wait(60);
            },
            Seen::Ended,
        ),
        (
            "it is deleted",
            &counting,
            Seen::Counting,
            &|n| {
                n.apply(Event::TraceGone("t1".into())).step();
            },
            Seen::Unknown,
        ),
        (
            "still refused",
            &refused,
            Seen::Refused,
            &|n| {
                n.wait(31);
            },
            Seen::Refused,
        ),
        (
            "not tried at once",
            &refused,
            Seen::Refused,
            &|n| {
                n.fake().refuses = None;
                n.wait(1);
            },
            Seen::Refused,
        ),
        (
            "another try",
            &refused,
            Seen::Refused,
            &|n| {
                n.fake().refuses = None;
                n.wait(31);
            },
            Seen::Counting,
        ),
        (
            "refused to the end",
            &refused,
            Seen::Refused,
            &|n| {
                n.wait(60);
            },
            Seen::Ended,
        ),
        (
            "refused and deleted",
            &refused,
            Seen::Refused,
            &|n| {
                n.apply(Event::TraceGone("t1".into())).step();
            },
            Seen::Unknown,
        ),
        (
            "over for good",
            &|n| {
                counting(n);
                n.wait(60);
            },
            Seen::Ended,
            &|n| {
                n.trace("t1", "web", 600).wait(1);
            },
            Seen::Ended,
        ),
    ];
    for (what, before, stood, then, stands) in table {
        let mut node = Node::new();
        before(&mut node);
        assert_eq!(node.seen("t1"), stood, "before: {what}");
        then(&mut node);
        assert_eq!(node.seen("t1"), stands, "{what}");
        let sessions = node.fake().sessions.len();
        assert_eq!(sessions, usize::from(stands == Seen::Counting), "sessions in the kernel: {what}");
    }
}

#[test]
fn reports_come_soon_and_then_once_in_an_interval() {
    let mut node = Node::new();
    node.trace("t1", "web", 600).pod("p1", "web", 11).step();
    assert!(node.reports.is_empty());
    node.fake().receive("t1", 1000);
    node.wait(3);
    assert_eq!((node.reports.len(), node.last("t1").totals.rx_bytes), (1, 1000));
    node.wait(5).wait(7);
    assert_eq!(node.reports.len(), 2);
    let report = node.last("t1");
    assert_eq!((report.active_pods, report.pods_matched, report.is_final), (1, 1, false));
    assert_eq!((report.base.as_ref(), report.interruptions.len()), (None, 0));
}

#[test]
fn a_node_whose_last_pod_goes_says_so_at_once_and_once_in_an_interval() {
    let mut node = Node::new();
    node.trace("t1", "web", 600).pod("p1", "web", 11).pod("p2", "web", 12).wait(3);
    let written = node.reports.len();
    node.fake().receive("t1", 1000);
    node.gone("p1").step();
    assert_eq!(node.reports.len(), written, "there is another pod");
    node.gone("p2").step();
    let report = node.last("t1");
    assert_eq!((node.reports.len(), report.active_pods), (written + 1, 0));
    assert_eq!((report.totals.rx_bytes, report.is_final), (1000, false));
    // Pods that come and go all the time cause no further early reports.
    for _ in 0..5 {
        node.pod("p3", "web", 13).step();
        node.gone("p3").step();
    }
    assert_eq!(node.reports.len(), written + 1);
    node.wait(11);
    assert_eq!(node.reports.len(), written + 2);
    node.pod("p4", "web", 14).step();
    node.gone("p4").step();
    assert_eq!(node.reports.len(), written + 3);
}

#[test]
fn the_last_report_has_everything_and_is_the_last() {
    let mut node = Node::new();
    node.trace("t1", "web", 60).pod("p1", "web", 11).step();
    node.fake().receive("t1", 1000);
    node.wait(60);
    assert_eq!((node.last("t1").is_final, node.last("t1").totals.rx_bytes), (true, 1000));
    let count = node.reports.len();
    node.trace("t1", "web", 6000).pod("p2", "web", 12).wait(60).wait(60);
    assert_eq!(node.reports.len(), count, "a trace that was made longer after its end stays ended");
}

#[test]
fn one_that_is_made_longer_in_time_goes_on() {
    let mut node = Node::new();
    node.trace("t1", "web", 60).pod("p1", "web", 11).step();
    let longer =
        Trace { duration: Duration::from_secs(120), ..node.state.trace(&"t1".into()).unwrap().clone() };
    node.wait(59).apply(Event::Trace(Box::new(longer))).wait(1);
    assert_eq!(node.seen("t1"), Seen::Counting);
    node.wait(60);
    assert_eq!(node.seen("t1"), Seen::Ended);
}

#[test]
fn a_deleted_trace_is_written_no_more_unless_its_time_was_over() {
    let mut node = Node::new();
    node.trace("t1", "web", 60).trace("t2", "web", 60).pod("p1", "web", 11).step();
    node.apply(Event::TraceGone("t1".into())).step();
    assert_eq!(node.forgotten, ["t1"]);
    // The controller closes the trace at its end, while this node is slightly late.
    node.now.time = node.now.time.checked_add(Duration::from_secs(60)).unwrap();
    node.apply(Event::TraceGone("t2".into())).step();
    assert!(node.last("t2").is_final);
    assert_eq!(node.forgotten, ["t1"]);
}

#[test]
fn a_refusal_is_told_at_once_whatever_its_length() {
    let mut node = Node::new();
    node.fake().refuses = Some(2000);
    node.trace("t1", "web", 60).pod("p1", "web", 11).wait(3);
    let refused = node.last("t1").refused.clone().expect("a refusal");
    assert_eq!(refused.reason, "KernelNotSupported");
    assert!(
        refused.message.chars().count() <= traffictrace_crd::REFUSED_MESSAGE,
        "{}",
        refused.message.len()
    );
    // Traffic until the kernel accepted the trace may be missing, and the report says so.
    node.fake().refuses = None;
    node.wait(31).wait(1);
    let report = node.last("t1");
    assert_eq!(
        (report.refused.as_ref(), report.interruptions[0].reason.as_str()),
        (None, "KernelNotSupported")
    );
    let since = report.interruptions[0].since.as_ref().unwrap().0;
    assert_eq!(since, Timestamp::UNIX_EPOCH, "since it was refused first");
}

#[test]
fn a_change_that_the_kernel_refuses_is_named_and_harms_nothing() {
    let mut node = Node::new();
    node.trace("t1", "web", 600).pod("p1", "web", 11).step();
    node.fake().receive("t1", 10);
    node.fake().refuses = Some(10);
    node.pod("p2", "web", 12).wait(3);
    let report = node.last("t1");
    assert_eq!((report.totals.rx_bytes, report.refused.as_ref()), (10, None));
    assert!(
        report.not_enforced[0].contains("the kernel refused the last change"),
        "{:?}",
        report.not_enforced
    );
}

#[test]
fn a_spec_that_makes_no_sense_is_named_and_the_old_one_goes_on() {
    let mut node = Node::new();
    node.trace("t1", "web", 600).pod("p1", "web", 11).step();
    node.apply(Event::Unusable("t1".into(), "spec.ports: 90-80".into())).wait(3);
    assert_eq!(node.last("t1").not_enforced, ["spec.ports: 90-80"]);
    node.trace("t1", "web", 600).wait(11);
    assert!(node.last("t1").not_enforced.is_empty());
}

#[test]
fn a_trace_beyond_its_namespaces_share_gives_way_and_keeps_its_numbers() {
    let mut node = Node::new();
    node.pod("pa", "a", 1).pod("pb", "b", 2);
    for number in 0..64 {
        node.trace(&format!("a{number:02}"), "a", 6000);
    }
    node.step();
    assert_eq!(node.fake().sessions.len(), 64);
    for number in 0..64 {
        node.fake().receive(&format!("a{number:02}"), 1000);
    }
    node.wait(3);
    node.trace("b00", "b", 60).step();
    assert_eq!((node.seen("b00"), node.fake().sessions.len()), (Seen::Counting, 64));
    let gave = (0..64).map(|at| format!("a{at:02}")).find(|uid| node.seen(uid) == Seen::Refused);
    let gave = gave.expect("one of the crowd gave way");
    let report = node.last(&gave);
    assert_eq!(report.refused.as_ref().unwrap().reason, "TooManySessions");
    assert_eq!((report.totals.rx_bytes, row_bytes(report)), (1000, 1000), "what it counted stays");
    // The trace that got the session ends, and the one that gave it up counts again.
    node.wait(60).wait(1);
    assert_eq!(node.seen(&gave), Seen::Counting);
    node.fake().receive(&gave, 5);
    node.wait(11);
    let report = node.last(&gave);
    assert_eq!((report.totals.rx_bytes, report.base.as_ref().unwrap().rx_bytes), (1005, 1000));
    assert_eq!(report.interruptions[0].reason, "TooManySessions");
}

#[test]
fn with_no_trace_of_its_namespace_a_pod_is_only_noted() {
    let mut node = Node::new();
    node.trace("t1", "web", 600).step();
    node.pod("p1", "web", 11).step();
    let pod = node.state.pods["p1"].clone();
    let other = Pod { uid: "p2".into(), namespace: "other".into(), ..pod };
    node.apply(Event::Pod(Box::new(other)));
    assert!(!node.state.stale, "a pod of another namespace");
    let pod = Pod { uid: "p3".into(), ..node.state.pods["p1"].clone() };
    node.apply(Event::Pod(Box::new(pod)));
    assert!(node.state.stale);
}

#[test]
fn a_trace_that_waits_for_the_controller_begins_when_its_metadata_says_so() {
    let mut node = Node::new();
    node.wait(600).pod("p1", "web", 11);
    let waiting = Trace { started: None, ..session::example("t1") };
    node.apply(Event::Trace(Box::new(waiting))).wait(1);
    assert_eq!(node.seen("t1"), Seen::Idle);
    let start = serde_json::json!({
        "annotations": { traffictrace_crd::START_TIME_ANNOTATION: node.now.time.to_string() },
    });
    node.apply(Event::Metadata("t1".into(), Box::new(serde_json::from_value(start).unwrap()))).step();
    assert_eq!(node.seen("t1"), Seen::Counting);
}
