//! Printing beside the tracing: a reader of the output that is slow, or has stopped reading for a while, must not keep
//! the flow table from being drained, which would fill up meanwhile.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use rustix::termios::tcgetwinsize;
use tokio::task::{JoinHandle, spawn_blocking};
use traffictrace_view::{Snapshot, csv, json, text};

use super::args::{Output, TopArgs};

/// Prints one snapshot at a time.
#[derive(Debug)]
pub(super) struct Printer {
    args: Arc<TopArgs>,
    is_first: bool,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Printer {
    pub(super) fn new(args: &TopArgs) -> Self {
        Self { args: Arc::new(args.clone()), is_first: true, running: None }
    }

    /// Whether a snapshot is still being printed.
    pub(super) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Begins to print; what was printed before must have been [finished](Self::finish).
    pub(super) fn start(&mut self, snapshot: Snapshot) {
        let args = Arc::clone(&self.args);
        let is_first = std::mem::take(&mut self.is_first);
        self.running = Some(spawn_blocking(move || print(&args, &snapshot, is_first)));
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

fn print(args: &TopArgs, snapshot: &Snapshot, is_first: bool) -> io::Result<()> {
    let mut out = Vec::new();
    match args.output {
        Output::Json => json::write(&mut out, snapshot)?,
        Output::Csv => csv::Writer::new(&mut out, is_first && args.has_headers()).write(snapshot)?,
        Output::Table => {
            let width = tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col.into());
            // A size that is not known is told as 0.
            let options = text::Options { width: width.filter(|width| *width > 0), ..args.table() };
            if !is_first {
                out.push(b'\n');
            }
            out.extend(text::table(snapshot, &options).into_bytes());
        }
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()
}
