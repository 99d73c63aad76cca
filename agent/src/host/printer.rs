//! Printing on another thread than tracing: a reader of the output that is slow or has paused must not keep the flow
//! table from being drained, since the table would fill up.

use std::{io, sync::Arc};

use tokio::task::{JoinHandle, spawn_blocking};
use traffictrace_view::Snapshot;

/// Writes a snapshot; the flag is true for the first one.
type Print = dyn Fn(Snapshot, bool) -> io::Result<()> + Send + Sync;

/// Prints snapshots one at a time, on another thread.
pub(crate) struct Printer {
    print: Arc<Print>,
    is_first: bool,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Printer {
    /// Makes a printer that writes with `print`, which may block.
    pub(crate) fn new(print: impl Fn(Snapshot, bool) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { print: Arc::new(print), is_first: true, running: None }
    }

    /// Returns true while a snapshot is being printed.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Starts printing a snapshot. The one before must have been [finished](Self::finish).
    pub(crate) fn start(&mut self, snapshot: Snapshot) {
        let print = Arc::clone(&self.print);
        let is_first = std::mem::take(&mut self.is_first);
        self.running = Some(spawn_blocking(move || print(snapshot, is_first)));
    }

    /// Waits until everything is printed. Returns `false` if the reader of a pipe has closed it.
    pub(crate) async fn finish(&mut self) -> io::Result<bool> {
        let Some(running) = &mut self.running else { return Ok(true) };
        let result = running.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.running = None;
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }
}
