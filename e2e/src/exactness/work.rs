//! `tt-workload operations`: does every operation inside a container, without the product and without cgroups. The
//! printed counts are compared with a trace of the container from outside.

use std::path::PathBuf;

use super::{
    cases::{self, Case, When},
    error::{CaseError, Done},
    leader::LIMIT,
    stage::Stage,
    sys,
    tally::{Detail, ProcessCount, Protocol},
};
use crate::workload::count::{Event, Line, Role};

/// Cases with bytes that the product sees on no kernel; `EXCUSED` gives the reasons.
const NEVER_SEEN: [&str; 2] = ["urgent/skipped-after-splice", "tls/splice-out"];

/// Runs the cases one after another, each in a process of its own. Returns a line for each process and protocol, and a
/// last one that lists the cases that could not be run.
///
/// # Errors
///
/// Fails when no process can be created.
pub fn run(seed: u64) -> Done<Vec<Line>> {
    let mut stage = Stage::new(PathBuf::new(), PathBuf::new(), Detail::Processes, seed);
    let (mut failures, mut skipped) = (Vec::new(), Vec::new());
    // Leaves out the cases that need the runner: those about cgroups, about the time before the trace, or about the
    // snapshots that the product prints.
    let is_seen = |case: &Case| !NEVER_SEEN.iter().any(|name| case.name.starts_with(name));
    let alone = |case: &Case| case.when == When::Alone && !case.name.starts_with("cgroup/") && is_seen(case);
    for case in cases::all().into_iter().filter(alone) {
        let child = stage.fork(|stage| {
            sys::end_with_parent(LIMIT)?;
            (case.run)(stage)
        })?;
        match stage.join(child) {
            Ok(()) => {}
            Err(CaseError::Unsupported(why)) => skipped.push(format!("{}: {why}", case.name)),
            Err(error) => failures.push(format!("{}: {error}", case.name)),
        }
    }
    let counts = stage.counts()?;
    let mut lines: Vec<Line> = counts.iter().flat_map(lines_of).collect();
    lines.push(Line {
        failures: failures.len() as u64,
        first_failure: failures.first().cloned(),
        skipped,
        ..line(&ProcessCount { pid: std::process::id(), command: String::new(), flows: Vec::new() })
    });
    Ok(lines)
}

fn lines_of(count: &ProcessCount) -> impl Iterator<Item = Line> {
    count.flows.iter().map(|(flow, bytes)| Line {
        protocol: Some(
            match flow.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
                Protocol::Icmp => "ICMP",
            }
            .to_owned(),
        ),
        rx_bytes: bytes.rx,
        tx_bytes: bytes.tx,
        ..line(count)
    })
}

fn line(count: &ProcessCount) -> Line {
    Line {
        event: Event::Done,
        role: Role::Client,
        pid: count.pid,
        command: count.command.clone(),
        listening: Vec::new(),
        rx_bytes: 0,
        tx_bytes: 0,
        connection_count: 0,
        failures: 0,
        first_failure: None,
        connections: Vec::new(),
        protocol: None,
        skipped: Vec::new(),
    }
}
