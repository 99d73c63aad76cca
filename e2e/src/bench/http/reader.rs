//! CPU time of the process that reads and parses, for each 10,000 requests.

use std::time::Duration;

use super::{HTTP, LEVELS, PAGES, counted};
use crate::{
    bench::{
        Bench, interrupt,
        rounds::{self, Crew},
        server::Server,
        stage::Stage,
        stats::Estimate,
        switch::Commands,
        table, usage,
    },
    support::Result,
};

/// Number of slices of each load, and their length.
const SLICES: usize = 8;
const SLICE: Duration = Duration::from_millis(1000);
/// Number of requests that the figures are given for.
const REQUESTS: f64 = 10_000.0;

pub(super) fn run(bench: &Bench, stage: &Stage) -> Result<()> {
    let mut rows = Vec::new();
    for (page, name) in PAGES {
        eprintln!("http, reader: {name}");
        let mut commands = Commands::new(&bench.host, stage.traced(), &LEVELS);
        let mut server = Server::start(page, true, stage.traced(), bench.cpu)?;
        rounds::to(&mut commands, Some(HTTP), &mut Crew::new())?;
        let (mut used, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            interrupt::check()?;
            let before = usage::cpu(commands.pid()?)?;
            let requests = server.serve(SLICE)?;
            used.push((usage::cpu(commands.pid()?)? - before) / requests * REQUESTS);
            rates.push(requests / SLICE.as_secs_f64());
        }
        drop(server);
        rounds::to(&mut commands, None, &mut Crew::new())?;
        let (counted, lost) = counted(&commands)?;
        rows.push(vec![
            name.to_owned(),
            format!("{:.0}", Estimate::of(&rates).median),
            format!("{:.1}", Estimate::of(&used)),
            format!("{counted:.0}"),
            format!("{lost:.0}"),
        ]);
    }
    table::print(
        "CPU time of `traffictrace http --summary` for 10,000 requests, medians in ms [95 % interval].",
        &["load", "requests a second", "CPU", "requests counted", "records lost"],
        &rows,
    );
    Ok(())
}
