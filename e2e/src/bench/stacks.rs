//! The cost of taking the stacks of a program's calls, compared with tracing without stacks.
//!
//! A trace takes the stack of every call until its burst is used up (`BURST` in `agent/src/kernel/stacks.rs`). A
//! block's median slice comes after that, so the figures show the cost of sampling at the later rate. With
//! `--every-call` there is no limit.

use std::time::Duration;

use super::{
    Bench, bpf_stats,
    load::Kind,
    rounds::{self, Crew, Measured, Plan},
    stage::Stage,
    stats::Estimate,
    switch::Commands,
    table,
    worker::LoadWorker,
};
use crate::support::{Result, TestError};

const TOP: &[&str] = &["top", "-o", "json", "--interval", "5s", "--protocol", "TCP"];
const FLAME_GRAPH: &[&str] = &["flamegraph", "--duration", "10m", "--protocol", "TCP", "-o"];
/// Indexes of the levels: tracing without stacks, with the default budget of stacks, and with the stack of every call.
const TRACING: usize = 0;
const STACKS: usize = 1;
const EVERY_CALL: usize = 2;
const LANES: [(Kind, &str); 2] =
    [(Kind::PingPong, "TCP ping-pong, 1 byte"), (Kind::Bulk, "TCP bulk, 64 KiB")];
/// Number of passes through the workers in a block. The burst is used up in less than half of them, so the median slice
/// comes after it.
const PASSES: usize = 8;
const LIMIT: Duration = Duration::from_secs(120);

/// Rate at a level as a share of the rate with tracing alone, in the same rounds.
fn against_tracing(measured: &Measured, level: usize) -> Vec<Estimate> {
    let pairs = || measured.levels[TRACING].iter().zip(&measured.levels[level]);
    let lane = |lane: usize| {
        let cost = |round: &rounds::Round| round.on[lane] / round.off[lane];
        Estimate::of(&pairs().map(|(tracing, stacks)| cost(tracing) / cost(stacks)).collect::<Vec<_>>())
    };
    (0..LANES.len()).map(lane).collect()
}

pub(super) fn run(bench: &Bench) -> Result<()> {
    bpf_stats::switch_off()?;
    let stage = Stage::new(&bench.host)?;
    let hire = || {
        let mut crew = Crew::new();
        for (kind, _) in LANES {
            crew.push(Box::new(LoadWorker::start(kind, stage.traced(), bench.cpu)?));
        }
        Ok(crew)
    };
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let output = folder.path().join("out.folded");
    let output: &[&str] = &[output.to_str().unwrap_or_default()];
    let (stacks, every_call) =
        ([FLAME_GRAPH, output].concat(), [FLAME_GRAPH, output, &["--every-call"]].concat());
    let levels: [&[&str]; 3] = [TOP, &stacks, &every_call];
    let mut commands = Commands::new(&bench.host, stage.traced(), &levels);
    let (name, limit) = ("stacks".to_owned(), bench.limit(LIMIT));
    let plan = Plan { name, passes: PASSES, levels: levels.len(), limit };
    let measured = rounds::run(&plan, &mut commands, hire, |measured| against_tracing(measured, STACKS))?;
    println!("\nstacks: {}.", measured.effort());
    check(&mut commands, hire()?)?;
    print(&measured);
    Ok(())
}

/// Fails unless stacks are taken; without them, the figures would mean nothing.
fn check(commands: &mut Commands<'_>, mut crew: Crew) -> Result<()> {
    rounds::to(commands, Some(STACKS), &mut crew)?;
    rounds::to(commands, None, &mut crew)?;
    let line = commands.last_line();
    if line.contains(" stacks") && !line.contains(" 0 stacks") {
        return Ok(());
    }
    Err(TestError::unexpected("the last line of flamegraph", line))
}

fn print(measured: &Measured) {
    let texts = |estimates: Vec<Estimate>| estimates.iter().map(ToString::to_string).collect::<Vec<_>>();
    let row = |name: &str, cells: Vec<String>| [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>();
    let micros = |level: usize, cost: &dyn Fn(&rounds::Round, usize) -> f64| -> Vec<String> {
        let lane = |lane| measured.estimate(level, |round| cost(round, lane) / 1e3);
        (0..LANES.len()).map(|at| format!("{:+.2}", lane(at).median)).collect()
    };
    let more = |round: &rounds::Round, lane: usize| round.on[lane] - round.off[lane];
    let against_off = |level: usize| {
        let lane = |lane: usize| measured.estimate(level, |round| round.off[lane] / round.on[lane]);
        texts((0..LANES.len()).map(lane).collect())
    };
    let rows = [
        row("µs an operation, tracing off", micros(TRACING, &|round, lane| round.off[lane])),
        row("tracing without stacks against off", against_off(TRACING)),
        row("with stacks against without", texts(against_tracing(measured, STACKS))),
        row("the same, µs more than off", micros(STACKS, &more)),
        row("with the stack of every call against without", texts(against_tracing(measured, EVERY_CALL))),
        row("the same, µs more than off", micros(EVERY_CALL, &more)),
    ];
    let header: Vec<&str> = ["rate as a share"].into_iter().chain(LANES.map(|(_, name)| name)).collect();
    table::print(
        "Both ends in one process on one CPU. Medians of rounds [95 % interval]; 1 is free.",
        &header,
        &rows,
    );
}
