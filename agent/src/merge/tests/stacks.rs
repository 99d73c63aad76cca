//! Stacks: the sums of the nodes' profiles.

use traffictrace_crd::{StackTotals, StacksSpec, condition_type as kind};

use super::*;

fn asking() -> Case {
    let mut case = Case::new();
    case.trace.spec.stacks = Some(StacksSpec::default());
    case
}

fn with_stacks(node: &str, bytes: i64) -> TrafficTraceReportSpec {
    let totals = StackTotals { bytes, stacks: 3, bytes_at_own_call: bytes - 1, bytes_without_stack: 1 };
    TrafficTraceReportSpec { stacks: Some(totals), ..report(node, &[("p", bytes)]) }
}

#[test]
fn the_sums_of_all_nodes_and_the_way_to_the_picture() {
    let mut case = asking();
    case.apply(report("n1", &[("p", 5)]));
    let stacks = case.status_at(5).stacks.unwrap();
    assert_eq!((stacks.nodes, stacks.picture.as_str()), (0, ""), "there is no profile yet");
    case.apply(TrafficTraceReportSpec { sequence: 1, ..with_stacks("n1", 10) });
    case.apply(with_stacks("n2", 7));
    let stacks = case.status_at(70).stacks.unwrap();
    let sums = StackTotals { bytes: 17, stacks: 6, bytes_at_own_call: 15, bytes_without_stack: 2 };
    assert_eq!((stacks.nodes, &stacks.totals), (2, &sums));
    assert_eq!(
        stacks.picture,
        "kubectl get traffictraceprofiles --namespace shop --selector traffictrace.dev/trace=t --output json | \
         traffictrace flamegraph --from - --output t.svg"
    );
    // The report of a restarted agent that has no profile yet does not reduce the sums.
    case.apply(TrafficTraceReportSpec { epoch: 1, ..report("n2", &[("p", 1)]) });
    assert_eq!(case.status_at(80).stacks, Some(stacks));
}

#[test]
fn nobody_sees_stacks_who_did_not_ask() {
    let mut case = Case::new();
    case.apply(with_stacks("n1", 10));
    assert_eq!(case.status_at(5).stacks, None);
}

#[test]
fn a_node_that_may_not_take_stacks_is_told_and_counts() {
    let mut case = asking();
    case.apply(with_stacks("n1", 10));
    let why = "stacks: the agents are not allowed to: set agent.stacks=true in the values of the chart";
    let refusing = TrafficTraceReportSpec { not_enforced: vec![why.into()], ..report("n2", &[("b", 5)]) };
    case.apply(refusing);
    let status = case.status_at(10);
    assert_eq!((status.totals.rx_bytes, status.stacks.as_ref().unwrap().nodes), (15, 1));
    assert_eq!(condition_of(&status, kind::DEGRADED), "True NotEnforced");
    assert_eq!(condition(&status, kind::DEGRADED).message, format!("Not done on n2: {why}."));
}
