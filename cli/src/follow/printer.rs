//! Plain output: a table, a line of JSON or lines of CSV for each state of the numbers.

use std::{
    io::{self, Write as _, stdout},
    sync::Arc,
};

use clap::ValueEnum;
use terminal_size::{Width, terminal_size_of};
use tokio::task::spawn_blocking;
use traffictrace_view::{Snapshot, csv, json, text};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one document for each report, each on one line.
    Json,
    /// For spreadsheets: one line for each flow and report.
    Csv,
}

/// Prints snapshots, those with the same numbers once.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) output: Output,
    table: Arc<text::Options>,
    /// Number of flows that are listed at most.
    flows: usize,
    last: Option<Snapshot>,
    /// Number of snapshots that were printed.
    pub(super) printed: u64,
}

impl Printer {
    pub(super) fn new(output: Output, table: text::Options, flows: usize) -> Self {
        Self { output, table: Arc::new(table), flows, last: None, printed: 0 }
    }

    /// Whether a snapshot has what was not printed yet: other numbers, or the same ones of a later time.
    pub(super) fn is_news(&self, snapshot: &Snapshot) -> bool {
        self.last.as_ref() != Some(snapshot)
    }

    /// Prints a snapshot. `false`: whoever read the output has had enough.
    pub(super) async fn print(&mut self, snapshot: &Snapshot) -> io::Result<bool> {
        let (output, table, is_first) = (self.output, Arc::clone(&self.table), self.printed == 0);
        let mut printed = snapshot.clone();
        if output != Output::Table {
            printed.flows.truncate(self.flows);
        }
        // A reader that is slow does not keep signals from being heard.
        let done = spawn_blocking(move || print(output, &table, &printed, is_first)).await;
        self.printed += 1;
        self.last = Some(snapshot.clone());
        match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }
}

fn print(output: Output, table: &text::Options, snapshot: &Snapshot, is_first: bool) -> io::Result<()> {
    let mut out = Vec::new();
    match output {
        Output::Json => json::write(&mut out, snapshot)?,
        Output::Csv => csv::Writer::new(&mut out, is_first && table.headers).write(snapshot)?,
        Output::Table => {
            let width = terminal_size_of(stdout()).map(|(Width(columns), _)| columns.into());
            // A size that is not known is told as 0.
            let options = text::Options { width: width.filter(|width| *width > 0), ..table.clone() };
            if !is_first {
                out.push(b'\n');
            }
            out.extend(text::table(snapshot, &options).into_bytes());
        }
    }
    let mut stdout = stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()
}
