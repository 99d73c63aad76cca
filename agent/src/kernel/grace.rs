//! A wait until no kernel program can still use an entry that it found in a map.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::thread::{MembarrierCommand, membarrier};

/// Waits until every program that runs now has ended. The calling thread sleeps for about 10 to 30 ms.
///
/// Every program runs inside `rcu_read_lock()`: on tracepoints, trampolines, kprobes and cgroups, even if the program
/// can be preempted or moved to another CPU (on tracepoints since Linux 7.0, on trampolines always). So once an RCU
/// grace period is over, no program finds, reads or writes a slot that was closed before the period began.
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu()` (kernel/sched/membarrier.c).
///
/// The call does nothing on a machine with one CPU, and some kernels refuse it (EINVAL with nohz_full, ENOSYS). Then
/// the time for which a closed slot is left alone (`GRACE` in `table.rs`) has to suffice.
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
