//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use super::{
    WorkloadError,
    client::{ClientPlan, Work},
    gate::Trigger,
};

/// Moves known amounts over TCP and prints its own count of them, one JSON line.
#[derive(Debug, Parser)]
#[command(name = "tt-workload", version)]
pub struct Cli {
    #[command(flatten)]
    pub(super) process: ProcessArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of a process in every role.
#[derive(Clone, Debug, Args)]
pub(super) struct ProcessArgs {
    /// Join this cgroup (a folder) first.
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) cgroup: Option<PathBuf>,
    /// Set the process name (at most 15 bytes are shown).
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) comm: Option<String>,
    /// Do the work in this many child processes, each of which prints its own line.
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub(super) fork: u16,
    /// Stop after this many seconds.
    #[arg(long = "for", global = true, value_name = "SECONDS", default_value_t = 600)]
    pub(super) seconds: u32,
    /// Also append each line to this file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) result: Option<PathBuf>,
    /// Leave out the list of connections.
    #[arg(long, global = true)]
    pub(super) totals_only: bool,
    /// The listening socket of the parent is this process's standard input.
    #[arg(long, global = true, hide = true)]
    pub(super) inherited_listener: bool,
}

impl ProcessArgs {
    pub(super) fn time_limit(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Serve clients; ends at SIGTERM, after --connections or at the time limit. SIGUSR1 prints the count so far.
    Server(ServerArgs),
    /// Exchange random amounts over many connections.
    Client(ClientArgs),
    /// Keep a steady rate for the seconds of --for, or up to a minute longer if it was held up.
    Load(LoadArgs),
    /// Do every operation that moves bytes through a socket, between child processes.
    Operations {
        /// Seed of the random amounts.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Let a paused client continue by creating the file that it waits for.
    Release {
        /// The file that was given to --pause.
        file: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct ServerArgs {
    /// Address and port; port 0 selects a free one, which is printed. `[::]:PORT` serves IPv4 too.
    #[arg(long, required = true, value_name = "ADDR:PORT")]
    pub(super) listen: Vec<SocketAddr>,
    /// End after this many connections have been closed.
    #[arg(long, value_name = "N")]
    pub(super) connections: Option<usize>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct TargetArgs {
    /// Addresses of the servers, used in turn.
    #[arg(long, required = true, value_name = "ADDR:PORT")]
    pub(super) connect: Vec<SocketAddr>,
    /// Retry for this many seconds if a server does not answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(super) wait: u32,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Total number of connections.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) connections: usize,
    /// Number of connections that are open at a time, each in a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) concurrency: usize,
    /// Minimum number of bytes of a connection in each direction.
    #[arg(long, value_name = "BYTES", default_value = "1", value_parser = parse_size)]
    pub(super) bytes_min: u64,
    /// Maximum number of bytes of a connection in each direction.
    #[arg(long, value_name = "BYTES", default_value = "64KiB", value_parser = parse_size)]
    pub(super) bytes_max: u64,
    /// Seed of the random amounts; the same seed gives the same amounts.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Number of requests and answers that the amount of a connection is split into.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) rounds: u64,
    /// Maximum number of bytes a second, both directions together.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(super) rate: Option<u64>,
    /// Pause when each thread is in the middle of its first connection, print the count, and continue when this file
    /// appears (`stdin`: when a line can be read).
    #[arg(long, value_name = "FILE|stdin")]
    pub(super) pause: Option<Trigger>,
}

impl ClientArgs {
    pub(super) fn plan(&self) -> Result<ClientPlan, WorkloadError> {
        if self.bytes_min == 0 || self.bytes_min > self.bytes_max {
            return Err(WorkloadError::Usage(format!(
                "--bytes-min {} must be at least 1 and at most --bytes-max {}",
                self.bytes_min, self.bytes_max
            )));
        }
        Ok(ClientPlan {
            targets: self.target.connect.clone(),
            wait: Duration::from_secs(self.target.wait.into()),
            concurrency: self.concurrency.clamp(1, self.connections.max(1)),
            rate: self.rate,
            pause: self.pause.clone(),
            work: Work::random(
                self.seed,
                self.connections,
                self.bytes_min..=self.bytes_max,
                self.rounds.clamp(1, 1000),
            ),
        })
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct LoadArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Number of bytes to send each second, all connections together.
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    pub(super) rate: u64,
    /// Number of bytes to request each second, all connections together.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_size)]
    pub(super) reply: u64,
    /// Number of connections that carry the load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) connections: usize,
}

impl LoadArgs {
    pub(super) fn plan(&self, time_limit: Duration) -> Result<ClientPlan, WorkloadError> {
        let connections = self.connections.max(1);
        let work = Work::steady(self.rate, self.reply, connections, time_limit);
        if self.rate.saturating_add(self.reply) == 0 {
            return Err(WorkloadError::Usage("--rate and --reply are both 0: nothing to move".to_owned()));
        }
        Ok(ClientPlan {
            targets: self.target.connect.clone(),
            wait: Duration::from_secs(self.target.wait.into()),
            concurrency: connections,
            rate: Some(self.rate.saturating_add(self.reply)),
            pause: None,
            work,
        })
    }
}

/// Parses a size such as `1500`, `64KiB`, `2MiB` or `1GiB`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("unit {unit:?} is none of KiB, MiB, GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is not a whole number"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text} does not fit 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::{Cli, parse_size};
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        for (text, expected) in
            [("0", Ok(0)), ("1500", Ok(1500)), ("64KiB", Ok(65536)), ("2MiB", Ok(2 << 20))]
        {
            assert_eq!(parse_size(text), expected, "{text}");
        }
        for text in ["", "MiB", "5kb", "-1", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
