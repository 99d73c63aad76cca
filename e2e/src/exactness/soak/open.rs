//! `tt-exact open-under-load`: checks that no closed connection is shown as open on a busy machine.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    exactness::{
        cli::{OpenArgs, Options},
        leading::{Leader, Task},
        runner::Ground,
        tally::Detail,
        verdict::{self, Report},
    },
    support::{
        Result,
        top::{Document, Top},
    },
};

/// Maximum time until the product shows that a connection has ended.
const LIMIT: Duration = Duration::from_secs(20);
/// Maximum number of open connections that a failure lists.
const LISTED: usize = 4;

/// Runs the case repeatedly, each time with a `top` of its own, beside busy loops. Returns true if all counts were
/// exact and no connection was left open.
pub(in crate::exactness) fn run(args: &OpenArgs) -> Result<bool> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..args.loops {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = runs(args);
        ended.store(true, Ordering::Relaxed);
        result
    })
}

fn runs(args: &OpenArgs) -> Result<bool> {
    let ground = Ground::new(&args.options)?;
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    for number in 1..=args.runs {
        let seed = args.options.seed.wrapping_add(number.into());
        let (problems, took) = one_run(&ground, &args.options, seed)?;
        slowest = slowest.max(took);
        failed += u32::from(!problems.is_empty());
        for problem in &problems {
            println!("FAIL     run {number}, seed {seed}: {problem}");
        }
    }
    println!(
        "{} of {} runs ended with nothing open and a difference of 0; the last connection was shown as closed after at \
         most {:.1} s; {} busy loops, seed {}",
        args.runs - failed,
        args.runs,
        slowest.as_secs_f64(),
        args.loops,
        args.options.seed
    );
    Ok(failed == 0)
}

/// Runs the case once; returns the problems, and the time until no connection was open.
fn one_run(ground: &Ground, options: &Options, seed: u64) -> Result<(Vec<String>, Duration)> {
    let mut top = ground.top(options, &[])?;
    let task = Task { case: "soak/endings".to_owned(), seed, ..Task::default() };
    let outcome = Leader::start(task, ground)?.end()?;
    let ended = Instant::now();
    let mut problems = await_closed(&mut top, ended)?;
    let took = ended.elapsed();
    let mut report = Report::default();
    report.add(verdict::report(vec![outcome], &top.interrupt()?, Detail::Flows));
    problems.extend(report.problems);
    problems.extend(
        report.cases.into_iter().filter(|line| line.verdict.is_failure()).flat_map(|line| line.notes),
    );
    Ok((problems, took))
}

/// Waits until no connection is shown as open and no slot is in use; returns the problems if that takes too long.
fn await_closed(top: &mut Top, since: Instant) -> Result<Vec<String>> {
    loop {
        let document = top.document()?;
        let (open, slots) = (open(&document), document.flow_table.slots_in_use);
        if open.is_empty() && slots == 0 {
            return Ok(Vec::new());
        }
        if since.elapsed() < LIMIT {
            continue;
        }
        let mut told = vec![format!(
            "{} open and {slots} slots in use {} s after the last socket was closed; lost: {:?}",
            open.len(),
            LIMIT.as_secs(),
            document.lost
        )];
        told.extend(open.into_iter().take(LISTED));
        return Ok(told);
    }
}

/// Lists the rows that are shown as open.
fn open(document: &Document) -> Vec<String> {
    let open = document.flows.iter().filter(|flow| flow.state == "Open");
    open.map(|flow| format!("open: {flow:?}")).collect()
}
