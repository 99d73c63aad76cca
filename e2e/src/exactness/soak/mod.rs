//! `tt-exact soak`: moves random but known amounts for some time; the difference must be 0 in the end.

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

/// Duration in seconds beyond which a fast machine may make more flows than the product can keep apart.
const FLOWS_FOR: u64 = 15;
/// Number of flows that the product keeps, and so of slots in the kernel's table. The table must hold several seconds
/// of new flows, since the product may not get to read it more often on a busy machine.
const FLOWS: &str = "300000";

/// Returns the cases that run for a given time.
pub(super) fn cases(time: Duration) -> Vec<Case> {
    vec![
        Case::new("soak/mixed", move |stage| mixed::run(stage, time)),
        Case::new("soak/connections", move |stage| connections::run(stage, time)),
        Case::new("soak/udp-queries", move |stage| queries::run(stage, time)),
        Case::new("soak/endings", endings::run),
    ]
}

/// Runs one of the cases; returns true if no byte is missing and every slot was freed.
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
