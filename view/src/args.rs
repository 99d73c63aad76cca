//! The options of a command line that shows rows, the same for every command.

use clap::{Args, ValueEnum};

use crate::{
    live,
    rows::{Choice, View},
    sort::{Column, Order},
    text,
};

/// Options of the table and of the live screen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "View")]
pub struct ViewArgs {
    /// One row for each of these. On one host a pod is one container.
    #[arg(long, value_enum, default_value_t = By::Process)]
    by: By,

    /// Sort by this column, such as RECV, SENT/s, RETX or PROCESS [default: TOTAL in a table, TOTAL/s on the live screen].
    #[arg(long, value_name = "COLUMN", value_parser = column)]
    sort_by: Option<Column>,

    /// Show both ends of a connection as rows of their own, where both are traced.
    #[arg(long)]
    both_ends: bool,

    /// Print every column that is known.
    #[arg(long)]
    wide: bool,

    /// Print no heading and no names of columns.
    #[arg(long)]
    no_headers: bool,

    /// Print plain tables also on a terminal, in place of the live screen.
    #[arg(long)]
    no_tui: bool,

    /// When to use colours on the live screen; NO_COLOR in the environment turns them off, too.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
}

/// What a row of a table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Process,
    #[value(alias = "container")]
    Pod,
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

impl ViewArgs {
    /// Whether the live screen is wanted, if the terminal can show it.
    #[must_use]
    pub fn wants_screen(&self) -> bool {
        !self.no_tui
    }

    /// Whether columns are named.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        !self.no_headers
    }

    /// The settings of the live screen of `subject`.
    #[must_use]
    pub fn screen(&self, subject: String) -> live::Settings {
        let settings = live::Settings::from_environment();
        let colour = match self.color {
            Color::Auto => settings.colour,
            Color::Never => false,
            Color::Always => true,
        };
        let order = Order { column: self.sort_by.unwrap_or_default(), is_reversed: false };
        live::Settings { subject, colour, choice: self.choice(), order, ..settings }
    }

    /// The form of a table of so many rows at most.
    #[must_use]
    pub fn table(&self, rows: usize) -> text::Options {
        text::Options {
            choice: self.choice(),
            order: Order { column: self.sort_by.unwrap_or(Column::Bytes), is_reversed: false },
            rows,
            wide: self.wide,
            headers: self.has_headers(),
            ..text::Options::default()
        }
    }

    fn choice(&self) -> Choice {
        let view = match self.by {
            By::Process => View::Process,
            By::Pod => View::Pod,
            By::Peer => View::Peer,
            By::Endpoint => View::Endpoint,
            By::Connection => View::Connection,
        };
        Choice { view, both_ends: self.both_ends, ..Choice::default() }
    }
}
