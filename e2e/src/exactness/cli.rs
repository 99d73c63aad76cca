//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::leader::LeaderArgs;

/// Do every operation that moves bytes through a socket, and compare what TrafficTrace shows, byte for byte.
#[derive(Parser, Clone, Debug)]
#[command(name = "tt-exact", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Command {
    /// Move random amounts of bytes for some time, and compare.
    Soak(SoakArgs),
    /// Open and close connections beside busy loops, repeatedly, and look for connections that stay open.
    OpenUnderLoad(OpenArgs),
    /// Send every unusual form of HTTP, and compare with the output of `traffictrace http`.
    Http(Options),
    /// Send and receive by known functions, and compare with the output of `traffictrace flamegraph` for each.
    Stacks(Options),
    /// Send traffic that no HTTP server wants, from a cgroup, in a network namespace of its own.
    Hostile(HostileArgs),
    /// Run one case; started by the runner.
    #[command(hide = true)]
    Case(LeaderArgs),
    /// Play the HTTP cases; started by their runner.
    #[command(hide = true)]
    HttpPlay(PlayArgs),
    /// Send and receive by known functions; started by the runner of `stacks`.
    #[command(hide = true)]
    StacksSend(SendArgs),
}

/// Arguments of the process that plays the HTTP cases.
#[derive(Args, Clone, Debug)]
pub(super) struct PlayArgs {
    /// Cgroup that is traced.
    #[arg(long)]
    pub(super) selected: PathBuf,
    /// Seed of the random numbers.
    #[arg(long)]
    pub(super) seed: u64,
    /// Run only cases whose name contains this text.
    #[arg(long)]
    pub(super) only: Vec<String>,
}

/// Arguments of the sender of `stacks`, which parses the last ones itself.
#[derive(Args, Clone, Debug)]
pub(super) struct SendArgs {
    /// Cgroup to move to.
    pub(super) cgroup: PathBuf,
    /// Port, file to wait for, number of rounds, and seed.
    #[arg(num_args = 4)]
    _arguments: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct HostileArgs {
    /// Kind of traffic to send.
    #[arg(value_enum)]
    pub(super) kind: Hostility,
    /// Number of connections.
    #[arg(long, default_value_t = 1_000)]
    pub(super) connections: u32,
    /// Cgroup to join first.
    #[arg(long)]
    pub(super) cgroup: PathBuf,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

/// Kind of traffic to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Hostility {
    /// Random bytes in both directions, from the beginning or after a first part that looks like HTTP.
    Noise,
    /// Heads of one megabyte.
    Heads,
    /// One byte on each connection.
    OneByte,
    /// Requests sent byte by byte, on all connections at the same time.
    Drip,
}

#[derive(Args, Clone, Debug)]
pub(super) struct SoakArgs {
    /// Duration in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,

    /// Only new TCP connections, as many as this machine manages.
    #[arg(long, conflicts_with = "udp_queries")]
    pub(super) connections: bool,

    /// Only UDP sockets that are used for one query each, 5,000 a second.
    #[arg(long)]
    pub(super) udp_queries: bool,

    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Args, Clone, Debug)]
pub(super) struct OpenArgs {
    /// Number of runs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) runs: u32,

    /// Number of busy loops.
    #[arg(long, default_value_t = 3)]
    pub(super) loops: u32,

    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// The product's binary [default: `traffictrace` in the folder of this program].
    #[arg(long, value_name = "PATH")]
    pub(super) product: Option<PathBuf>,

    /// Kernel hooks that the product must use [default: those that it chooses].
    #[arg(long, value_name = "NAME")]
    pub(super) hook_tier: Option<String>,

    /// Mount point of the cgroup2 tree [default: found in /proc/self/mounts].
    #[arg(long, value_name = "DIR")]
    pub(super) cgroup_root: Option<PathBuf>,

    /// Run only cases whose name contains this text; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,

    /// Repeat the amounts of another run [default: a new seed; it is printed].
    #[arg(long, default_value_t = fastrand::u64(..), hide_default_value = true)]
    pub(super) seed: u64,

    /// Handle packets on other CPUs than the sender's, in a network namespace of its own. The kernel then skips
    /// programs, as it does now and then on every busy machine.
    #[arg(long)]
    pub(super) spread: bool,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

impl Cli {
    /// Returns the options of the chosen command, if it has any.
    pub(super) fn options(&self) -> Option<&Options> {
        match &self.command {
            None => Some(&self.options),
            Some(Command::Soak(args)) => Some(&args.options),
            Some(Command::OpenUnderLoad(args)) => Some(&args.options),
            Some(Command::Http(options) | Command::Stacks(options)) => Some(options),
            Some(Command::Case(_) | Command::HttpPlay(_) | Command::StacksSend(_) | Command::Hostile(_)) => {
                None
            }
        }
    }
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A line for each case, for people.
    Table,
    /// One JSON document, for programs.
    Json,
}
