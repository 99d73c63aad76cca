use std::net::SocketAddr;

use serde_json::json;

use super::*;
use crate::exactness::tally::{Bytes, Direction, Flow, Protocol};

const PID: u32 = 7;

fn outcome(rx: u64, tx: u64) -> Outcome {
    let flow = Flow::new(
        Protocol::Tcp,
        SocketAddr::from(([127, 0, 0, 1], 80)),
        SocketAddr::from(([127, 0, 0, 1], 4000)),
    );
    let bytes = Bytes { rx, tx, direction: Some(Direction::Inbound), ..Bytes::default() };
    let counts = vec![ProcessCount { pid: PID, command: "it".into(), flows: vec![(flow, bytes)] }];
    Outcome {
        case: "group/case".into(),
        counts,
        failure: None,
        unsupported: None,
        differences: Vec::new(),
        told: String::new(),
    }
}

fn document(rows: &[(u32, &str, u16, u64, u64)], lost: u64) -> Document {
    let flows: Vec<_> = rows
        .iter()
        .map(|(pid, direction, remote_port, rx, tx)| {
            json!({
                "pid": pid, "containerPid": pid, "command": "it", "protocol": "TCP", "direction": direction,
                "state": "Open", "localAddress": "127.0.0.1", "localPort": 80, "remoteAddress": "127.0.0.1",
                "remotePort": remote_port, "rxBytes": rx, "txBytes": tx, "rxBytesPerSecond": 0,
                "txBytesPerSecond": 0,
            })
        })
        .collect();
    let document = json!({
        "intervalSeconds": 1, "totals": {"rxBytes": 0, "txBytes": 0}, "flows": flows, "lost": {"events": lost},
        "flowTable": {"slots": 9, "slotsInUse": 0},
    });
    serde_json::from_value(document).unwrap()
}

fn verdict_of(outcome: Outcome, rows: &[(u32, &str, u16, u64, u64)]) -> Verdict {
    report(vec![outcome], &document(rows, 0), Detail::Flows).cases[0].verdict
}

#[test]
fn same_bytes_are_ok_also_in_two_rows() {
    assert_eq!(verdict_of(outcome(5, 6), &[(PID, "Inbound", 4000, 5, 6)]), Verdict::Ok);
    let rows = [(PID, "Inbound", 4000, 2, 6), (PID, "Inbound", 4000, 3, 0)];
    assert_eq!(verdict_of(outcome(5, 6), &rows), Verdict::Ok);
}

#[test]
fn each_kind_of_difference_fails() {
    for row in [
        (PID, "Inbound", 4000, 5, 7),
        (PID, "Inbound", 4000, 6, 5),
        (PID, "Outbound", 4000, 5, 6),
        (PID, "Inbound", 4001, 5, 6),
        (PID + 1, "Inbound", 4000, 5, 6),
    ] {
        assert_eq!(verdict_of(outcome(5, 6), &[row]), Verdict::Fail, "{row:?}");
    }
    assert_eq!(verdict_of(outcome(5, 6), &[]), Verdict::Fail);
    let extra = [(PID, "Inbound", 4000, 5, 6), (PID, "Inbound", 4001, 1, 0)];
    assert_eq!(verdict_of(outcome(5, 6), &extra), Verdict::Fail);
}

#[test]
fn strangers_and_losses_fail_the_run() {
    let rows = [(PID, "Inbound", 4000, 5, 6)];
    assert_eq!(report(vec![outcome(5, 6)], &document(&rows, 0), Detail::Flows).failed, 0);
    assert_eq!(report(vec![outcome(5, 6)], &document(&rows, 1), Detail::Flows).failed, 1);
    let stranger = [rows[0], (PID + 1, "Inbound", 4000, 5, 6)];
    assert_eq!(report(vec![outcome(5, 6)], &document(&stranger, 0), Detail::Flows).failed, 1);
}

#[test]
fn failures_and_skips_are_told() {
    let rows = [(PID, "Inbound", 4000, 5, 6)];
    let failed = Outcome { failure: Some("broken".into()), ..outcome(5, 6) };
    assert_eq!(verdict_of(failed, &rows), Verdict::Fail);
    let skipped = Outcome { unsupported: Some("not here".into()), ..outcome(5, 6) };
    assert_eq!(verdict_of(skipped.clone(), &rows), Verdict::Skipped);
    assert_eq!(verdict_of(skipped, &[]), Verdict::Fail);
}
