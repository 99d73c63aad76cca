//! Plain output: one table, JSON line or block of CSV lines for each change of the numbers.

use std::{
    io::{self, Write as _, stdout},
    sync::Arc,
};

use clap::ValueEnum;
use terminal_size::{Width, terminal_size_of};
use tokio::task::spawn_blocking;
use traffictrace_view::{Snapshot, csv, json, text};

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: one document for each report, each on one line.
    Json,
    /// For spreadsheets: one line for each flow and report.
    Csv,
}

/// Prints snapshots, and skips those whose numbers were printed already.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) output: Output,
    table: Arc<text::Options>,
    /// Maximum number of flows in the output.
    flows: usize,
    last: Option<Snapshot>,
    /// Number of snapshots that were printed.
    pub(super) printed: u64,
}

impl Printer {
    pub(super) fn new(output: Output, table: text::Options, flows: usize) -> Self {
        Self { output, table: Arc::new(table), flows, last: None, printed: 0 }
    }

    /// Returns true if a snapshot has not been printed yet: its numbers or its time have changed.
    pub(super) fn is_news(&self, snapshot: &Snapshot) -> bool {
        self.last.as_ref() != Some(snapshot)
    }

    /// Limits the flows of a snapshot. A table says itself how many it leaves out; in the other formats the totals include the flows
    /// that are left out.
    fn listed(&self, snapshot: &Snapshot) -> Snapshot {
        let mut listed = snapshot.clone();
        if self.output != Output::Table {
            self.table.choice.filter.retain(&mut listed);
            listed.flows.truncate(self.flows);
        }
        listed
    }

    /// Prints a snapshot. Returns `false` if the reader of a pipe has closed it.
    pub(super) async fn print(&mut self, snapshot: &Snapshot) -> io::Result<bool> {
        let (output, table, is_first) = (self.output, Arc::clone(&self.table), self.printed == 0);
        let printed = self.listed(snapshot);
        // On another thread, so that a slow reader does not delay the handling of signals.
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
            // An unknown width is reported as 0.
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

#[cfg(test)]
mod tests {
    use traffictrace_view::filter::Filter;

    use super::*;
    use crate::{snapshot, testing::running};

    #[test]
    fn every_form_is_filtered() {
        let snapshot = snapshot::of(&running());
        let pod = snapshot.flows[0].pod.clone().unwrap();
        let mut table = text::Options::default();
        table.choice.filter = Filter::parse(&format!("pod:={pod}")).unwrap();
        let expected = snapshot.flows.iter().filter(|flow| flow.pod.as_ref() == Some(&pod)).count();
        assert!(expected < snapshot.flows.len());
        for output in [Output::Json, Output::Csv] {
            let listed = Printer::new(output, table.clone(), usize::MAX).listed(&snapshot);
            assert_eq!((listed.flows.len(), listed.totals), (expected, snapshot.totals), "{output:?}");
            assert_eq!(Printer::new(output, table.clone(), 0).listed(&snapshot).flows.len(), 0);
        }
        assert_eq!(Printer::new(Output::Table, table, 0).listed(&snapshot), snapshot);
    }
}
