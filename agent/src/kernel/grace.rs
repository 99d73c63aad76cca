//! Waiting until no program of the kernel can still use what it found in a map.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::thread::{MembarrierCommand, membarrier};

/// Waits until each program that runs now has ended, some 10 to 30 ms, in which this thread sleeps.
///
/// Every program runs inside of `rcu_read_lock()`: on tracepoints, trampolines, kprobes and cgroups, also where it can
/// be preempted or moved (on tracepoints since Linux 7.0, on trampolines always). So a slot that was closed before an
/// RCU grace period began is not found, read or written by any program once the period is over.
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu()` (kernel/sched/membarrier.c).
///
/// Where the kernel refuses it (EINVAL with nohz_full, ENOSYS), and on one CPU, where it does nothing, the time must do
/// that a closed slot is left alone anyway.
pub(super) fn wait_for_programs() {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Relaxed) {
        return;
    }
    if let Err(error) = membarrier(MembarrierCommand::Global) {
        REFUSED.store(true, Relaxed);
        tracing::debug!(%error, "no membarrier: closed slots of the flow table are freed by time alone");
    }
}
