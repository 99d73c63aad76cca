//! Printing beside the tracing: a reader of the output that is slow, or has stopped reading for a while, must not keep
//! the flow table from being drained, which would fill up meanwhile.

use std::{io, sync::Arc};

use tokio::task::{JoinHandle, spawn_blocking};
use traffictrace_view::Snapshot;

/// Writes a snapshot, of which it is told whether it is the first.
type Print = dyn Fn(Snapshot, bool) -> io::Result<()> + Send + Sync;

/// Prints one snapshot at a time.
pub(crate) struct Printer {
    print: Arc<Print>,
    is_first: bool,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Printer {
    /// A printer that writes by `print`, which may take its time.
    pub(crate) fn new(print: impl Fn(Snapshot, bool) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { print: Arc::new(print), is_first: true, running: None }
    }

    /// Whether a snapshot is still being printed.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Begins to print; what was printed before must have been [finished](Self::finish).
    pub(crate) fn start(&mut self, snapshot: Snapshot) {
        let print = Arc::clone(&self.print);
        let is_first = std::mem::take(&mut self.is_first);
        self.running = Some(spawn_blocking(move || print(snapshot, is_first)));
    }

    /// Waits until everything is printed. `false`: whoever read the output has had enough.
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
