//! The thread that looks into processes for their TLS libraries, and attaches the probes: both take milliseconds, which the
//! owner of the programs must not wait.

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

/// Time after which a process is looked at again that speaks TLS and has no probes.
const AGAIN: Duration = Duration::from_secs(2);

/// What the sessions select.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Selected cgroups by id, with their folders.
    pub(super) cgroups: BTreeMap<u64, PathBuf>,
    /// Cgroups in which selected processes begin.
    pub(super) around: BTreeSet<u64>,
    /// Processes selected by id.
    pub(super) processes: BTreeSet<u32>,
}

/// What is known of a process.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Its libraries with their versions.
    pub(super) library: String,
    /// Why nothing is read, or not all.
    pub(super) reason: String,
    /// When its probes were attached, in nanoseconds of the monotonic clock.
    pub(super) probed: Option<u64>,
    looked: Instant,
    /// It is known to speak TLS.
    speaks: bool,
}

#[derive(Debug, Default)]
struct State {
    wanted: Wanted,
    /// Processes that speak TLS and are to be looked at.
    asked: BTreeSet<u32>,
    /// They are being looked at.
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
        // It fails only when the thread is awake.
        let _ = write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// The thread. Dropping it has the thread detach everything and end. Nobody waits for that: files of others are read there,
/// and the kernel takes its time to detach.
#[derive(Debug)]
pub(super) struct Watcher {
    shared: Arc<Shared>,
    probes: bool,
}

impl Watcher {
    /// Starts the thread; without probes it only looks at what speaks TLS.
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

    /// Whether it attaches probes.
    pub(super) fn has_probes(&self) -> bool {
        self.probes
    }

    /// Changes what is selected.
    pub(super) fn select(&self, wanted: Wanted) {
        let mut state = self.shared.lock();
        if state.wanted != wanted {
            state.wanted = wanted;
            drop(state);
            self.shared.wake();
        }
    }

    /// Has processes that speak TLS be looked at, unless they have probes or were looked at just now.
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

    /// Whether processes are still to be looked at that speak TLS.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        state.is_busy || !state.asked.is_empty()
    }

    /// What is known of a process; nothing if it has not been looked at yet.
    pub(super) fn finding(&self, pid: u32) -> Option<Finding> {
        self.shared.lock().findings.get(&pid).cloned()
    }

    /// When the probes of a process were attached.
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
