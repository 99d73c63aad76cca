//! The end of a run, and settings that a process applies to itself before it starts.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use super::WorkloadError;

/// Maximum time that a thread spends in one system call before it checks [`Stop`] again. A call that times out has
/// moved nothing, so the timeout changes no count.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(50);

/// The condition that ends a run: SIGTERM, SIGINT, the time limit or the end of the work, whichever comes first.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    signalled: Arc<AtomicBool>,
    snapshot: Arc<AtomicBool>,
    finished: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    pub(super) fn new(limit: Duration) -> Result<Self, WorkloadError> {
        let stop = Self {
            signalled: Arc::default(),
            snapshot: Arc::default(),
            finished: Arc::default(),
            deadline: Instant::now() + limit,
        };
        for (signal, flag) in
            [(SIGTERM, &stop.signalled), (SIGINT, &stop.signalled), (SIGUSR1, &stop.snapshot)]
        {
            signal_hook::flag::register(signal, Arc::clone(flag))
                .map_err(|source| WorkloadError::system("handle signals", source))?;
        }
        Ok(stop)
    }

    /// Returns whether every thread should end now.
    pub(super) fn is_set(&self) -> bool {
        self.by_signal() || self.finished.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// Returns whether a signal ended the run, not the time limit.
    pub(super) fn by_signal(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
    }

    /// Ends the other threads because the work is done.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// Returns whether SIGUSR1 has requested the counts since the last call.
    pub(super) fn take_snapshot_request(&self) -> bool {
        self.snapshot.swap(false, Ordering::Relaxed)
    }

    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Sets the name that the kernel shows for this process, which is the `comm` of the thread group leader. The kernel
/// cuts it to 15 bytes (proc_pid_comm(5)).
pub(super) fn set_process_name(name: &str) -> Result<(), WorkloadError> {
    const COMM: &str = "/proc/self/comm";
    fs::write(COMM, name).map_err(|source| WorkloadError::file("set the process name in", COMM, source))
}

/// Returns the name that the kernel shows for this process.
pub(super) fn process_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/self/comm")?.trim_end_matches('\n').to_owned())
}

/// Moves this process into a cgroup; "0" stands for the writing process (cgroups(7)). A socket belongs to the cgroup in
/// which it was created, so this must come before the first one.
pub(super) fn join_cgroup(cgroup: &Path) -> Result<(), WorkloadError> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, "0").map_err(|source| WorkloadError::file("join the cgroup by writing", procs, source))
}
