//! The handshake "in the middle of a running transfer".

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

/// What lets a paused client go on.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    /// A line, or the end, of standard input.
    Stdin,
    /// A file that appears.
    File(PathBuf),
}

impl FromStr for Trigger {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "stdin" { Self::Stdin } else { Self::File(text.into()) })
    }
}

impl Trigger {
    /// Whether it has come, after waiting for it for a moment.
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

/// Makes the file that a paused client waits for.
pub(super) fn release(file: &Path) -> Result<(), WorkloadError> {
    fs::write(file, "").map_err(|source| WorkloadError::file("create", file, source))
}

/// Holds every worker at its named point until all are there and the trigger came.
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

    /// A worker arrives and waits.
    pub(super) fn pass(&self, stop: &Stop) {
        self.leave();
        self.wait_until(stop, |state| state.open);
    }

    /// A worker that will not come.
    pub(super) fn leave(&self) {
        self.lock().expected -= 1;
        self.changed.notify_all();
    }

    /// The main thread: waits for the workers, tells `paused`, waits for the trigger, opens.
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
