//! The command line of `traffictrace top`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::host::{EngineArgs, FilterArgs, TargetArgs, interval, some_time};

/// Show who uses the network in one container, cgroup or process.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,

    /// Time between two tables, such as 1s, 500ms or 1m; at least 100ms.
    #[arg(long, default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// End after this many tables [default: go on until Ctrl-C].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End after this time, such as 30s or 5m [default: go on until Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = some_time, conflicts_with = "count")]
    pub(crate) duration: Option<Duration>,

    /// Show this many flows, those with the most bytes [default: 20 in a table, fewer on a smaller screen; all in
    /// JSON].
    #[arg(long, value_name = "FLOWS")]
    top: Option<usize>,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(super) engine: EngineArgs,

    /// Only these protocols: TCP, UDP, ICMP (ICMPv6 too).
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', help_heading = FilterArgs::HEADING)]
    pub(super) protocol: Vec<String>,

    // Last: its heading would be that of what follows, too.
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one document an interval, each on one line.
    Json,
}

impl TopArgs {
    /// Time between two tables.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the number of rows was given: then they are shown, also where the screen is smaller.
    pub(crate) fn asks_for_flows(&self) -> bool {
        self.top.is_some()
    }

    /// Most rows to show.
    pub(crate) fn top(&self) -> usize {
        self.top.unwrap_or(match self.output {
            Output::Table => 20,
            Output::Json => usize::MAX,
        })
    }
}
