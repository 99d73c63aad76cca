//! Printing beside the tracing: a reader of the output that is slow, or has stopped reading for a while, must not keep
//! the flow table from being drained, which would fill up meanwhile.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use rustix::termios::tcgetwinsize;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    args::{Output, TopArgs},
    json,
    table::{self, Terminal},
};
use crate::{engine::Snapshot, flows::Process};

/// Prints one snapshot at a time.
#[derive(Debug)]
pub(super) struct Printer {
    args: Arc<TopArgs>,
    heading: Arc<str>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Printer {
    pub(super) fn new(args: &TopArgs, heading: &str) -> Self {
        Self { args: Arc::new(args.clone()), heading: heading.into(), running: None }
    }

    /// Whether a snapshot is still being printed.
    pub(super) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Begins to print; what was printed before must have been [finished](Self::finish).
    pub(super) fn start(&mut self, snapshot: Snapshot, processes: Vec<Process>) {
        let (args, heading) = (Arc::clone(&self.args), Arc::clone(&self.heading));
        self.running = Some(spawn_blocking(move || print(&args, &heading, &snapshot, &processes)));
    }

    /// Waits until everything is printed. `false`: whoever read the output has had enough.
    pub(super) async fn finish(&mut self) -> io::Result<bool> {
        let Some(running) = &mut self.running else { return Ok(true) };
        let result = running.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.running = None;
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }
}

fn print(args: &TopArgs, heading: &str, snapshot: &Snapshot, processes: &[Process]) -> io::Result<()> {
    let text = match args.output {
        Output::Json => json::document(snapshot, processes, args.interval())?,
        Output::Table => table::screen(heading, snapshot, processes, terminal(args)),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The terminal that standard output is, if it is one.
fn terminal(args: &TopArgs) -> Option<Terminal> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    // A size that is not known is told as 0.
    let known = |cells: u16| if cells == 0 { usize::MAX } else { cells.into() };
    let lines = if args.asks_for_flows() { usize::MAX } else { known(size.ws_row) };
    Some(Terminal { columns: known(size.ws_col), lines })
}
