//! The command line of `traffictrace top`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, ValueEnum};
use traffictrace_view::{args::ViewArgs, live, text};

use crate::host::{EngineArgs, TRACING, TargetArgs, TrafficArgs, interval, some_time};

/// Show who uses the network in containers, a cgroup, a process, on the whole host or in a recording.
#[derive(Debug, Clone, Args)]
#[command(
    mut_group("target", |group| group.required(false)),
    group = ArgGroup::new("source").required(true).args(["container", "all", "host", "cgroup", "pid", "from"]),
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,

    /// Instead of tracing, show this recording of `traffictrace record` or of `traffictrace top -o json`; `-` is standard
    /// input. The live screen shows it at the speed at which it was recorded, other output at once.
    #[arg(long, value_name = "FILE", conflicts_with_all = TRACING, conflicts_with_all = ["interval", "duration"])]
    pub(super) from: Option<PathBuf>,

    /// With --from: speed factor of the live screen, such as 10 or 0.5.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed, conflicts_with_all = ["container", "all", "host", "cgroup", "pid"])]
    pub(super) speed: f64,

    /// Time between two tables, such as 1s, 500ms or 1m; at least 100ms.
    #[arg(long, default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// End after this many tables [default: continue until Ctrl-C].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End after this time, such as 30s or 5m [default: continue until Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = some_time, conflicts_with = "count")]
    pub(crate) duration: Option<Duration>,

    /// Maximum number of rows, those with the most bytes first; in JSON and CSV, of flows [default: 20 in a table; all in
    /// JSON and CSV].
    #[arg(long, value_name = "ROWS")]
    top: Option<usize>,

    /// Output format without the live screen.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(super) engine: EngineArgs,

    // Must come after the options without a heading, since its heading would also apply to the options after it.
    #[command(flatten)]
    view: ViewArgs,

    // Must be the last field, since its heading would also apply to the options after it.
    #[command(flatten)]
    pub(super) filter: TrafficArgs,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one document for each interval, each on one line.
    Json,
    /// For spreadsheets: one line for each flow and interval.
    Csv,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.001..=1_000_000.0).contains(&speed) => Ok(speed),
        _ => Err("must be a number from 0.001 to 1000000".into()),
    }
}

impl TopArgs {
    /// Interval between two tables.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns true if the user wants the live screen, provided that the terminal can show it.
    pub(super) fn wants_screen(&self) -> bool {
        self.output == Output::Table && self.count.is_none() && self.view.wants_screen()
    }

    /// Returns the settings of the live screen.
    pub(super) fn screen(&self, subject: String) -> live::Settings {
        self.view.screen(subject)
    }

    /// Returns the options of a table.
    pub(super) fn table(&self) -> text::Options {
        self.view.table(self.top.unwrap_or(20))
    }

    /// Returns true if the output has names of columns.
    pub(super) fn has_headers(&self) -> bool {
        self.view.has_headers()
    }

    /// Maximum number of flows in a snapshot, for printed output.
    pub(super) fn listed(&self) -> usize {
        match self.output {
            // A row of a table can sum up many flows, so the snapshot must have all flows.
            Output::Table => usize::MAX,
            Output::Json | Output::Csv => self.top.unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: TopArgs,
    }

    fn read(line: &str) -> Result<TopArgs, String> {
        let words = std::iter::once("top").chain(line.split(' '));
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        for line in [
            "--container web --wait",
            "-c web --wait=5m",
            "--all --by container",
            "--host --by pod",
            "--from - --speed 10",
        ] {
            assert!(read(line).is_ok(), "{line}: {:?}", read(line));
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, part) in [
            ("-o json", "<--container <NAME|ID>|--all|--host|--cgroup <PATH>|--pid <PID>|--from <FILE>>"),
            ("--all --host", "cannot be used with"),
            ("--all --container web", "cannot be used with"),
            ("--all --only-pid", "cannot be used with"),
            ("--wait --all", "cannot be used with"),
            ("--container web --wait=soon", "whole number with its unit"),
            ("--container web --speed 2", "cannot be used with"),
            ("--from a.jsonl --all", "cannot be used with"),
            ("--from a.jsonl --interval 2s", "cannot be used with"),
            ("--from a.jsonl --port 80", "cannot be used with"),
            ("--from a.jsonl --speed 0", "0.001"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
