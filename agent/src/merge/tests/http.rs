use traffictrace_crd::{
    EndpointRow, HttpProtocol, HttpReport, HttpSide, HttpSpec, HttpStatus, HttpTotals, TlsProcesses,
    by_class, condition_type, endpoint_column_names,
};
use traffictrace_http::endpoint::Histogram;

use super::*;

/// Makes a row of successful requests that took `microseconds` each.
fn endpoint(pod: &str, requests: i64, microseconds: u64) -> EndpointRow {
    let mut durations = Histogram::default();
    (0..requests).for_each(|_| durations.record(microseconds));
    EndpointRow {
        pod: pod.into(),
        container: Some("app".into()),
        command: Some("server".into()),
        side: HttpSide::Server,
        protocol: HttpProtocol::Http11,
        method: Some("GET".into()),
        host: Some("shop".into()),
        path: Some("/carts/{id}".into()),
        requests: [0, requests, 0, 0, 0, 0, 0],
        grpc_failed: 0,
        request_bytes: 100 * requests,
        response_bytes: 1000 * requests,
        durations: durations.to_text(),
        complete: true,
    }
}

/// Makes the totals of rows, and of `more` requests that no row has.
fn totals(rows: &[EndpointRow], more: i64) -> HttpTotals {
    let requests = rows.iter().map(EndpointRow::total).sum::<i64>() + more;
    let by_class = by_class(&[0, requests, 0, 0, 0, 0, 0]);
    HttpTotals { requests, by_class, ..HttpTotals::default() }
}

fn with_rows(node: &str, rows: &[EndpointRow]) -> TrafficTraceReportSpec {
    let http = HttpReport {
        totals: totals(rows, 0),
        columns: endpoint_column_names(),
        endpoints: rows.iter().map(EndpointRow::encode).collect(),
        endpoints_total: i64::try_from(rows.len()).unwrap(),
        ..HttpReport::default()
    };
    TrafficTraceReportSpec { http: Some(http), ..report(node, &[("p", 5)]) }
}

fn case(top_endpoints: i32) -> Case {
    let mut case = Case::new();
    case.trace.spec.http = Some(HttpSpec { top_endpoints, ..HttpSpec::default() });
    case
}

fn http(status: &TrafficTraceStatus) -> &HttpStatus {
    status.http.as_ref().expect("the status has requests")
}

fn pods(status: &TrafficTraceStatus) -> Vec<(&str, i64)> {
    http(status).top_endpoints.iter().map(|row| (row.pod.as_str(), row.requests)).collect()
}

#[test]
fn the_first_of_all_nodes_are_the_first_of_the_cluster() {
    let mut case = case(2);
    case.apply(with_rows("n1", &[endpoint("a", 50, 100), endpoint("b", 40, 100)]));
    case.apply(with_rows("n2", &[endpoint("c", 1200, 31), endpoint("d", 1, 100)]));
    let status = case.status_at(1);
    assert_eq!(pods(&status), [("c", 1200), ("a", 50)]);
    assert_eq!((http(&status).totals.requests, http(&status).endpoints_total), (1291, 4));
    assert_eq!(status.summary.http, "1,291 requests");
    assert_eq!(status.summary.lost, "none");
    let first = &http(&status).top_endpoints[0];
    assert_eq!((first.namespace.as_str(), first.p50_microseconds, first.max_microseconds), ("shop", 31, 31));
    assert!(!http(&status).truncated);
}

#[test]
fn a_trace_that_asks_for_none_shows_none() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 5)]));
    let status = case.status_at(1);
    assert_eq!((status.http, status.summary.http.as_str(), status.summary.lost.as_str()), (None, "", "none"));
}

#[test]
fn what_a_lost_report_had_is_added_once_with_its_durations() {
    let mut case = case(5);
    let run = |epoch, rows: &[EndpointRow]| TrafficTraceReportSpec { epoch, ..with_rows("n1", rows) };
    case.apply(run(1, &[endpoint("a", 10, 20)]));
    assert_eq!(pods(&case.status_at(1)), [("a", 10)]);
    // The next agent found no report, so it begins at zero.
    case.apply(run(2, &[endpoint("a", 30, 5), endpoint("b", 1, 5)]));
    let status = case.status_at(2);
    assert_eq!((pods(&status), http(&status).totals.requests), (vec![("a", 40), ("b", 1)], 41));
    let row = &http(&status).top_endpoints[0];
    assert_eq!((row.p50_microseconds, row.p90_microseconds, row.max_microseconds), (5, 20, 20));
    // The third agent found the second one's report.
    let mut third = run(3, &[endpoint("a", 31, 5)]);
    let base = totals(&[endpoint("a", 30, 5), endpoint("b", 1, 5)], 0);
    let http_of = third.http.as_mut().unwrap();
    (http_of.base, http_of.totals) = (Some(base), totals(&[endpoint("a", 31, 5)], 1));
    case.apply(third);
    let status = case.status_at(3);
    assert_eq!((http(&status).totals.requests, pods(&status)[0]), (42, ("a", 41)));
}

#[test]
fn shown_requests_never_fall() {
    let mut case = case(5);
    case.apply(with_rows("n1", &[endpoint("a", 10, 20)]));
    case.status_at(1);
    // The controller has restarted, and the report of n1 is gone, but the totals do not fall.
    case.reports = NodeReports::default();
    case.apply(with_rows("n2", &[endpoint("b", 1, 20)]));
    let status = case.status_at(2);
    assert_eq!((http(&status).totals.requests, http(&status).totals.by_class["2xx"]), (10, 10));
}

#[test]
fn what_is_missing_is_told() {
    let mut case = case(5);
    let mut lossy = with_rows("n1", &[endpoint("a", 10, 20)]);
    let totals = &mut lossy.http.as_mut().unwrap().totals;
    totals.unobserved.insert("malformed".into(), 2);
    totals.lost.insert("records".into(), 3);
    totals.by_class.insert("5xx".into(), 5);
    case.apply(lossy);
    let status = case.status_at(1);
    assert_eq!(status.summary.lost, "HTTP: unobserved: malformed 2; lost: records 3");
    assert_eq!(condition_of(&status, condition_type::DEGRADED), "True Lost");
    assert!(condition(&status, condition_type::DEGRADED).message.contains("malformed 2"));
    assert!(status.summary.http.ends_with("requests, 5 5xx"), "{}", status.summary.http);
}

#[test]
fn a_node_that_cannot_count_requests_is_told() {
    let mut case = case(5);
    case.apply(with_rows("n1", &[endpoint("a", 10, 20)]));
    let why = "http: the kernel is too old".to_owned();
    case.apply(TrafficTraceReportSpec { not_enforced: vec![why], ..report("n2", &[("b", 5)]) });
    let status = case.status_at(1);
    assert_eq!(status.summary.lost, "HTTP not counted on 1 node");
    assert_eq!(condition_of(&status, condition_type::DEGRADED), "True NotEnforced");
    let message = &condition(&status, condition_type::DEGRADED).message;
    assert!(message.contains("n2") && message.contains("http: the kernel is too old"), "{message}");
}

#[test]
fn tls_that_cannot_be_read_is_told_where_it_is_asked_for() {
    let entry = |readable, pod: &str| TlsProcesses {
        readable,
        pod: pod.into(),
        command: Some("curl".into()),
        reason: (!readable).then(|| "GnuTLS is not known".into()),
        processes: 1,
        ..TlsProcesses::default()
    };
    for tls in [false, true] {
        let mut case = case(5);
        case.trace.spec.http = Some(HttpSpec { tls, ..HttpSpec::default() });
        for (node, entries) in [("n1", vec![entry(true, "a")]), ("n2", vec![entry(false, "b\u{1b}")])] {
            let mut report = with_rows(node, &[]);
            let http = report.http.as_mut().unwrap();
            (http.tls_total, http.tls) = (1, entries);
            case.apply(report);
        }
        let status = case.status_at(1);
        let shown: Vec<_> = http(&status).tls.iter().map(|entry| entry.pod.as_str()).collect();
        assert_eq!((shown, http(&status).tls_total), (vec!["b?", "a"], 2));
        let degraded = condition_of(&status, condition_type::DEGRADED);
        assert_eq!(degraded, if tls { "True NotVisible" } else { "False AsAsked" });
    }
}

#[test]
fn rows_that_cannot_be_read_are_counted_and_stop_nothing() {
    let mut case = case(5);
    let broken = EndpointRow { durations: "!".into(), ..endpoint("b", 3, 20) };
    case.apply(with_rows("n1", &[endpoint("a", 10, 20), broken]));
    let status = case.status_at(1);
    assert_eq!(pods(&status), [("a", 10)]);
    assert_eq!(status.lost, [("unreadableEndpoints".to_owned(), 1)].into());
}

/// Forged reports must not lead to a status that the API server refuses, because it would then refuse all later ones
/// too.
#[test]
fn sums_that_nobody_counted_do_not_reach_the_status() {
    let mut case = case(5);
    for node in 0..4 {
        let mut forged = with_rows(&format!("n{node}"), &[endpoint("a", 10, 20)]);
        let totals = &mut forged.http.as_mut().unwrap().totals;
        for reason in 0..16 {
            totals.by_class.insert(format!("{reason}xx"), 1 << 50);
            totals.by_class.insert("4xx".into(), -7);
            totals.unobserved.insert(format!("reason {node} {reason}"), 1);
            totals.lost.insert(format!("lost {node} {reason}"), if reason == 0 { 2 } else { -5 });
        }
        case.apply(forged);
    }
    let totals = &http(&case.status_at(1)).totals.clone();
    assert!(totals.by_class.keys().all(|class| ["1xx", "2xx", "3xx", "5xx"].contains(&class.as_str())));
    assert_eq!(totals.requests, totals.by_class.values().sum::<i64>());
    assert_eq!(totals.unobserved, [("other".to_owned(), 64)].into());
    assert_eq!(totals.lost, [("other".to_owned(), 8)].into());
}

#[test]
fn a_list_that_a_node_cut_is_truncated_only_where_it_may_matter() {
    let cut = |rows: &[EndpointRow]| {
        let mut report = with_rows("n2", rows);
        report.http.as_mut().unwrap().truncated = true;
        report
    };
    let mut case = case(3);
    case.apply(with_rows("n1", &[endpoint("a", 50, 9), endpoint("b", 40, 9), endpoint("c", 35, 9)]));
    case.apply(cut(&[endpoint("d", 45, 9), endpoint("e", 30, 9)]));
    assert!(!http(&case.status_at(1)).truncated, "what n2 left out is at most 30, less than b");
    case.apply(cut(&[endpoint("d", 46, 9)]));
    assert!(http(&case.status_at(2)).truncated, "what n2 left out may be 46, more than b");
}

#[test]
fn a_status_stays_within_its_budget() {
    for wanted in [1_i32, 20, 100] {
        let mut case = case(wanted);
        let long = "x".repeat(100);
        let rows: Vec<EndpointRow> = (0..wanted)
            .map(|at| EndpointRow {
                path: Some(format!("/{long}/{at}")),
                host: Some(long.clone()),
                ..endpoint("a", 9, 9)
            })
            .collect();
        case.apply(with_rows("n1", &rows));
        let status = case.status_at(1);
        let http = http(&status);
        let (size, wanted) = (serde_json::to_vec(http).unwrap().len(), usize::try_from(wanted).unwrap());
        assert!(size <= 2048 + 450 * wanted, "{size} bytes for {wanted} endpoints");
        assert_eq!(http.truncated, http.top_endpoints.len() < wanted);
        assert!(http.top_endpoints.len() * 2 >= wanted, "{} of {wanted}", http.top_endpoints.len());
        assert_eq!(http.totals.requests, 9 * rows.len() as i64);
    }
}
