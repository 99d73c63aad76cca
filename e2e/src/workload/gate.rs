//! The handshake by which a client pauses in the middle of a running transfer.

use std::{
    convert::Infallible,
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    WorkloadError,
    stop::{CALL_TIMEOUT, Stop},
};

/// The event that lets a paused client continue.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    /// A line on standard input, or its end.
    Stdin,
    /// The appearance of a file.
    File(PathBuf),
}

impl FromStr for Trigger {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "stdin" { Self::Stdin } else { Self::File(text.into()) })
    }
}

impl Trigger {
    /// Returns whether the event has happened, after waiting for it for a moment.
    fn came(&self) -> bool {
        match self {
            Self::File(file) => {
                let there = file.exists();
                if !there {
                    thread::sleep(CALL_TIMEOUT);
                }
                there
            }
            Self::Stdin => {
                let stdin = io::stdin();
                let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
                let timeout = Timespec::try_from(CALL_TIMEOUT).ok();
                poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
            }
        }
    }
}

/// Creates the file that a paused client waits for.
pub(super) fn release(file: &Path) -> Result<(), WorkloadError> {
    fs::write(file, "").map_err(|source| WorkloadError::file("create", file, source))
}

/// A gate that holds every worker in the middle of its work until all have arrived and the trigger has come.
#[derive(Debug)]
pub(super) struct Gate {
    trigger: Trigger,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    expected: usize,
    open: bool,
}

impl Gate {
    pub(super) fn new(trigger: Trigger, workers: usize) -> Self {
        Self { trigger, state: Mutex::new(State { expected: workers, open: false }), changed: Condvar::new() }
    }

    /// Arrives at the gate and waits until it opens.
    pub(super) fn pass(&self, stop: &Stop) {
        self.leave();
        self.wait_until(stop, |state| state.open);
    }

    /// Stops the gate from waiting for this worker.
    pub(super) fn leave(&self) {
        self.lock().expected -= 1;
        self.changed.notify_all();
    }

    /// Runs on the main thread: waits for the workers, calls `paused`, waits for the trigger, and opens the gate.
    pub(super) fn hold(
        &self,
        stop: &Stop,
        paused: impl FnOnce() -> Result<(), WorkloadError>,
    ) -> Result<(), WorkloadError> {
        self.wait_until(stop, |state| state.expected == 0);
        let told = if stop.is_set() { Ok(()) } else { paused() };
        while told.is_ok() && !stop.is_set() && !self.trigger.came() {}
        self.lock().open = true;
        self.changed.notify_all();
        told
    }

    fn wait_until(&self, stop: &Stop, condition: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        while !condition(&state) && !stop.is_set() {
            state = self.changed.wait_timeout(state, CALL_TIMEOUT).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
