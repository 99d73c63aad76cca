//! `tt-exact soak`: known amounts at random, for a while, ending at a difference of 0.

mod connections;
mod endings;
mod mixed;
pub(super) mod open;
mod queries;
mod service;

use std::time::Duration;

use super::{
    cases::Case,
    cli::SoakArgs,
    leading::{Leader, Task},
    print,
    runner::Ground,
    tally::Detail,
    verdict::{self, Report},
};
use crate::support::Result;

/// Beyond this many seconds there can be more flows than the product keeps apart, on a fast machine.
const FLOWS_FOR: u64 = 15;
/// Flows that the product keeps; and slots of the kernel's table, which must do for some seconds of new flows: a busy
/// machine may not let the product look more often.
const FLOWS: &str = "300000";

/// What can be run for a while.
pub(super) fn cases(time: Duration) -> Vec<Case> {
    vec![
        Case::new("soak/mixed", move |stage| mixed::run(stage, time)),
        Case::new("soak/connections", move |stage| connections::run(stage, time)),
        Case::new("soak/udp-queries", move |stage| queries::run(stage, time)),
        Case::new("soak/endings", endings::run),
    ]
}

/// Runs one of them; `true` when not a byte is missing and every slot came back.
pub(super) fn run(args: &SoakArgs) -> Result<bool> {
    let case = match args {
        SoakArgs { connections: true, .. } => "soak/connections",
        SoakArgs { udp_queries: true, .. } => "soak/udp-queries",
        _ => "soak/mixed",
    };
    let few = case == "soak/mixed" && args.seconds <= FLOWS_FOR;
    let detail = if few { Detail::Flows } else { Detail::Processes };
    let SoakArgs { seconds, options, .. } = args;
    eprintln!("{case} for {seconds} s, seed {}", options.seed);
    let ground = Ground::new(options)?;
    let mut top = ground.top(options, &["--max-flows", FLOWS, "--interval", "5s"])?;
    let task = Task { case: case.to_owned(), seed: options.seed, seconds: *seconds, detail };
    let mut leader = Leader::start(task, &ground)?;
    let (mut most, mut slots) = (0, 0);
    while !leader.has_ended()? {
        let table = top.document()?.flow_table;
        (most, slots) = (most.max(table.slots_in_use), table.slots);
    }
    let mut outcome = leader.end()?;
    let (left, open) = top.await_free_slots()?;
    outcome.told += &format!("slots of the flow table in use: {left} at the end, at most {most} of {slots}");
    let mut report = Report { seed: options.seed, ..Report::default() };
    report.add(verdict::report(vec![outcome], &top.interrupt()?, detail));
    report.slots_left(left, &open);
    print::print(&report, options.output)?;
    Ok(report.failed == 0 && report.skipped == 0)
}
