//! Tests with two traces whose numbers are known.

use proptest::prelude::*;
use serde_json::Value;
use traffictrace_crd::TrafficTrace;
use traffictrace_view::rows::Sums;

use super::*;
use crate::testing::{HOSTILE, assert_harmless, at, completed, created, hostile, running, status};

fn compared(a: &TrafficTrace, b: &TrafficTrace, by: By) -> Comparison {
    Comparison::new(Side::new(a), Side::new(b), by.into())
}

/// A trace half as long as the first one: nginx has sent twice as much, mysqld is gone, a backup is new, and all
/// flows are listed.
fn after() -> TrafficTrace {
    let mut trace = completed();
    trace.metadata.name = Some("after".to_owned());
    let status = status(&mut trace);
    status.end_time.as_mut().unwrap().0 = at("14:05:00");
    status.top_flows[0].tx_bytes *= 2;
    status.top_flows[0].pod = "web-5b77-abcde".to_owned();
    status.top_flows.remove(2);
    status.top_flows[2].command = Some("restic".to_owned());
    status.top_flows[2].tx_bytes = 5_000_000;
    let flows = &status.top_flows;
    status.totals.rx_bytes = flows.iter().map(|flow| flow.rx_bytes).sum();
    status.totals.tx_bytes = flows.iter().map(|flow| flow.tx_bytes).sum();
    status.flows_total = 3;
    status.http.as_mut().unwrap().totals.requests *= 2;
    trace
}

#[test]
fn numbers_stand_side_by_side() {
    let tables = [By::Process, By::Endpoint].map(|by| form::table(&compared(&completed(), &after(), by), 20));
    insta::assert_snapshot!(tables.join("\n"));
    insta::assert_snapshot!(form::table(&compared(&running(), &after(), By::Pod), 1));
}

#[test]
fn rows_add_up_to_the_totals_in_every_form() {
    for by in [By::Process, By::Pod, By::Peer, By::Endpoint] {
        let comparison = compared(&running(), &after(), by);
        let (mut a, mut b) = (Sums::default(), Sums::default());
        for row in &comparison.rows {
            a.add(&row.a);
            b.add(&row.b);
        }
        assert_eq!(a, (&comparison.a.snapshot).into(), "{by:?}");
        assert_eq!(b.rx_bytes, comparison.b.snapshot.totals.rx_bytes, "{by:?}");
        let json: Value = serde_json::from_slice(&form::json(&comparison, usize::MAX).unwrap()).unwrap();
        let sum = |side: &str| -> u64 {
            json["rows"].as_array().unwrap().iter().map(|row| row["txBytes"][side].as_u64().unwrap()).sum()
        };
        assert_eq!((sum("a"), sum("b")), (a.tx_bytes, b.tx_bytes), "{by:?}");
        assert_eq!(json["totals"]["txBytes"]["b"], b.tx_bytes);
        let csv = String::from_utf8(form::csv(&comparison, usize::MAX).unwrap()).unwrap();
        let header: Vec<_> = csv.lines().next().unwrap().split(',').collect();
        let at = header.iter().position(|name| *name == "rxBytesA").unwrap();
        let cells = csv.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().parse::<u64>().unwrap());
        assert_eq!(cells.sum::<u64>(), a.rx_bytes, "{by:?}");
    }
}

#[test]
fn what_is_new_or_gone_is_told_from_what_is_not_listed() {
    let changes = |comparison: &Comparison| {
        let change = |name: &str| comparison.rows.iter().find(|row| row.name == name).map(|row| row.change);
        [change("mysqld"), change("restic"), change("nginx"), change("php-fpm")]
    };
    use compare::Change::{Changed, Gone, Same, UnlistedInA};
    // The first trace has flows that it does not list, and the backup may be one of them.
    let comparison = compared(&running(), &after(), By::Process);
    assert_eq!(changes(&comparison), [Some(Gone), Some(UnlistedInA), Some(Changed), Some(Same)]);
    let mut listed = after();
    status(&mut listed).top_flows.retain(|flow| flow.command.as_deref() != Some("restic"));
    status(&mut listed).flows_total = 2;
    let flows = &status(&mut listed).top_flows;
    let (rx, tx) =
        (flows.iter().map(|flow| flow.rx_bytes).sum(), flows.iter().map(|flow| flow.tx_bytes).sum());
    (status(&mut listed).totals.rx_bytes, status(&mut listed).totals.tx_bytes) = (rx, tx);
    let comparison = compared(&listed, &after(), By::Process);
    assert_eq!(changes(&comparison)[1], Some(compare::Change::New));
    let comparison = compared(&after(), &running(), By::Process);
    assert_eq!(changes(&comparison)[1], Some(compare::Change::UnlistedInB));
}

#[test]
fn a_trace_is_the_same_as_itself() {
    let comparison = compared(&running(), &running(), By::Peer);
    assert!(comparison.is_equal() && !comparison.lasted_differently());
    let mut other = running();
    status(&mut other).totals.retransmits += 1;
    assert!(!compared(&running(), &other, By::Peer).is_equal());
    assert!(compared(&created(), &created(), By::Process).is_equal());
    assert!(form::table(&compared(&created(), &created(), By::Process), 5).contains("(all pods), waiting\n"));
}

#[test]
fn seconds_are_those_of_the_numbers() {
    assert_eq!(Side::new(&running()).seconds, Some(370));
    assert_eq!(Side::new(&completed()).seconds, Some(600));
    assert_eq!(Side::new(&created()).seconds, None);
}

#[test]
fn traces_are_named_with_or_without_their_namespace() {
    assert_eq!(named("checkout", "shop"), Ok(("shop", "checkout")));
    assert_eq!(named("other/checkout", "shop"), Ok(("other", "checkout")));
    for text in ["", "/", "a/", "/b", "a/b/c"] {
        let error = named(text, "shop").unwrap_err();
        assert!(error.contains("write NAME or NAMESPACE/NAME"), "{error}");
    }
}

#[test]
fn hostile_names_are_harmless() {
    for name in HOSTILE {
        for by in [By::Process, By::Pod, By::Peer, By::Endpoint] {
            let comparison = compared(&hostile(name), &running(), by);
            assert_harmless(&form::table(&comparison, 20));
            let csv = String::from_utf8(form::csv(&comparison, 20).unwrap()).unwrap();
            assert_harmless(&csv.replace('\r', ""));
            assert!(!csv.contains(",=") && !csv.contains(",\"="), "{csv}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_number_is_too_odd(a in any::<i64>(), b in any::<i64>(), total in any::<i64>()) {
        let (mut one, mut two) = (running(), running());
        status(&mut one).top_flows[0].rx_bytes = a;
        status(&mut two).top_flows[0].rx_bytes = b;
        status(&mut two).totals.rx_bytes = total;
        let comparison = compared(&one, &two, By::Process);
        assert_harmless(&form::table(&comparison, 3));
        form::json(&comparison, 3).unwrap();
        prop_assert!(form::csv(&comparison, 3).is_ok());
    }
}
