//! Snapshot tests of descriptions.

use proptest::prelude::*;
use traffictrace_crd::{Refused, Totals, TrafficTraceReportSpec};

use super::*;
use crate::testing::{HOSTILE, assert_harmless, at, completed, created, hostile, running, status};

fn report(name: &str) -> TrafficTraceReportSpec {
    TrafficTraceReportSpec {
        node_name: name.to_owned(),
        pods_matched: 2,
        update_time: running().status.unwrap().oldest_update_time,
        hook_tier: Some("tp_btf".to_owned()),
        totals: Totals { rx_bytes: 1 << 20, tx_bytes: 5 << 20, ..Totals::default() },
        ..TrafficTraceReportSpec::default()
    }
}

fn event(time: &str, is_warning: bool, reason: &str, message: &str, count: i32) -> Happened {
    let time = Some(at(time));
    Happened { time, is_warning, reason: reason.to_owned(), message: message.to_owned(), count }
}

/// The objects that a user who may read everything gets.
fn around() -> Around {
    let refused = Refused {
        reason: "TooManySessions".to_owned(),
        message: "64 traces run here; delete one".to_owned(),
    };
    Around {
        reports: Some(vec![
            report("node-b"),
            TrafficTraceReportSpec { hook_tier: Some("fexit".to_owned()), ..report("node-a") },
            TrafficTraceReportSpec { refused: Some(refused), ..report("node-c") },
        ]),
        events: Some(vec![
            event("14:00:04", false, "Started", "Tracing has begun: 5 pods on 4 nodes selected.", 1),
            event(
                "14:00:05",
                true,
                "NodeRefused",
                "node-c cannot trace (TooManySessions): 64 traces run here.",
                3,
            ),
        ]),
    }
}

#[test]
fn a_trace_that_runs_is_told_with_everything() {
    let mut trace = running();
    trace.metadata.managed_fields = serde_json::from_value(serde_json::json!([
        {"manager": "kubectl-traffictrace", "operation": "Update"},
        {"manager": "traffictrace", "operation": "Apply", "subresource": "status"},
    ]))
    .unwrap();
    insta::assert_snapshot!(of(&trace, &around(), at("14:06:12"), 100));
}

#[test]
fn a_user_of_one_namespace_is_told_as_much_as_is_known() {
    insta::assert_snapshot!(of(&running(), &Around::default(), at("14:11:00"), 100));
}

#[test]
fn a_trace_that_is_over_ends_with_the_command_for_another() {
    let around = Around { reports: Some(Vec::new()), events: Some(Vec::new()) };
    insta::assert_snapshot!(of(&completed(), &around, at("15:00:00"), 100));
}

#[test]
fn limits_of_the_kernels_are_nothing_missing() {
    let mut trace = completed();
    status(&mut trace).not_seen = vec!["SplicedFirst".to_owned()];
    let text = of(&trace, &Around::default(), at("15:00:00"), 100);
    assert!(text.contains("\nNothing is known to be missing.\n"), "{text}");
    assert!(
        text.contains("\nWhat these kernels cannot show, whatever the trace asks for: SplicedFirst."),
        "{text}"
    );
    assert!(!text.contains("What is missing"), "{text}");
}

#[test]
fn traces_without_numbers_say_why() {
    let nothing = Around { reports: Some(Vec::new()), events: Some(Vec::new()) };
    let mut waiting = running();
    waiting.status.as_mut().unwrap().phase = Some(Phase::Pending);
    let conditions = &mut status(&mut waiting).conditions;
    conditions.truncate(2);
    conditions[1].message =
        "No pod of this namespace that is placed on a node matches the selector.".to_owned();
    status(&mut waiting).nodes_matched = 0;
    status(&mut waiting).refused_nodes.clear();
    let mut failed = running();
    status(&mut failed).phase = Some(Phase::Failed);
    let told = status(&mut failed).conditions.iter_mut().find(|c| c.type_ == kind::FAILED).unwrap();
    (told.status, told.message) =
        ("True".to_owned(), "No node traced it. Refused by node-c: no BTF.".to_owned());
    let all = [created(), waiting, failed].map(|trace| of(&trace, &nothing, at("14:00:30"), 72));
    insta::assert_snapshot!(all.join("\n----\n"));
}

#[test]
fn hostile_names_are_harmless() {
    for name in HOSTILE {
        let mut around = around();
        for report in around.reports.as_mut().unwrap() {
            report.node_name.push_str(name);
            report.not_enforced = vec![name.to_owned()];
        }
        around.events.as_mut().unwrap()[0].message = name.repeat(30);
        assert_harmless(&of(&hostile(name), &around, at("14:06:12"), 100));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_status_has_a_description(name in ".{0,12}", pods: i32, nodes: i32, reporting: i32, skew: i64, second in 0_i64..2_000_000_000, columns in 0_usize..200) {
        let mut trace = hostile(&name);
        let status = status(&mut trace);
        (status.pods_matched, status.nodes_matched, status.nodes_reporting) = (pods, nodes, reporting);
        status.skewed_clocks[0].offset_seconds = skew;
        let now = Timestamp::from_second(second).unwrap();
        assert_harmless(&of(&trace, &around(), now, columns));
        assert_harmless(&of(&trace, &Around::default(), now, columns));
    }
}
