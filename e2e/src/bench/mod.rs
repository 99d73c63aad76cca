//! `make bench`: the cost of tracing. Every figure is a ratio of the same load in alternating slices of one run, with a
//! 95 % interval, because machines differ and are shared.
//!
//! * [`events`]: nanoseconds of each program, by the kernel's statistics.
//! * [`rates`] and [`nginx`], by [`compare`]: small operations, and a real server.
//! * [`http`]: a real server whose requests are shown.
//! * [`stacks`]: calls whose stacks are taken.
//! * [`hooks`]: programs that do nothing.
//! * [`drain`]: reading and ranking many flows.
//!
//! The measurements consist of [`rounds`] of [`worker`]s that take turns while a [`switch`] goes on and off.

mod bpf_stats;
mod child;
mod compare;
mod drain;
mod events;
mod hooks;
mod http;
mod interrupt;
mod load;
mod machine;
mod nginx;
mod programs;
mod rates;
mod rounds;
mod server;
mod stacks;
mod stage;
mod stats;
mod switch;
mod table;
mod usage;
mod worker;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::support::{
    Result,
    needs::{self, Host},
};

/// Measure what the product costs.
#[derive(Debug, Parser)]
#[command(name = "tt-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Parts to run, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Multiplies the time after which a measurement ends although its interval is wider than ±0.7 %.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    patience: f64,
    /// Largest number of flows in the drain part.
    #[arg(long, default_value_t = 1_000_000, value_name = "FLOWS")]
    flows: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Events,
    Rates,
    Hooks,
    Nginx,
    Http,
    Stacks,
    Drain,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make load on loopback when asked to (used by the benchmark itself).
    #[command(hide = true)]
    Load {
        #[arg(value_enum)]
        kind: load::Kind,
        /// Join this cgroup first.
        #[arg(long)]
        cgroup: PathBuf,
        /// Stay on this processor.
        #[arg(long)]
        cpu: Option<usize>,
        /// Number of peers, for `peers`.
        #[arg(long, default_value_t = 0)]
        peers: u32,
    },
}

/// The environment that all parts need.
#[derive(Debug)]
struct Bench {
    host: Host,
    /// Number of the processor that is reserved for the load.
    cpu: usize,
    patience: f64,
}

impl Bench {
    /// Multiplies a time limit by the factor of `--patience`.
    fn limit(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.patience)
    }
}

/// Runs the parts that the command line asks for.
///
/// # Errors
///
/// Fails when the machine lacks something, when a part fails, or after a signal.
pub fn run(cli: Cli) -> Result<()> {
    if let Some(Command::Load { kind, cgroup, cpu, peers }) = cli.command {
        return load::serve(kind, &cgroup, cpu, peers);
    }
    let Some(host) = needs::host() else { return Ok(()) };
    interrupt::listen()?;
    println!("{}", machine::describe(&host.traffictrace));
    let bench = Bench { host, cpu: machine::reserve()?, patience: cli.patience.clamp(0.0, 100.0) };
    for part in Part::value_variants() {
        if !cli.only.is_empty() && !cli.only.contains(part) {
            continue;
        }
        let done = match part {
            Part::Events => events::run(&bench),
            Part::Rates => compare::run(&bench, &rates::Rates),
            Part::Hooks => hooks::run(&bench),
            Part::Nginx => nginx::run(&bench),
            Part::Http => http::run(&bench),
            Part::Stacks => stacks::run(&bench),
            Part::Drain => drain::run(&bench, cli.flows),
        };
        // After a signal, this reports the signal instead of the error that it caused in the part.
        interrupt::check()?;
        done?;
    }
    Ok(())
}
