//! Command-line options of tables and of the live screen, shared by all commands that show rows.

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
    /// Unit that one row stands for. On one host, a pod is one container.
    #[arg(long, value_enum, default_value_t = By::Process)]
    by: By,

    /// Sort by this column, such as RECV, SENT/s, RETX or PROCESS [default: TOTAL in a table, TOTAL/s on the live screen].
    #[arg(long, value_name = "COLUMN", value_parser = column)]
    sort_by: Option<Column>,

    /// Show the two ends of a connection as separate rows, if both are traced.
    #[arg(long)]
    both_ends: bool,

    /// Print all columns that have values.
    #[arg(long)]
    wide: bool,

    /// Omit the heading and the names of the columns.
    #[arg(long)]
    no_headers: bool,

    /// Print plain tables even on a terminal, instead of the live screen.
    #[arg(long)]
    no_tui: bool,

    /// When to use colours on the live screen; NO_COLOR in the environment turns them off, too.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
}

/// The unit that one row of a table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Process,
    #[value(alias = "container")]
    Pod,
    Peer,
    Endpoint,
    Connection,
}

/// The choice of when to use colours.
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
    /// Returns true if the user wants the live screen, provided that the terminal can show it.
    #[must_use]
    pub fn wants_screen(&self) -> bool {
        !self.no_tui
    }

    /// Returns true if tables have a heading and names of columns.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        !self.no_headers
    }

    /// Returns the settings of a live screen whose heading is `subject`.
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

    /// Returns the options of a table of at most `rows` rows.
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
