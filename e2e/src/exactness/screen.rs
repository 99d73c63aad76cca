//! The documents of a running `top`, read as they come, so that whoever looks sees the latest.

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

/// Reads the documents of a `top` in a thread.
pub(super) struct Screen {
    shared: Arc<Shared>,
    reader: JoinHandle<Result<Top>>,
}

#[derive(Default)]
struct Shared {
    /// The latest document and its number.
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

    /// The latest document, when it has another number than `seen` or comes to have one within `wait`; with its number.
    ///
    /// # Errors
    ///
    /// When there will be none, because `top` has ended or has broken its own rules.
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

    /// Gives the `top` back. Its next document is younger than this call.
    ///
    /// # Errors
    ///
    /// What went wrong with it meanwhile.
    pub(super) fn stop(self) -> Result<Top> {
        self.shared.stopped.store(true, Ordering::Release);
        self.reader.join().unwrap_or_else(|_| Err(TestError::unexpected("the reader of top", "it panicked")))
    }
}
