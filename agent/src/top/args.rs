//! The command line of `traffictrace top`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use traffictrace_view::{
    live,
    rows::{Choice, View},
    sort::{Column, Order},
    text,
};

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

    /// Show this many rows, those with the most bytes; in JSON and CSV this many flows [default: 20 in a table; all in JSON
    /// and CSV].
    #[arg(long, value_name = "ROWS")]
    top: Option<usize>,

    /// How to print, where the live screen is not wanted.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    /// One row for each of these, in a table.
    #[arg(long, value_enum, default_value_t = By::Process, help_heading = "View")]
    by: By,

    /// Sort by this column, such as RECV, SENT/s, RETX or PROCESS [default: TOTAL in a table, TOTAL/s on the live screen].
    #[arg(long, value_name = "COLUMN", value_parser = column, help_heading = "View")]
    sort_by: Option<Column>,

    /// Show both ends of a connection as rows of their own, where both are traced.
    #[arg(long, help_heading = "View")]
    both_ends: bool,

    /// Print every column that is known.
    #[arg(long, help_heading = "View")]
    wide: bool,

    /// Print no heading and no names of columns.
    #[arg(long, help_heading = "View")]
    no_headers: bool,

    /// Print plain tables also on a terminal, in place of the live screen.
    #[arg(long, help_heading = "View")]
    no_tui: bool,

    /// When to use colours on the live screen; NO_COLOR in the environment turns them off, too.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, help_heading = "View")]
    color: Color,

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
    /// For spreadsheets: one line for each flow and interval.
    Csv,
}

/// What a row of a table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Process,
    Peer,
    Endpoint,
    Connection,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Never,
    Always,
}

fn column(name: &str) -> Result<Column, String> {
    Column::named(name).ok_or_else(|| {
        let names = Column::ALL.map(Column::name);
        format!("there is no column {name:?}; the columns are {}", names.join(", "))
    })
}

impl TopArgs {
    /// Time between two tables.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the live screen is wanted, if the terminal can show it.
    pub(super) fn wants_screen(&self) -> bool {
        self.output == Output::Table && self.count.is_none() && !self.no_tui
    }

    /// The settings of the live screen.
    pub(super) fn screen(&self, subject: String) -> live::Settings {
        let settings = live::Settings::from_environment();
        let colour = match self.color {
            Color::Auto => settings.colour,
            Color::Never => false,
            Color::Always => true,
        };
        let order = Order { column: self.sort_by.unwrap_or_default(), is_reversed: false };
        live::Settings { subject, colour, choice: self.table().choice, order, ..settings }
    }

    /// The form of a table.
    pub(super) fn table(&self) -> text::Options {
        let view = match self.by {
            By::Process => View::Process,
            By::Peer => View::Peer,
            By::Endpoint => View::Endpoint,
            By::Connection => View::Connection,
        };
        text::Options {
            choice: Choice { view, both_ends: self.both_ends, ..Choice::default() },
            order: Order { column: self.sort_by.unwrap_or(Column::Bytes), is_reversed: false },
            rows: self.top.unwrap_or(20),
            wide: self.wide,
            headers: self.has_headers(),
            ..text::Options::default()
        }
    }

    /// Whether columns are named.
    pub(super) fn has_headers(&self) -> bool {
        !self.no_headers
    }

    /// Number of flows that a snapshot lists at most, where it is printed.
    pub(super) fn listed(&self) -> usize {
        match self.output {
            // A row can be many flows.
            Output::Table => usize::MAX,
            Output::Json | Output::Csv => self.top.unwrap_or(usize::MAX),
        }
    }
}
