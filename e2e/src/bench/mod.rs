//! `make bench`: what tracing costs. Every figure stands beside a baseline of the same run, taken in interleaved rounds,
//! because machines differ and are shared; medians and ratios are what to compare.

mod drain;
mod events;
mod load;
mod rates;
mod setting;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::support::{Result, needs};

/// Measure what the product costs.
#[derive(Debug, Parser)]
#[command(name = "tt-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 7, value_name = "N")]
    rounds: usize,
    /// Length of one load.
    #[arg(long, default_value_t = 400, value_name = "MILLISECONDS")]
    millis: u64,
    /// Only the parts whose name contains this: events, rates, drain.
    #[arg(long, default_value = "", value_name = "PART")]
    only: String,
    /// Most flows in the drain part.
    #[arg(long, default_value_t = 1_000_000, value_name = "FLOWS")]
    flows: u32,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make load on loopback for a while and print how much was done (used by the benchmark itself).
    #[command(hide = true)]
    Load {
        #[arg(value_enum)]
        kind: load::Kind,
        #[arg(long)]
        millis: u64,
        /// Join this cgroup first.
        #[arg(long)]
        cgroup: Option<PathBuf>,
        /// For `peers`: how many.
        #[arg(long, default_value_t = 0)]
        peers: u32,
    },
}

/// How often and how long.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    millis: u64,
}

/// Runs what the command line asks for.
///
/// # Errors
///
/// When the machine lacks something, or a part of it fails.
pub fn run(cli: Cli) -> Result<()> {
    if let Some(Command::Load { kind, millis, cgroup, peers }) = cli.command {
        return load::run(kind, millis, cgroup.as_deref(), peers);
    }
    let Some(host) = needs::host() else { return Ok(()) };
    let effort = Effort { rounds: cli.rounds.max(1), millis: cli.millis.max(50) };
    println!("{}, {} rounds of {} ms", machine(), effort.rounds, effort.millis);
    if "events".contains(&cli.only) {
        events::run(&host, effort)?;
    }
    if "rates".contains(&cli.only) {
        rates::run(&host, effort)?;
    }
    if "drain".contains(&cli.only) {
        drain::run(&host, cli.flows)?;
    }
    Ok(())
}

/// Kernel and processors, without which figures say nothing.
fn machine() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("Linux {} on {}, {cpus} CPUs", release.trim(), std::env::consts::ARCH)
}
