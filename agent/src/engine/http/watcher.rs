//! The thread that searches processes for TLS libraries and attaches the probes. Both take milliseconds, for which the
//! thread that owns the engine must not wait.

mod work;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::write,
};

use self::work::Work;
use crate::kernel::TlsProbes;

/// Time after which a process that uses TLS and has no probes may be examined again.
const AGAIN: Duration = Duration::from_secs(2);

/// The sessions' selection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Selected cgroups by id, with their folders.
    pub(super) cgroups: BTreeMap<u64, PathBuf>,
    /// Cgroups whose new processes the kernel programs report: the selected ones, and those around selected processes.
    pub(super) around: BTreeSet<u64>,
    /// Processes selected by id.
    pub(super) processes: BTreeSet<u32>,
}

/// Result of examining a process.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Names and versions of the process's TLS libraries.
    pub(super) library: String,
    /// The reason why no plain text is read, or not all of it.
    pub(super) reason: String,
    /// Time when the probes were attached, in nanoseconds of the monotonic clock.
    pub(super) probed: Option<u64>,
    looked: Instant,
    /// Set if the process is known to use TLS.
    speaks: bool,
}

#[derive(Debug, Default)]
struct State {
    wanted: Wanted,
    /// Processes that use TLS and are to be examined.
    asked: BTreeSet<u32>,
    /// Set while asked processes are being examined.
    is_busy: bool,
    findings: HashMap<u32, Finding>,
    ends: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // The write fails only if the counter of the eventfd is full; then the thread is about to wake up anyway.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// The handle of the thread. Dropping the handle makes the thread detach all probes and end. The drop does not wait for
/// that, because the thread reads foreign files and the kernel is slow to detach.
#[derive(Debug)]
pub(super) struct Watcher {
    shared: Arc<Shared>,
    probes: bool,
}

impl Watcher {
    /// Starts the thread. Without probes it only examines processes that use TLS.
    ///
    /// # Errors
    ///
    /// The system's error if it has no room for a thread or a descriptor.
    pub(super) fn start(probes: Option<TlsProbes>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { state: Mutex::default(), wake });
        let of_thread = Arc::clone(&shared);
        let has_probes = probes.is_some();
        thread::Builder::new().name("tls".into()).spawn(move || Work::new(of_thread, probes).run())?;
        Ok(Self { shared, probes: has_probes })
    }

    /// Returns true if the thread attaches probes.
    pub(super) fn has_probes(&self) -> bool {
        self.probes
    }

    /// Changes the selection.
    pub(super) fn select(&self, wanted: Wanted) {
        let mut state = self.shared.lock();
        if state.wanted != wanted {
            state.wanted = wanted;
            drop(state);
            self.shared.wake();
        }
    }

    /// Asks for an examination of processes that use TLS, unless they have probes or were examined less than [`AGAIN`]
    /// ago.
    pub(super) fn ask(&self, mut pids: Vec<u32>) {
        let mut state = self.shared.lock();
        pids.retain(|pid| {
            let Some(finding) = state.findings.get_mut(pid) else { return true };
            finding.speaks = true;
            finding.probed.is_none() && finding.looked.elapsed() > AGAIN
        });
        if !pids.is_empty() {
            state.asked.extend(pids);
            drop(state);
            self.shared.wake();
        }
    }

    /// Returns true while processes that use TLS are still to be examined.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        state.is_busy || !state.asked.is_empty()
    }

    /// Returns the finding about a process, or `None` if it was not examined yet.
    pub(super) fn finding(&self, pid: u32) -> Option<Finding> {
        self.shared.lock().findings.get(&pid).cloned()
    }

    /// Returns the time when the probes of a process were attached, in nanoseconds of the monotonic clock.
    pub(super) fn probed(&self, pid: u32) -> Option<u64> {
        self.shared.lock().findings.get(&pid)?.probed
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.wake();
    }
}
