//! Tests that shown totals never fall, though reports get lost and agents restart.

use super::*;

/// Makes a report of a later run of the agent, which continued from `base` received bytes.
fn next_run(epoch: i64, base: i64, report: TrafficTraceReportSpec) -> TrafficTraceReportSpec {
    let base = (base > 0).then(|| Totals { rx_bytes: base, ..Default::default() });
    TrafficTraceReportSpec { epoch, base, ..report }
}

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
    case.apply(next_run(1, 0, report("n1", &[("a", 5)])));
    let status = case.status_at(2);
    assert_eq!(status.totals.rx_bytes, 165);
    let flows: Vec<(&str, i64, i64)> =
        status.top_flows.iter().map(|f| (f.pod.as_str(), f.rx_bytes, f.rx_bytes_per_second)).collect();
    assert_eq!(flows, [("a", 105, 7), ("gone", 50, 0), ("b", 10, 7)]);
    assert_eq!(status.flows_total, 3, "the flow of a is the same one");
    assert_eq!((status.nodes_matched, status.nodes_reporting, status.pods_matched), (2, 2, 3));
    case.apply(next_run(1, 0, report("n1", &[("a", 25)])));
    assert_eq!(case.status_at(3).totals.rx_bytes, 185);
}

#[test]
fn an_agent_that_goes_on_is_not_counted_twice() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 100)]));
    case.status_at(1);
    case.apply(next_run(1, 100, report("n1", &[("a", 105)])));
    let status = case.status_at(2);
    assert_eq!((status.totals.rx_bytes, status.top_flows[0].rx_bytes), (105, 105));
}

#[test]
fn a_node_that_refuses_after_it_traced_keeps_its_numbers_and_counts_them_once() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 100)]));
    case.status_at(1);
    let refused = refusing("n1").refused;
    case.apply(next_run(1, 100, TrafficTraceReportSpec { refused, ..report("n1", &[("a", 100)]) }));
    let status = case.status_at(2);
    assert_eq!((status.totals.rx_bytes, status.phase), (100, Some(Phase::Running)));
    assert_eq!(condition_of(&status, "Degraded"), "True RefusedByNodes");
    case.apply(next_run(2, 100, report("n1", &[("a", 107)])));
    let status = case.status_at(3);
    assert_eq!((status.totals.rx_bytes, status.top_flows[0].rx_bytes), (107, 107));
}

#[test]
fn a_report_that_is_older_than_the_one_known_changes_nothing() {
    let mut case = Case::new();
    let of =
        |epoch, sequence, bytes| TrafficTraceReportSpec { epoch, sequence, ..report("n1", &[("a", bytes)]) };
    case.apply(of(2, 7, 50));
    for late in [of(2, 6, 40), of(1, 9, 90)] {
        case.apply(late);
        assert_eq!(case.status_at(1).totals.rx_bytes, 50);
    }
    // A new list of the watch has the known report once more. A report that was deleted is created anew by the same
    // run, with a higher sequence.
    case.apply(of(2, 7, 50));
    case.apply(of(2, 8, 60));
    assert_eq!(case.status_at(2).totals.rx_bytes, 60);
}

#[test]
fn a_run_that_went_on_from_an_older_report_loses_nothing_and_counts_nothing_twice() {
    let mut case = Case::new();
    case.apply(report("n1", &[("a", 100), ("gone", 50)]));
    case.status_at(1);
    // The new run read a report with 80 bytes of `a` alone, and has counted 5 since.
    case.apply(next_run(1, 80, report("n1", &[("a", 85)])));
    let status = case.status_at(2);
    let flows: Vec<(&str, i64)> =
        status.top_flows.iter().map(|flow| (flow.pod.as_str(), flow.rx_bytes)).collect();
    assert_eq!((status.totals.rx_bytes, flows), (155, vec![("a", 100), ("gone", 50)]));
    case.apply(next_run(1, 80, TrafficTraceReportSpec { sequence: 1, ..report("n1", &[("a", 95)]) }));
    let status = case.status_at(3);
    assert_eq!((status.totals.rx_bytes, status.top_flows[0].rx_bytes), (165, 110));
}

/// Tests random runs of an agent with several pods, whose reports are lost, read late, refused and delivered out of
/// order. Totals are exact, and no row exceeds what was counted.
#[test]
fn whatever_happens_to_reports_totals_are_exact_and_rows_never_too_much() {
    let mut random = fastrand::Rng::with_seed(20_261_126);
    for _ in 0..400 {
        let mut case = Case::new();
        case.trace.spec.top_flows = 100;
        let pods = ["a", "b", "c"];
        let mut counted = [0_i64; 3];
        // Reports that the API server, or its cache, may give to an agent that begins.
        let mut stored: Vec<([i64; 3], i64)> = Vec::new();
        let mut sent: Vec<TrafficTraceReportSpec> = Vec::new();
        for epoch in 1..=random.i64(1..6) {
            let from = match random.u8(0..4) {
                0 => None,
                1 if stored.len() > 1 => stored.get(stored.len() - 2).copied(),
                _ => stored.last().copied(),
            };
            let (mut totals, _) = from.unwrap_or_default();
            let base = from.map(|(rows, _)| Totals { rx_bytes: rows.iter().sum(), ..Default::default() });
            stored.clear();
            for sequence in 0..random.i64(1..4) {
                for pod in 0..3 {
                    let bytes = random.i64(0..100);
                    totals[pod] += bytes;
                    counted[pod] += bytes;
                }
                let flows: Vec<(&str, i64)> = pods.into_iter().zip(totals).collect();
                let refused = if random.u8(0..5) == 0 { refusing("n1").refused } else { None };
                let mut report = TrafficTraceReportSpec { epoch, sequence, refused, ..report("n1", &flows) };
                report.totals.connections = 0;
                report.base = base.clone();
                case.apply(report.clone());
                if let Some(late) = sent.get(random.usize(0..sent.len() + 3)) {
                    case.apply(late.clone());
                }
                sent.push(report);
                stored.push((totals, epoch));
            }
            let status = case.status_at(epoch);
            let shown = status.totals.rx_bytes;
            assert_eq!(shown, counted.iter().sum::<i64>(), "the totals are what was counted");
            for flow in &status.top_flows {
                let most = counted[pods.iter().position(|pod| *pod == flow.pod).unwrap()];
                assert!(flow.rx_bytes <= most, "{} has {} of {most}", flow.pod, flow.rx_bytes);
            }
        }
    }
}

/// Tests agents that restart a random number of times. Each run continues from the last report unless that was deleted.
/// All counts are shown exactly once.
#[test]
fn any_row_of_runs_sums_up_to_what_was_counted() {
    for _ in 0..300 {
        let mut case = Case::new();
        case.trace.spec.top_flows = 100;
        let (mut counted, mut epoch, mut sequence) = (0, 0, 0);
        // Totals of the report that the API server has, if there is one.
        let mut stored: Option<i64> = None;
        for _ in 0..fastrand::u8(1..8) {
            epoch += fastrand::i64(1..100);
            let base = stored.unwrap_or(0);
            let mut totals = base;
            for _ in 0..fastrand::u8(1..5) {
                let bytes = fastrand::i64(0..1000);
                totals += bytes;
                counted += bytes;
                sequence += 1;
                let report = report("n1", &[("a", totals)]);
                case.apply(next_run(epoch, base, TrafficTraceReportSpec { sequence, ..report }));
                stored = Some(totals);
            }
            if fastrand::u8(..) < 80 {
                stored = None;
                sequence = 0;
            }
        }
        let status = case.status_at(1);
        let rows: i64 = status.top_flows.iter().map(|flow| flow.rx_bytes).sum();
        assert_eq!((status.totals.rx_bytes, rows), (counted, counted));
    }
}

#[test]
fn what_is_carried_of_earlier_runs_is_bounded() {
    let mut case = Case::new();
    case.trace.spec.top_flows = 100;
    for run in 0..10 {
        let names: Vec<String> = (0..50).map(|at| format!("p{run}-{at}")).collect();
        let flows: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), i64::from(run) + 1)).collect();
        case.apply(next_run(run.into(), 0, report("n1", &flows)));
    }
    let status = case.status_at(1);
    assert_eq!(status.totals.rx_bytes, 50 * (1..=10).sum::<i64>());
    assert!(case.reports.nodes().all(|node| node.carried_rows().is_some_and(|rows| rows.len() <= 100)));
    assert!(status.top_flows[..50].iter().all(|flow| flow.rx_bytes == 10), "the largest stay");
    // The limit of kept rows ([`CARRIED_ROWS`] in `carried.rs`) also holds for rows of the same size.
    for run in 10..30 {
        let names: Vec<String> = (0..50).map(|at| format!("p{run}-{at}")).collect();
        let flows: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
        case.apply(next_run(run, 0, report("n1", &flows)));
    }
    assert!(case.reports.nodes().all(|node| node.carried_rows().is_some_and(|rows| rows.len() == 100)));
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
    many.lost.insert("other".into(), 5);
    // A status may have 16 reasons at most, those of rows that cannot be read among them.
    many.flows.push("[1,2".into());
    many.http = Some(traffictrace_crd::HttpReport {
        endpoints: vec!["[1,2".into()],
        ..traffictrace_crd::HttpReport::default()
    });
    case.apply(many);
    let status = case.status_at(1);
    assert_eq!(status.lost.len(), 15, "a report has one of the reasons");
    assert_eq!(status.lost.values().sum::<i64>(), 30 + 5 + 2);
    let [other, flows, endpoints] =
        ["other", "unreadableFlows", "unreadableEndpoints"].map(|of| status.lost[of]);
    assert_eq!((other, flows, endpoints), (5 + 18, 1, 1));
}
