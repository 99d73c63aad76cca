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
    /// Move bytes at random for a while, and compare.
    Soak(SoakArgs),
    /// Open and close connections beside busy loops, again and again, and look for some that stay open.
    OpenUnderLoad(OpenArgs),
    /// Send every odd form of HTTP, and compare what `traffictrace http` shows.
    Http(Options),
    /// Send and receive by known functions, and compare what `traffictrace flamegraph` shows of each.
    Stacks(Options),
    /// Send what no server of HTTP wants to read, from a cgroup, in a network namespace of its own.
    Hostile(HostileArgs),
    /// Run one case; started by the runner.
    #[command(hide = true)]
    Case(LeaderArgs),
    /// Play the cases of HTTP; started by their runner.
    #[command(hide = true)]
    HttpPlay(PlayArgs),
    /// Send and receive by known functions; started by the runner of `stacks`.
    #[command(hide = true)]
    StacksSend(SendArgs),
}

/// What the runner tells the process that plays the cases of HTTP.
#[derive(Args, Clone, Debug)]
pub(super) struct PlayArgs {
    /// The cgroup that is traced.
    #[arg(long)]
    pub(super) selected: PathBuf,
    /// Seed of what is random.
    #[arg(long)]
    pub(super) seed: u64,
    /// Only cases whose name contains this.
    #[arg(long)]
    pub(super) only: Vec<String>,
}

/// The sender of `stacks`, which reads its last arguments by itself.
#[derive(Args, Clone, Debug)]
pub(super) struct SendArgs {
    /// The cgroup to move to.
    pub(super) cgroup: PathBuf,
    /// Port, file to wait for, rounds and seed.
    #[arg(num_args = 4)]
    _arguments: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct HostileArgs {
    /// What to send.
    #[arg(value_enum)]
    pub(super) kind: Hostility,
    /// How many connections to make.
    #[arg(long, default_value_t = 1_000)]
    pub(super) connections: u32,
    /// The cgroup to do it in.
    #[arg(long)]
    pub(super) cgroup: PathBuf,
    /// Seed of what is random.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Hostility {
    /// Random bytes both ways, from the beginning or behind what looks like HTTP.
    Noise,
    /// Heads of a megabyte.
    Heads,
    /// One byte on each connection.
    OneByte,
    /// Requests byte by byte, on all connections at a time.
    Drip,
}

#[derive(Args, Clone, Debug)]
pub(super) struct SoakArgs {
    /// How long to go on.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,

    /// Only new TCP connections, as many as this machine can.
    #[arg(long, conflicts_with = "udp_queries")]
    pub(super) connections: bool,

    /// Only UDP sockets for one query each, 5,000 a second.
    #[arg(long)]
    pub(super) udp_queries: bool,

    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Args, Clone, Debug)]
pub(super) struct OpenArgs {
    /// How often.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) runs: u32,

    /// Busy loops beside it.
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

    /// Where the cgroup2 tree is mounted [default: found in /proc/self/mounts].
    #[arg(long, value_name = "DIR")]
    pub(super) cgroup_root: Option<PathBuf>,

    /// Only cases whose name contains this; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub(super) only: Vec<String>,

    /// Repeat the amounts of another run [default: a new seed; it is printed].
    #[arg(long, default_value_t = fastrand::u64(..), hide_default_value = true)]
    pub(super) seed: u64,

    /// Let packets interrupt other CPUs than the one that sends them, in a network namespace of its own: the kernel skips
    /// programs then, as it does now and then on every busy machine.
    #[arg(long)]
    pub(super) spread: bool,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

impl Cli {
    /// The options of a command that has them.
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

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people, a line for each case.
    Table,
    /// For programs, one document.
    Json,
}
