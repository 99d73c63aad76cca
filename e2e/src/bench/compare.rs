//! The table of a kind of load: what tracing takes from it, beside other tools.

use std::{path::Path, time::Duration};

use super::{
    Bench, bpf_stats,
    rounds::{self, Crew, Measured, Plan, Round},
    stage::Stage,
    stats::Estimate,
    switch::{Product, Switch, Tool},
    table,
    worker::Worker,
};
use crate::support::{Result, TestError};

/// Loads that are compared in one table.
pub(super) trait Subject {
    /// Its name, for the progress.
    const NAME: &'static str;
    /// The loads, for the head of the table.
    const TITLE: &'static str;
    /// The columns: one load each.
    const LANES: &'static [&'static str];
    /// Passes through the workers in a block.
    const PASSES: usize;
    /// Time for the product, and for each other tool.
    const LIMITS: (Duration, Duration);

    /// Starts the worker of a lane, with its sockets in a cgroup.
    fn hire(&self, lane: usize, cgroup: &Path, cpu: usize) -> Result<Box<dyn Worker>>;
}

/// Figure of a round for a lane. Ratios are those of rates, thus inverse ones of costs.
type Figure = fn(&Round, usize) -> f64;

/// Place in a crew of a lane's worker in the container that is traced.
const fn traced(lane: usize) -> usize {
    lane * 2
}

/// Place in a crew of a lane's worker in the container that nobody traces.
const fn plain(lane: usize) -> usize {
    lane * 2 + 1
}

const FEELS: (&str, Figure) =
    ("traced container, tracing on against off (what a user feels)", |round, lane| {
        round.off[traced(lane)] / round.on[traced(lane)]
    });
const PAYS: (&str, Figure) = ("traced container against another, tracing on", |round, lane| {
    round.on[plain(lane)] / round.on[traced(lane)]
});
const OTHERS: (&str, Figure) = ("container nobody traces, tracing on against off", |round, lane| {
    round.off[plain(lane)] / round.on[plain(lane)]
});
const EQUAL: (&str, Figure) = ("control: one container against another, tracing off", |round, lane| {
    round.off[plain(lane)] / round.off[traced(lane)]
});

/// Measures, and prints the table.
pub(super) fn run<S: Subject>(bench: &Bench, subject: &S) -> Result<()> {
    bpf_stats::switch_off()?;
    let stage = Stage::new(&bench.host)?;
    let (mut rows, equal) = product(bench, subject, &stage)?;
    for mut tool in Tool::installed() {
        rows.push(other(bench, subject, &stage, &mut tool)?);
    }
    rows.push(other(bench, subject, &stage, &mut Tool::nothing())?);
    rows.push(equal);
    let header: Vec<&str> = ["rate as a share"].iter().chain(S::LANES).copied().collect();
    let title = format!("{} Medians of rounds [95 % interval]; 1 is free.", S::TITLE);
    table::print(&title, &header, &rows);
    Ok(())
}

/// The rows about the product, and the control that comes with them.
fn product<S: Subject>(bench: &Bench, subject: &S, stage: &Stage) -> Result<(Vec<Vec<String>>, Vec<String>)> {
    let hire = || {
        let mut crew = Crew::new();
        for lane in 0..S::LANES.len() {
            for cgroup in [stage.traced(), stage.plain()] {
                crew.push(subject.hire(lane, cgroup, bench.cpu)?);
            }
        }
        Ok(crew)
    };
    let mut product = Product::start(&bench.host, stage, true)?;
    let plan = plan::<S>(bench, &product, S::LIMITS.0);
    let watched = |measured: &Measured| {
        [FEELS, PAYS, OTHERS, EQUAL].iter().flat_map(|(_, figure)| lanes::<S>(measured, *figure)).collect()
    };
    let measured = rounds::run(&plan, &mut product, hire, watched)?;
    println!("\n{}: {}.", plan.name, measured.effort());
    if let Some(seen) = product.seen() {
        seen.print();
    }
    prove(product, &mut hire()?)?;
    let ratios =
        |(name, figure): (&str, Figure)| row(name, lanes::<S>(&measured, figure), ToString::to_string);
    let cost = lanes::<S>(&measured, |round, lane| round.off[plain(lane)] / 1e3);
    let more = lanes::<S>(&measured, |round, lane| (round.on[traced(lane)] - round.on[plain(lane)]) / 1e3);
    let rows = vec![
        row("µs an operation, tracing off", cost, |micros| format!("{:.1}", micros.median)),
        ratios(FEELS),
        ratios(PAYS),
        row("the same, µs more an operation", more, |micros| format!("{micros:+.2}")),
        ratios(OTHERS),
    ];
    Ok((rows, ratios(EQUAL)))
}

/// Fails unless the product counts what the traced container moves.
fn prove(mut product: Product, crew: &mut Crew) -> Result<()> {
    rounds::to(&mut product, Some(0), crew)?;
    match product.finish()? {
        0 => Err(TestError::unexpected("the trace", "nothing was counted, so its costs mean nothing")),
        _ => Ok(()),
    }
}

/// The row about another tool, which does not tell containers apart.
fn other<S: Subject>(bench: &Bench, subject: &S, stage: &Stage, tool: &mut Tool) -> Result<Vec<String>> {
    let hire = || (0..S::LANES.len()).map(|lane| subject.hire(lane, stage.plain(), bench.cpu)).collect();
    let figure: Figure = |round, lane| round.off[lane] / round.on[lane];
    let plan = plan::<S>(bench, tool, S::LIMITS.1);
    let measured = rounds::run(&plan, tool, hire, |measured| lanes::<S>(measured, figure))?;
    Ok(row(&format!("{tool}, on against off"), lanes::<S>(&measured, figure), ToString::to_string))
}

fn plan<S: Subject>(bench: &Bench, switch: &dyn Switch, limit: Duration) -> Plan {
    let name = format!("{}, {switch}", S::NAME);
    Plan { name, passes: S::PASSES, levels: 1, limit: bench.limit(limit) }
}

fn lanes<S: Subject>(measured: &Measured, figure: Figure) -> Vec<Estimate> {
    (0..S::LANES.len()).map(|lane| measured.estimate(0, |round| figure(round, lane))).collect()
}

fn row(name: &str, estimates: Vec<Estimate>, text: impl Fn(&Estimate) -> String) -> Vec<String> {
    [name.to_owned()].into_iter().chain(estimates.iter().map(text)).collect()
}
