//! Profiles of a trace that asks for stacks.

use traffictrace_crd::{StacksSpec, TrafficTraceProfileSpec};

use super::*;

fn asking(uid: &str) -> Trace {
    Trace { stacks: Some(StacksSpec::default()), ..session::example(uid) }
}

/// Makes a node count `t1`, which asks for stacks and ends after ten minutes.
fn counting(mut node: Node) -> Node {
    node.apply(Event::Trace(Box::new(asking("t1")))).pod("p1", "web", 11).step();
    node
}

/// The newest profile.
fn last(node: &Node) -> &TrafficTraceProfileSpec {
    &node.profiles.last().expect("a profile").object().spec
}

#[test]
fn profiles_are_made_rarely_and_at_the_end() {
    let mut node = counting(Node::new());
    node.wait(5);
    node.fake().receive("t1", 100);
    node.wait(54);
    assert!(node.profiles.is_empty(), "none before a minute is over");
    node.wait(20);
    assert_eq!((node.profiles.len(), last(&node).bytes.received, last(&node).is_final), (1, 100, false));
    node.wait(300);
    assert_eq!(node.profiles.len(), 1, "nothing was new");
    for _ in 0..100 {
        node.fake().receive("t1", 1);
        node.wait(1);
    }
    assert!((2..=3).contains(&node.profiles.len()), "{} in 100 s", node.profiles.len());
    node.wait(200);
    assert_eq!(node.seen("t1"), Seen::Ended);
    assert_eq!((last(&node).bytes.received, last(&node).is_final), (200, true));
    let made = node.profiles.len();
    node.wait(200);
    assert_eq!(node.profiles.len(), made, "the last one is the last");
    // The last report has the same sums.
    let report = node.last("t1");
    let stacks = report.stacks.as_ref().expect("sums of stacks");
    assert!(report.is_final);
    assert_eq!((stacks.bytes, stacks.stacks, stacks.bytes_at_own_call), (200, 1, 200));
}

#[test]
fn whoever_does_not_ask_gets_none() {
    let mut node = Node::new();
    node.trace("t1", "web", 100).pod("p1", "web", 11).step();
    node.fake().receive("t1", 100);
    node.wait(150);
    assert_eq!(node.seen("t1"), Seen::Ended);
    assert!(node.profiles.is_empty());
    assert_eq!(node.last("t1").stacks, None);
}

#[test]
fn traffic_of_containers_that_are_not_wanted_is_left_out() {
    let mut node = Node::new();
    let named = Trace { containers: vec!["main".into()], ..asking("t1") };
    node.apply(Event::Trace(Box::new(named))).pod("p1", "web", 11).step();
    node.fake().receive("t1", 100);
    node.wait(700);
    assert_eq!(last(&node).bytes.received, 0, "its container is not known");
}

#[test]
fn an_agent_that_is_told_to_end_shows_what_it_has() {
    let mut node = counting(Node::new());
    node.fake().receive("t1", 70);
    let actions = node.state.shut_down(node.now);
    let [Action::Profile(profile), Action::Report { report, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    let spec = &profile.object().spec;
    assert_eq!((spec.bytes.received, spec.is_final), (70, false));
    assert_eq!(report.spec.stacks.as_ref().map(|stacks| stacks.bytes), Some(70));
}

#[test]
fn the_next_agent_adds_to_the_sums_and_its_profile_is_of_its_own() {
    let mut first = counting(Node::new());
    first.fake().receive("t1", 70);
    let actions = first.state.shut_down(first.now);
    let Some(Action::Report { report, .. }) = actions.last() else { panic!("{actions:?}") };
    let kept = report.spec.clone();
    let mut node = counting(Node::after(vec![kept.clone()], 20));
    node.wait(3);
    assert_eq!(node.last("t1").stacks, kept.stacks, "what was shown stays");
    node.fake().receive("t1", 5);
    node.wait(80);
    assert_eq!(last(&node).bytes.received, 5, "the writer has that of before");
    assert!(last(&node).epoch > kept.epoch, "and knows by the epoch that it is another run's");
    node.wait(20);
    assert_eq!(node.last("t1").stacks.as_ref().map(|stacks| stacks.bytes), Some(75));
}

#[test]
fn a_trace_that_ended_without_an_agent_has_its_profile_closed() {
    let mut first = counting(Node::new());
    first.fake().receive("t1", 70);
    let actions = first.state.shut_down(first.now);
    let Some(Action::Report { report, .. }) = actions.last() else { panic!("{actions:?}") };
    let mut node = counting(Node::after(vec![report.spec.clone()], 700));
    assert_eq!((node.seen("t1"), node.profiles.len()), (Seen::Ended, 1));
    assert!(last(&node).is_final && last(&node).epoch > report.spec.epoch);
    assert!(node.profiles[0].clone().pack().says_nothing(), "the writer has that of before");
    node.wait(100);
    assert_eq!(node.profiles.len(), 1);
}

/// Asserts that the last profile only marks the previous one as final.
fn assert_closed(node: &Node, before: i64) {
    assert!(last(node).is_final && last(node).epoch > before, "{:?}", last(node));
    let closing = node.profiles.last().cloned().map(Profile::pack);
    assert!(closing.is_some_and(|closing| closing.says_nothing()));
}

#[test]
fn a_trace_that_gave_its_session_away_has_its_profile_closed_at_its_end() {
    let mut node = Node::new();
    // One namespace has all sessions, until another namespace gets its share.
    for at in 0..traffictrace_ebpf::layout::SESSIONS {
        node.apply(Event::Trace(Box::new(asking(&format!("t{at:02}")))));
    }
    node.pod("p1", "web", 11).step();
    for at in 0..traffictrace_ebpf::layout::SESSIONS {
        node.fake().receive(&format!("t{at:02}"), 10);
    }
    for at in 0..8 {
        node.trace(&format!("other{at}"), "shop", 300);
    }
    node.pod("p2", "shop", 22).step();
    let refused: Vec<String> = (0..traffictrace_ebpf::layout::SESSIONS)
        .map(|at| format!("t{at:02}"))
        .filter(|uid| node.seen(uid) == Seen::Refused)
        .collect();
    assert!(!refused.is_empty());
    let of = |node: &Node, uid: &str| -> Vec<Profile> {
        let profiles = node.profiles.iter();
        profiles.filter(|profile| profile.object().spec.trace_uid == uid).cloned().collect()
    };
    for uid in &refused {
        let given = of(&node, uid);
        assert_eq!(given.len(), 1, "what it had, when it gave way");
        assert_eq!((given[0].object().spec.bytes.received, given[0].object().spec.is_final), (10, false));
    }
    // All traces of the first namespace end at once, so that none of the refused ones gets a session before its end.
    for uid in (0..traffictrace_ebpf::layout::SESSIONS).map(|at| format!("t{at:02}")) {
        let ends = Trace { duration: Duration::from_secs(30), ..asking(&uid) };
        node.apply(Event::Trace(Box::new(ends)));
    }
    node.wait(31);
    for uid in &refused {
        assert_eq!(node.seen(uid), Seen::Ended);
        let all = of(&node, uid);
        let (first, closing) = (&all[0].object().spec, &all[all.len() - 1]);
        assert!(closing.object().spec.is_final && closing.object().spec.epoch > first.epoch);
        assert!(closing.clone().pack().says_nothing(), "the writer has what it had");
    }
}

#[test]
fn a_trace_that_is_refused_from_the_start_has_no_profile_and_says_why() {
    let mut node = Node::new();
    node.fake().refuses = Some(10);
    let mut node = counting(node);
    node.wait(700);
    assert_eq!(node.seen("t1"), Seen::Ended);
    assert!(node.profiles.is_empty());
    assert!(node.last("t1").is_final && node.last("t1").refused.is_some());
}

#[test]
fn an_agent_that_is_refused_closes_the_profile_of_the_one_before() {
    let mut first = counting(Node::new());
    first.fake().receive("t1", 70);
    let actions = first.state.shut_down(first.now);
    let Some(Action::Report { report, .. }) = actions.last() else { panic!("{actions:?}") };
    // In the first round the kernel refuses the trace, in the second only its stacks.
    for refuses in [Some(10), None] {
        let mut node = Node::after(vec![report.spec.clone()], 20);
        (node.fake().refuses, node.fake().refuses_stacks) = (refuses, refuses.is_none());
        let mut node = counting(node);
        node.wait(700);
        assert_eq!((node.seen("t1"), node.profiles.len()), (Seen::Ended, 1), "{refuses:?}");
        assert_closed(&node, report.spec.epoch);
    }
}

#[test]
fn a_trace_whose_filters_change_keeps_its_profile() {
    let mut node = counting(Node::new());
    node.fake().receive("t1", 70);
    let mut changed = asking("t1");
    changed.filter.ports = vec![443..=443];
    node.apply(Event::Trace(Box::new(changed))).step();
    node.fake().receive("t1", 7);
    node.wait(700);
    assert_eq!((last(&node).bytes.received, last(&node).is_final), (77, true));
}

#[test]
fn the_controller_says_how_often_profiles_are_made() {
    let meta = |annotations: serde_json::Value| {
        let meta = serde_json::json!({ "annotations": annotations });
        Event::Metadata("t1".into(), Box::new(serde_json::from_value(meta).unwrap()))
    };
    let mut node = counting(Node::new());
    let slow = serde_json::json!({ traffictrace_crd::PROFILE_INTERVAL_ANNOTATION: "300" });
    node.apply(meta(slow));
    let mut made = 0;
    for _ in 0..599 {
        node.fake().receive("t1", 1);
        node.wait(1);
        made = node.profiles.len();
    }
    // The first profile comes after 60 to 315 s, the next ones 300 to 375 s later each.
    assert!((1..=2).contains(&made), "{made}");
    node.wait(2);
    assert_eq!((node.profiles.len(), last(&node).is_final), (made + 1, true));
}

#[test]
fn a_kernel_that_cannot_take_stacks_counts_the_rest() {
    for (refuses_http, parts) in [(false, &["stacks: "][..]), (true, &["http: ", "stacks: "])] {
        let mut node = Node::new();
        let fake = node.fake();
        (fake.refuses_stacks, fake.refuses_http) = (true, refuses_http);
        let both = Trace { http: Some(Default::default()), ..asking("t1") };
        node.apply(Event::Trace(Box::new(both))).pod("p1", "web", 11).step();
        assert_eq!(node.seen("t1"), Seen::Counting);
        node.fake().receive("t1", 100);
        node.wait(20);
        let report = node.last("t1");
        assert_eq!((report.totals.rx_bytes, report.stacks.as_ref()), (100, None));
        assert_eq!(report.http.is_none(), refuses_http);
        let told = &report.not_enforced;
        assert_eq!(told.len(), parts.len(), "{told:?}");
        for (told, part) in told.iter().zip(parts) {
            assert!(told.starts_with(part), "{told}");
        }
        assert!(told.last().is_some_and(|told| told.contains("take stacks")), "{told:?}");
        node.wait(700);
        assert!(node.profiles.is_empty());
    }
}

#[test]
fn an_agent_that_may_not_look_into_processes_says_so_and_takes_none() {
    let mut node = Node::new();
    node.state.settings.without_stacks = Some("set agent.stacks=true".into());
    let mut node = counting(node);
    assert!(node.fake().spec(&"t1".into()).is_some_and(|spec| spec.stacks.is_none()));
    node.fake().receive("t1", 100);
    node.trace("t2", "web", 600).wait(20);
    let report = node.last("t1");
    assert_eq!((report.totals.rx_bytes, report.stacks.as_ref()), (100, None));
    assert_eq!(report.not_enforced, ["stacks: set agent.stacks=true"]);
    assert!(node.last("t2").not_enforced.is_empty(), "it does not ask for stacks");
}

#[test]
fn tls_that_is_denied_is_not_looked_for() {
    for denies_tls in [false, true] {
        let mut node = Node::new();
        node.state.settings.denies_tls = denies_tls;
        let http = traffictrace_crd::HttpSpec { tls: true, ..Default::default() };
        let trace = Trace { http: Some(http), ..session::example("t1") };
        node.apply(Event::Trace(Box::new(trace))).pod("p1", "web", 11).step();
        let spec = node.fake().spec(&"t1".into()).expect("a session");
        assert_eq!(spec.http.as_ref().map(|http| http.tls), Some(!denies_tls));
    }
}
