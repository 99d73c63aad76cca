//! Nanoseconds of CPU that each of the product's BPF programs takes, by the kernel's own statistics.

use std::collections::BTreeMap;

use super::{
    Bench,
    bpf_stats::Statistics,
    load::Kind,
    programs,
    rounds::{self, Crew},
    stage::Stage,
    stats::median,
    switch::{Empty, Product},
    table,
    worker::LoadWorker,
};
use crate::support::Result;

const LOADS: [(Kind, &str); 3] = [
    (Kind::PingPong, "TCP ping-pong"),
    (Kind::Connect, "connect, ask, close"),
    (Kind::UdpPingPong, "UDP ping-pong"),
];
const ROUNDS: usize = 9;
/// Number of operations of a load in a round.
const OPERATIONS: u64 = 4000;
/// Minimum number of runs for a program to be measured: every operation runs the programs on its hooks at least once,
/// so a program with fewer runs was run by other processes.
const FEW: f64 = OPERATIONS as f64;
/// Name of the rows with the total time of all programs for one operation.
const ALL: &str = "all, for an operation";

/// The columns of the table: empty programs, the product with a load that no trace selects, and with one that a trace
/// selects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Setting {
    Empty,
    NotSelected,
    Selected,
}

/// Nanoseconds measured in each round, by load, hook and setting.
type Measured = BTreeMap<(usize, String, Setting), Vec<f64>>;

pub(super) fn run(bench: &Bench) -> Result<()> {
    let stage = Stage::new(&bench.host)?;
    let _statistics = Statistics::on()?;
    let mut measured = Measured::new();
    let mut product = Product::start(&bench.host, &stage, false)?;
    let mut empty = Empty::load(stage.traced())?;
    let mut nobody = Crew::new();
    for round in 1..=ROUNDS {
        eprintln!("events: round {round} of {ROUNDS}");
        rounds::to(&mut empty, Some(Empty::hooks().len() - 1), &mut nobody)?;
        measure(bench, &stage, Setting::Empty, std::process::id(), &mut measured)?;
        rounds::to(&mut empty, None, &mut nobody)?;
        rounds::to(&mut product, Some(0), &mut nobody)?;
        for setting in [Setting::NotSelected, Setting::Selected] {
            measure(bench, &stage, setting, product.pid(), &mut measured)?;
        }
        rounds::to(&mut product, None, &mut nobody)?;
    }
    print(&measured);
    Ok(())
}

/// Runs each load once and records the times of the programs that the process `pid` has attached.
fn measure(bench: &Bench, stage: &Stage, setting: Setting, pid: u32, measured: &mut Measured) -> Result<()> {
    let cgroup = if setting == Setting::NotSelected { stage.plain() } else { stage.traced() };
    for (load, (kind, _)) in LOADS.iter().enumerate() {
        let mut worker = LoadWorker::start(*kind, cgroup, bench.cpu)?;
        let before = programs::attached(pid)?;
        worker.work(OPERATIONS)?;
        let after = programs::attached(pid)?;
        let mut all = 0.0;
        for (program, after) in after {
            let before = before.get(&program).copied().unwrap_or_default();
            let (runs, nanos) = (after.runs - before.runs, after.nanos - before.nanos);
            if runs >= FEW {
                all += nanos;
                measured.entry((load, hook(&program).to_owned(), setting)).or_default().push(nanos / runs);
            }
        }
        measured.entry((load, ALL.to_owned(), setting)).or_default().push(all / OPERATIONS as f64);
    }
    Ok(())
}

/// Returns the hook of a program: the product's program and the empty one on the same hook give the same name.
fn hook(program: &str) -> &str {
    program.trim_start_matches("tt_").trim_start_matches("empty_")
}

fn print(measured: &Measured) {
    let nanos = |load: usize, hook: &str, setting: Setting| {
        measured.get(&(load, hook.to_owned(), setting)).map(|values| median(values))
    };
    let mut rows = Vec::new();
    for (load, hook, _) in measured.keys().filter(|(.., setting)| *setting == Setting::Selected) {
        // The product may have programs on hooks for which there is no empty one.
        let empty = nanos(*load, hook, Setting::Empty);
        let cell = |setting| match (nanos(*load, hook, setting), empty) {
            (Some(nanos), Some(empty)) => format!("{nanos:.0} ({:+.0})", nanos - empty),
            (Some(nanos), None) => format!("{nanos:.0}"),
            (None, _) => "–".to_owned(),
        };
        rows.push(vec![
            LOADS[*load].1.to_owned(),
            hook.clone(),
            empty.map_or_else(|| "–".to_owned(), |nanos| format!("{nanos:.0}")),
            cell(Setting::NotSelected),
            cell(Setting::Selected),
        ]);
    }
    table::print(
        "Run time of each program in ns (against an empty program on the same hook). Medians of rounds.",
        &["load", "program", "empty", "container nobody traces", "traced container"],
        &rows,
    );
}
