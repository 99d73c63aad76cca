//! `tt-workload`, the source of the known amounts in exactness tests.
//!
//! The program counts the results of its own system calls for each connection, and prints the counts as one line of
//! JSON ([`count::Line`]). It shares no code with the product, so the two only agree if both are right.
//!
//! One thread serves one connection. All threads share a [`count::Ledger`]; a byte is counted after the call that moved
//! it returned and before the next call, so counts that are printed after the threads have ended are exact, even if a
//! signal or the time limit ended them.

mod cli;
mod client;
pub mod count;
mod error;
mod exchange;
mod forking;
mod gate;
mod pace;
mod server;
mod stop;

use std::time::Duration;

pub use cli::Cli;
pub use error::WorkloadError;

use cli::Command;
use count::Output;
use stop::Stop;

use crate::exactness::work;

/// Runs the command line; returns true if everything that was planned was moved.
///
/// # Errors
///
/// Fails when the process cannot be set up as requested (name, cgroup, addresses) or its counts cannot be written. A
/// failed connection is no error: it is counted in [`count::Line::failures`].
pub fn run(cli: Cli) -> Result<bool, WorkloadError> {
    let Cli { process, command } = cli;
    if let Command::Release { file } = &command {
        return gate::release(file).map(|()| true);
    }
    // This comes before any thread is started, because the operations fork.
    if let Command::Operations { seed } = &command {
        return operations(*seed);
    }
    if let Some(cgroup) = &process.cgroup {
        stop::join_cgroup(cgroup)?;
    }
    if let Some(name) = &process.comm {
        stop::set_process_name(name)?;
    }
    let late = if let Command::Load(_) = &command { client::LATE } else { Duration::ZERO };
    let stop = Stop::new(process.time_limit() + late)?;
    let output = Output::new(process.result.clone(), process.totals_only);
    if process.fork > 0 {
        return forking::run(&process, &command, &stop, &output);
    }
    match &command {
        Command::Server(server) => server::run(server, &process, &stop, &output),
        Command::Client(client) => client::run(&client.plan()?, &stop, &output),
        Command::Load(load) => client::run(&load.plan(process.time_limit())?, &stop, &output),
        Command::Operations { .. } | Command::Release { .. } => Ok(true),
    }
}

fn operations(seed: u64) -> Result<bool, WorkloadError> {
    let lines = work::run(seed).map_err(|error| WorkloadError::Operations(error.to_string()))?;
    let mut text = String::new();
    for line in &lines {
        text += &serde_json::to_string(line).map_err(|e| WorkloadError::Operations(e.to_string()))?;
        text.push('\n');
    }
    Output::new(None, true).write(&text)?;
    Ok(lines.iter().all(|line| line.failures == 0))
}
