//! HTTP requests of a trace that asks for them.

use traffictrace_crd::{EndpointRow, HttpReport, HttpSpec, decode_endpoints};

use super::*;

fn asking(uid: &str) -> Trace {
    Trace { http: Some(HttpSpec::default()), ..session::example(uid) }
}

/// Makes a node count `t1`, which asks for requests.
fn counting(mut node: Node) -> Node {
    node.apply(Event::Trace(Box::new(asking("t1")))).pod("p1", "web", 11).step();
    node
}

fn http(report: &TrafficTraceReportSpec) -> &HttpReport {
    report.http.as_ref().expect("the report has requests")
}

fn rows(report: &TrafficTraceReportSpec) -> Vec<EndpointRow> {
    let http = http(report);
    decode_endpoints(&http.columns, &http.endpoints).collect::<Result<_, _>>().unwrap()
}

/// Returns each path with its number of requests.
fn paths(report: &TrafficTraceReportSpec) -> Vec<(String, i64)> {
    rows(report).into_iter().map(|row| (row.path.clone().unwrap(), row.total())).collect()
}

#[test]
fn requests_are_reported_where_they_are_asked_for() {
    let mut node = counting(Node::new());
    node.trace("t2", "web", 600).step();
    for uid in ["t1", "t2"] {
        node.fake().answer(uid, "/users/42", 200);
        node.fake().answer(uid, "/users/43", 503);
    }
    node.wait(3);
    let report = node.last("t1");
    assert_eq!(paths(report), [("/users/{id}".to_owned(), 2)]);
    let totals = &http(report).totals;
    assert_eq!((totals.requests, totals.by_class["2xx"], totals.by_class["5xx"]), (2, 1, 1));
    assert_eq!((totals.request_bytes, totals.response_bytes), (200, 2000));
    assert_eq!(node.last("t2").http, None);
}

#[test]
fn the_next_agent_goes_on_and_counts_nothing_twice() {
    let mut first = counting(Node::new());
    for _ in 0..3 {
        first.fake().answer("t1", "/a", 200);
    }
    first.fake().answer("t1", "/b", 404);
    first.fake().sessions.get_mut("t1").unwrap().lost_records = 2;
    first.wait(3);
    let last = first.last("t1").clone();

    let mut node = counting(Node::after(vec![last.clone()], 20));
    node.fake().answer("t1", "/b", 200);
    node.fake().sessions.get_mut("t1").unwrap().lost_records = 5;
    node.wait(3);
    let report = node.last("t1");
    assert_eq!(paths(report), [("/a".to_owned(), 3), ("/b".to_owned(), 2)]);
    assert!(rows(report).iter().all(|row| row.complete), "the last report had every row");
    let totals = &http(report).totals;
    assert_eq!((totals.requests, totals.by_class["4xx"], totals.lost["records"]), (5, 1, 7));
    assert_eq!(http(report).base.as_ref(), Some(&http(&last).totals));
    // A third agent that counts nothing new reports the same numbers.
    let last = report.clone();
    let mut third = counting(Node::after(vec![last.clone()], 40));
    third.wait(3);
    assert_eq!(http(third.last("t1")).totals, http(&last).totals);
    assert_eq!(http(third.last("t1")).endpoints, http(&last).endpoints);
}

#[test]
fn requests_that_no_row_of_the_last_report_has_stay_in_the_totals() {
    let spec = HttpSpec { top_endpoints: 1, ..HttpSpec::default() };
    let few = || Trace { http: Some(spec.clone()), ..session::example("t1") };
    let mut first = Node::new();
    first.apply(Event::Trace(Box::new(few()))).pod("p1", "web", 11).step();
    for path in ["/a", "/a", "/b"] {
        first.fake().answer("t1", path, 200);
    }
    first.wait(3);
    let last = first.last("t1").clone();
    assert_eq!((paths(&last), http(&last).endpoints_total), (vec![("/a".to_owned(), 2)], 2));
    let mut node = Node::after(vec![last], 20);
    node.apply(Event::Trace(Box::new(few()))).pod("p1", "web", 11).step();
    for _ in 0..3 {
        node.fake().answer("t1", "/b", 200);
    }
    node.wait(3);
    let report = node.last("t1");
    assert_eq!((http(report).totals.requests, paths(report)), (6, vec![("/b".to_owned(), 3)]));
    assert!(!rows(report)[0].complete, "one more was counted before");
}

#[test]
fn a_kernel_that_cannot_show_http_counts_flows_and_says_so() {
    let mut node = Node::new();
    node.fake().refuses_http = true;
    let mut node = counting(node);
    node.fake().receive("t1", 77);
    node.wait(3);
    let report = node.last("t1");
    assert_eq!((node.seen("t1"), report.totals.rx_bytes, &report.http), (Seen::Counting, 77, &None));
    assert_eq!(report.not_enforced.len(), 1);
    let why = &report.not_enforced[0];
    assert!(why.starts_with("http: ") && why.contains("bpf_loop"), "{why}");
    // A later pod changes the selection, which the kernel accepts.
    node.pod("p2", "web", 12).wait(11);
    assert_eq!(node.last("t1").not_enforced.len(), 1);
    assert_eq!(node.fake().sessions.len(), 1);
}

#[test]
fn requests_stay_when_the_next_agent_cannot_count_any() {
    let mut first = counting(Node::new());
    first.fake().answer("t1", "/a", 200);
    first.wait(3);
    let last = first.last("t1").clone();
    let mut node = Node::after(vec![last.clone()], 20);
    node.fake().refuses_http = true;
    let mut node = counting(node);
    node.wait(3);
    let kept = http(node.last("t1"));
    assert_eq!((&kept.totals, &kept.endpoints), (&http(&last).totals, &http(&last).endpoints));
    assert_eq!(kept.base.as_ref(), Some(&http(&last).totals));
}

#[test]
fn what_was_counted_stays_while_the_trace_is_refused_and_after() {
    let mut first = counting(Node::new());
    first.fake().answer("t1", "/a", 200);
    first.wait(3);
    let mut node = Node::after(vec![first.last("t1").clone()], 20);
    node.fake().refuses = Some(10);
    let mut node = counting(node);
    node.wait(3);
    assert!(node.last("t1").refused.is_some());
    assert_eq!(paths(node.last("t1")), [("/a".to_owned(), 1)]);
    node.fake().refuses = None;
    node.wait(31);
    node.fake().answer("t1", "/a", 200);
    node.wait(11);
    assert_eq!(paths(node.last("t1")), [("/a".to_owned(), 2)]);
}

#[test]
fn the_last_report_has_the_requests() {
    let mut node = counting(Node::new());
    node.fake().answer("t1", "/a", 200);
    node.wait(601);
    let report = node.last("t1");
    assert_eq!((report.is_final, http(report).totals.requests), (true, 1));
}

#[test]
fn an_agent_that_cannot_read_tls_says_so_where_it_is_asked_for() {
    for (tls, told) in [(false, vec![]), (true, vec!["http.tls: no rights".to_owned()])] {
        let mut node = Node::new();
        let http = HttpSpec { tls, ..HttpSpec::default() };
        let trace = Trace { http: Some(http), ..session::example("t1") };
        node.apply(Event::Trace(Box::new(trace))).pod("p1", "web", 11).wait(3);
        assert_eq!(node.last("t1").not_enforced, told);
        assert!(node.last("t1").http.is_some());
    }
}
