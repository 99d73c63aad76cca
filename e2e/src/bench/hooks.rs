//! The cost of attached hooks themselves: of 1, 2, 3, … programs that do nothing.

use std::time::Duration;

use super::{
    Bench, bpf_stats,
    compare::Subject as _,
    rates::Rates,
    rounds::{self, Crew, Measured, Plan, Round},
    stage::Stage,
    switch::Empty,
    table,
};
use crate::support::Result;

const LIMIT: Duration = Duration::from_secs(100);
const PASSES: usize = 3;

pub(super) fn run(bench: &Bench) -> Result<()> {
    bpf_stats::switch_off()?;
    let stage = Stage::new(&bench.host)?;
    let mut empty = Empty::load(stage.traced())?;
    let lanes = Rates::LANES.len();
    let hire =
        || -> Result<Crew> { (0..lanes).map(|lane| Rates.hire(lane, stage.traced(), bench.cpu)).collect() };
    let plan = Plan {
        name: "hooks".to_owned(),
        passes: PASSES,
        levels: Empty::hooks().len(),
        limit: bench.limit(LIMIT),
    };
    let row = |measured: &Measured, level: usize| {
        let ratio = |lane: usize| move |round: &Round| round.off[lane] / round.on[lane];
        (0..lanes).map(|lane| measured.estimate(level, ratio(lane))).collect::<Vec<_>>()
    };
    let watched = |measured: &Measured| (0..plan.levels).flat_map(|level| row(measured, level)).collect();
    let measured = rounds::run(&plan, &mut empty, hire, watched)?;
    println!("\nhooks: {}.", measured.effort());
    let rows: Vec<Vec<String>> = Empty::hooks()
        .enumerate()
        .map(|(level, hook)| {
            let name = if level == 0 { format!("1: {hook}") } else { format!("{}: and {hook}", level + 1) };
            [name].into_iter().chain(row(&measured, level).iter().map(ToString::to_string)).collect()
        })
        .collect();
    let header: Vec<&str> = ["empty programs attached"].iter().chain(Rates::LANES).copied().collect();
    table::print(
        "Rate of the same with empty programs against nothing attached. Medians of rounds [95 % interval].",
        &header,
        &rows,
    );
    Ok(())
}
