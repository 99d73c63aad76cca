//! Throughput of nginx while it is traced with requests, traced without them, and not traced.

use std::{path::Path, time::Duration};

use super::{HTTP, LEVELS, PAGES, TRACING, check_counts};
use crate::{
    bench::{
        Bench, bpf_stats,
        rounds::{self, Crew, Measured, Plan},
        server::Server,
        stage::Stage,
        stats::Estimate,
        switch::Commands,
        table,
        worker::Worker,
    },
    support::Result,
};

/// Number of passes through the workers in a block.
const PASSES: usize = 2;
const LIMIT: Duration = Duration::from_secs(120);

/// Index in the [`Crew`] (the workers) of a page's worker in the traced container.
const fn traced(page: usize) -> usize {
    page * 2
}

/// Index in the crew of a page's worker in the container that is not traced.
const fn plain(page: usize) -> usize {
    page * 2 + 1
}

/// Rate of each page's worker at a level, as a share of its rate while tracing was off just before and after.
fn against_off(measured: &Measured, level: usize, worker: fn(usize) -> usize) -> Vec<Estimate> {
    let page = |page| measured.estimate(level, |round| round.off[worker(page)] / round.on[worker(page)]);
    (0..PAGES.len()).map(page).collect()
}

/// Rate with requests as a share of the rate with tracing alone, in the same rounds.
fn against_tracing(measured: &Measured) -> Vec<Estimate> {
    let pairs = || measured.levels[TRACING].iter().zip(&measured.levels[HTTP]);
    let page = |page| {
        // Each level is compared with the blocks around it that were off, since some seconds may lie between the two
        // levels.
        let share = |(tracing, http): (&rounds::Round, &rounds::Round)| {
            let cost = |round: &rounds::Round| round.on[traced(page)] / round.off[traced(page)];
            cost(tracing) / cost(http)
        };
        Estimate::of(&pairs().map(share).collect::<Vec<_>>())
    };
    (0..PAGES.len()).map(page).collect()
}

pub(super) fn run(bench: &Bench, stage: &Stage) -> Result<()> {
    bpf_stats::switch_off()?;
    let hire = || {
        let mut crew = Crew::new();
        for (page, _) in PAGES {
            for cgroup in [stage.traced(), stage.plain()] {
                crew.push(server(page, cgroup, bench.cpu)?);
            }
        }
        Ok(crew)
    };
    let mut commands = Commands::new(&bench.host, stage.traced(), &LEVELS);
    let (name, limit) = ("http".to_owned(), bench.limit(LIMIT));
    let plan = Plan { name, passes: PASSES, levels: LEVELS.len(), limit };
    let measured = rounds::run(&plan, &mut commands, hire, |measured| {
        let others = [TRACING, HTTP].map(|level| against_off(measured, level, plain));
        let own = [TRACING, HTTP].map(|level| against_off(measured, level, traced));
        [own, others].into_iter().flatten().flatten().collect()
    })?;
    println!("\nhttp: {}.", measured.effort());
    check_counts(&mut commands, HTTP, hire()?)?;
    print(&measured);
    Ok(())
}

fn server(page: crate::bench::server::Page, cgroup: &Path, cpu: usize) -> Result<Box<dyn Worker>> {
    Ok(Box::new(Server::start(page, true, cgroup, cpu)?))
}

fn print(measured: &Measured) {
    let row = |name: &str, cells: Vec<String>| [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>();
    let texts = |estimates: Vec<Estimate>| estimates.iter().map(ToString::to_string).collect();
    let micros = |level: usize, cost: &dyn Fn(&rounds::Round, usize) -> f64| -> Vec<Estimate> {
        (0..PAGES.len()).map(|page| measured.estimate(level, |round| cost(round, page) / 1e3)).collect()
    };
    let off = micros(HTTP, &|round, page| round.off[plain(page)]);
    let more = micros(HTTP, &|round, page| round.on[traced(page)] - round.off[traced(page)]);
    let rows = [
        row("µs a request, tracing off", off.iter().map(|cost| format!("{:.1}", cost.median)).collect()),
        row(
            "traced container, tracing without requests against off",
            texts(against_off(measured, TRACING, traced)),
        ),
        row("traced container, with requests against off", texts(against_off(measured, HTTP, traced))),
        row("the same, µs more a request", more.iter().map(|more| format!("{more:+.2}")).collect()),
        row("traced container, with requests against without", texts(against_tracing(measured))),
        row(
            "container nobody traces, tracing with requests against off",
            texts(against_off(measured, HTTP, plain)),
        ),
        row("control: one container against another, tracing off", {
            let ratio =
                |page| measured.estimate(HTTP, |round| round.off[plain(page)] / round.off[traced(page)]);
            texts((0..PAGES.len()).map(ratio).collect())
        }),
    ];
    let header: Vec<&str> = ["rate as a share"].into_iter().chain(PAGES.map(|(_, name)| name)).collect();
    table::print(
        "nginx, one process, under wrk with 8 connections on the same CPU, whose requests are shown. Medians of rounds \
         [95 % interval]; 1 is free.",
        &header,
        &rows,
    );
}
