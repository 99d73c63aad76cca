//! The table of one kind of load: the share of its rate that tracing costs, compared with other tools.

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

/// A set of loads that are compared in one table.
pub(super) trait Subject {
    /// Name of the set, for progress messages.
    const NAME: &'static str;
    /// Description of the loads, for the table's title.
    const TITLE: &'static str;
    /// Names of the columns, one for each load; a load is called a lane.
    const LANES: &'static [&'static str];
    /// Number of passes through the workers in a block (see [`rounds`]).
    const PASSES: usize;
    /// Time limits: for measuring the product, and for each other tool.
    const LIMITS: (Duration, Duration);

    /// Starts the worker of a lane, with its sockets in a cgroup.
    fn hire(&self, lane: usize, cgroup: &Path, cpu: usize) -> Result<Box<dyn Worker>>;
}

/// Computes the figure of one lane from one round: a ratio of two rates. [`Round`] has times of an operation instead,
/// so the figure is the inverse of the ratio of these times.
type Figure = fn(&Round, usize) -> f64;

/// Index in the [`Crew`] (the workers) of the worker that makes a lane's load in the traced container.
const fn traced(lane: usize) -> usize {
    lane * 2
}

/// Index in the [`Crew`] of the worker that makes a lane's load in the container that is not traced.
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

/// Measures the loads and prints the table.
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

/// Measures the product. Returns its rows of the table, and the row [`EQUAL`] from the same rounds: a control, which
/// should be 1 because nothing is traced.
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

/// Fails unless the product counts the bytes that the traced container moves.
fn prove(mut product: Product, crew: &mut Crew) -> Result<()> {
    rounds::to(&mut product, Some(0), crew)?;
    match product.finish()? {
        0 => Err(TestError::unexpected("the trace", "nothing was counted, so its costs mean nothing")),
        _ => Ok(()),
    }
}

/// Measures another tool and returns its row. Other tools do not distinguish containers, so all workers are in one
/// container.
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
