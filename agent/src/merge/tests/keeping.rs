//! Shown totals never fall.

use super::*;

#[test]
fn a_report_that_grows_replaces_the_one_before() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 10)]));
    case.status_at(1);
    case.apply(report("n1", &[("a", 30)]));
    let status = case.status_at(2);
    assert_eq!((status.totals.rx_bytes, status.top_flows[0].rx_bytes, status.flows_total), (30, 30, 1));
}

#[test]
fn an_agent_that_begins_again_adds_to_what_it_had() {
    let mut case = Case::new();
    case.live(&[("n1", 1)]);
    case.apply(report("n1", &[("a", 100), ("gone", 50)]));
    case.apply(report("n2", &[("b", 10)]));
    case.status_at(1);
    case.apply(report("n1", &[("a", 5)]));
    let status = case.status_at(2);
    assert_eq!(status.totals.rx_bytes, 165);
    let flows: Vec<(&str, i64, i64)> =
        status.top_flows.iter().map(|f| (f.pod.as_str(), f.rx_bytes, f.rx_bytes_per_second)).collect();
    assert_eq!(flows, [("a", 105, 7), ("gone", 50, 0), ("b", 10, 7)]);
    assert_eq!((status.nodes_matched, status.nodes_reporting, status.pods_matched), (2, 2, 3));
    case.apply(report("n1", &[("a", 25)]));
    assert_eq!(case.status_at(3).totals.rx_bytes, 185);
}

#[test]
fn a_node_that_refuses_after_it_traced_keeps_its_numbers() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 100)]));
    case.status_at(1);
    case.apply(refusing("n1"));
    let status = case.status_at(2);
    assert_eq!((status.totals.rx_bytes, status.phase), (100, Some(Phase::Running)));
    assert_eq!(condition_of(&status, "Degraded"), "True RefusedByNodes");
}

#[test]
fn totals_do_not_fall_when_controller_and_report_are_both_new() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 100)]));
    case.apply(report("n2", &[("b", 10)]));
    case.status_at(1);
    case.reports = NodeReports::default();
    case.apply(report("n2", &[("b", 12)]));
    let status = case.status_at(2);
    assert_eq!((status.totals.rx_bytes, status.totals.connections, status.flows_total), (110, 2, 2));
    assert_eq!(status.phase, Some(Phase::Running));
}

#[test]
fn losses_beyond_what_a_status_lists_are_one_reason() {
    let mut case = Case::new();
    let mut many = report("n1", &[("a", 1)]);
    many.lost = (0..30).map(|at| (format!("reason{at:02}"), 1)).collect();
    case.apply(many);
    let status = case.status_at(1);
    assert_eq!(status.lost.len(), 15);
    assert_eq!(status.lost.values().sum::<i64>(), 30);
    assert_eq!(status.lost["other"], 16);
}
