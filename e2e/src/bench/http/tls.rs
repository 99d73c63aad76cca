//! Throughput of an nginx that speaks TLS: while its plain text is read, and while only its packets are looked at.

use std::time::Duration;

use super::{HTTP, check_counts};
use crate::{
    bench::{
        Bench, bpf_stats,
        rounds::{self, Crew, Plan, Round},
        server::{Page, Server},
        stage::Stage,
        stats::Estimate,
        switch::Commands,
        table,
    },
    support::Result,
};

/// Arguments of the command for each level: without the requests inside TLS, and with them.
const LEVELS: [&[&str]; 2] = [super::LEVELS[HTTP], &["http", "-o", "json", "--summary", "--tls"]];
const WITHOUT: usize = 0;
const WITH: usize = 1;
const PASSES: usize = 2;
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(bench: &Bench, stage: &Stage) -> Result<()> {
    bpf_stats::switch_off()?;
    let hire = || -> Result<Crew> {
        Ok(vec![Box::new(Server::start(Page::Encrypted, true, stage.traced(), bench.cpu)?)])
    };
    let mut commands = Commands::new(&bench.host, stage.traced(), &LEVELS);
    let (name, limit) = ("http, TLS".to_owned(), bench.limit(LIMIT));
    let plan = Plan { name, passes: PASSES, levels: LEVELS.len(), limit };
    let share = |round: &Round| round.off[0] / round.on[0];
    let measured = rounds::run(&plan, &mut commands, hire, |measured| {
        vec![measured.estimate(WITHOUT, share), measured.estimate(WITH, share)]
    })?;
    println!("\nhttp, TLS: {}.", measured.effort());
    check_counts(&mut commands, WITH, hire()?)?;
    let row = |name: &str, level: usize| {
        let more: Estimate = measured.estimate(level, |round| (round.on[0] - round.off[0]) / 1e3);
        vec![name.to_owned(), measured.estimate(level, share).to_string(), format!("{more:+.1}")]
    };
    let off = measured.estimate(WITH, |round| round.off[0] / 1e3);
    table::print(
        "nginx, one process, 2 bytes by TLS 1.3, under wrk with 8 connections on the same CPU. Medians of rounds [95 % \
         interval]; 1 is free.",
        &[&format!("{:.1} µs a request, tracing off", off.median), "rate as a share", "µs more a request"],
        &[row("requests, without those inside TLS", WITHOUT), row("requests, with those inside TLS", WITH)],
    );
    Ok(())
}
