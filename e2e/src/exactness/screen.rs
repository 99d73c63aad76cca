//! Reads the documents (JSON snapshots) that a running `top` prints. A thread reads them at once, so that callers get
//! the newest.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::support::{
    Result, TestError,
    top::{Document, Top},
};

/// A thread that reads the documents of a `top`.
pub(super) struct Screen {
    shared: Arc<Shared>,
    reader: JoinHandle<Result<Top>>,
}

#[derive(Default)]
struct Shared {
    /// The latest document and its number, counted from 1.
    latest: Mutex<(u64, Option<Arc<Document>>)>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Screen {
    pub(super) fn new(mut top: Top) -> Self {
        let shared = Arc::new(Shared::default());
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while !shared.stopped.load(Ordering::Acquire) {
                    let document = Arc::new(top.document()?);
                    let mut latest = shared.latest.lock().unwrap_or_else(PoisonError::into_inner);
                    *latest = (latest.0 + 1, Some(document));
                    shared.changed.notify_all();
                }
                Ok(top)
            }
        });
        Self { shared, reader }
    }

    /// Returns the latest document and its number, unless that number is `seen`; waits up to `wait` for another one.
    ///
    /// # Errors
    ///
    /// Fails when no more documents come, because `top` has ended or has broken its own rules.
    pub(super) fn newer(&self, seen: u64, wait: Duration) -> Result<Option<(u64, Arc<Document>)>> {
        let latest = self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (latest, _) = self
            .shared
            .changed
            .wait_timeout_while(latest, wait, |(number, _)| *number == seen)
            .unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            (number, Some(document)) if *number != seen => Ok(Some((*number, Arc::clone(document)))),
            _ if self.reader.is_finished() => {
                Err(TestError::unexpected("top", "it prints no more documents"))
            }
            _ => Ok(None),
        }
    }

    /// Stops the thread and returns the `top`, whose next document is printed after this call.
    ///
    /// # Errors
    ///
    /// Fails with the error of reading, if there was one.
    pub(super) fn stop(self) -> Result<Top> {
        self.shared.stopped.store(true, Ordering::Release);
        self.reader.join().unwrap_or_else(|_| Err(TestError::unexpected("the reader of top", "it panicked")))
    }
}
