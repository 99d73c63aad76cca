//! The command line of `traffictrace top`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::filter::FilterArgs;
use crate::kernel::TierChoice;

/// Show who uses the network in one container, cgroup or process.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["cgroup", "pid"]))]
pub(crate) struct TopArgs {
    /// Trace this cgroup and everything below it, named from the root of the cgroup2 tree (see /proc/PID/cgroup). If it is
    /// made anew, as for a service that restarts, the trace goes on.
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,

    /// Trace the container of this process, or, if it is in none, the process and its descendants.
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,

    /// With --pid: trace that one process alone.
    #[arg(long, requires = "pid", conflicts_with = "cgroup")]
    pub(crate) only_pid: bool,

    /// Time between two tables, such as 1s, 500ms or 1m; at least 100ms.
    #[arg(long, default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// End after this many tables [default: go on until Ctrl-C].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Show this many flows, those with the most bytes [default: 20 in a table, fewer on a smaller screen; all in
    /// JSON].
    #[arg(long, value_name = "FLOWS")]
    top: Option<usize>,

    /// Keep about this many flows; beyond that, closed ones fold into one row for each process and protocol.
    #[arg(long, default_value_t = 131_072, value_parser = max_flows)]
    pub(crate) max_flows: usize,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    /// Kernel hooks that count: tp_btf, fexit or kretprobe; auto takes the first of these that works (see
    /// `traffictrace check`).
    #[arg(long, value_name = "TIER", default_value_t = TierChoice::Auto)]
    pub(crate) hook_tier: TierChoice,

    /// Where the host's cgroup2 tree is mounted [default: found in /proc/self/mountinfo].
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<PathBuf>,

    // Last: its heading would be that of what follows, too.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
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

fn interval(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a whole number with its unit, such as 500ms, 1s, 5m or 1h".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write a whole number with its unit, such as 500ms, 1s, 5m or 1h".to_owned())?;
    let interval = Duration::from_millis(number.saturating_mul(millis));
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(24 * 3600) {
        return Err("must be at least 100ms and at most 24h".into());
    }
    Ok(interval)
}

fn max_flows(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(flows @ 1..=4_000_000) => Ok(flows),
        _ => Err("must be a number from 1 to 4000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_need_a_unit_and_sense() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "1", "s", "1.5s", "-1s", "10ms", "1d", "99999999999999999999s", "25h", "1 s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
