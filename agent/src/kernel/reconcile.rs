//! Comparison of TCP connections with their sockets' own counters.
//!
//! The programs on send and receive know which process moved bytes, but the TCP socket knows how many. The program
//! `tt_reconcile` credits the bytes that no call reported (splice, zero-copy receives, events that the kernel skipped).
//! It also updates retransmits and the round-trip time, and closes the slots of destroyed sockets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aya::{
    Ebpf,
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use traffictrace_ebpf::layout::{CONNECTION, FAILED, NO_SLOT, PENDING, TCP, WORK};

use super::{KernelError, mapped::Mapped, table::Look};

const PROGRAM: &str = "tt_reconcile";
/// Maximum number of slots compared in one drain, which takes about 1 ms.
const LIMIT: usize = 4096;
/// Maximum number of those slots that may belong to idle connections.
const IDLE_LIMIT: usize = 1024;
/// Seconds without traffic after which a connection counts as idle, so that [`IDLE_LIMIT`] holds for it.
const IDLE: u32 = 60;
/// A slot with calls in every drain is compared in one of this many drains.
const BUSY_TURN: u32 = 5;

/// Chooses the connections that are compared in a drain.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    drain: u32,
    /// Set if every connection is compared in this drain.
    all: bool,
    /// Set once the kernel refused to run the program, which is then not tried again.
    refused: bool,
    active: Queue,
    idle: Queue,
}

/// Numbers of the slots that wait to be compared: those of active connections, or those of idle ones.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u32>,
    /// The first slot number after the last one that was served.
    next: u32,
}

impl Reconcile {
    /// Begins a drain that compares all connections, or only those whose turn it is.
    pub(super) fn begin(&mut self, all: bool) {
        self.drain = self.drain.wrapping_add(1);
        self.all = all;
        self.active.waiting.clear();
        self.idle.waiting.clear();
    }

    /// Queues a slot if it may be compared now. If calls were counted since the last drain, a call may be under way:
    /// its bytes would be taken for bytes that no call reports. Such a slot waits for its turn in [`BUSY_TURN`] drains.
    pub(super) fn offer(&mut self, number: u32, look: Look) {
        let Look { state, called, idle } = look;
        if self.refused || state.protocol() != TCP || !state.has(CONNECTION) || state.has(FAILED) {
            return;
        }
        let turn = self.drain.wrapping_add(number).is_multiple_of(BUSY_TURN);
        if self.all || turn || !called {
            let pending_or_active = state.phase() == PENDING || idle < IDLE;
            let queue = if pending_or_active { &mut self.active } else { &mut self.idle };
            queue.waiting.push(number);
        }
    }

    /// Makes the kernel compare the connections whose turn it is, and returns the numbers of their slots.
    pub(super) fn run(&mut self, ebpf: &mut Ebpf, work: &Mapped<AtomicU64>) -> Vec<u32> {
        let turns = self.turns();
        if let Err(error) = compare(ebpf, work, &turns) {
            self.refused = true;
            tracing::error!(%error, "bytes that no call reports are counted only when their connections end");
        }
        turns
    }

    /// Returns the slots whose turn it is, and empties the queues.
    fn turns(&mut self) -> Vec<u32> {
        let limit = |limit| if self.all { usize::MAX } else { limit };
        let (limit, idle_limit) = (limit(LIMIT), limit(IDLE_LIMIT));
        let mut turns = self.active.serve(limit);
        turns.extend(self.idle.serve(idle_limit.min(limit - turns.len())));
        turns
    }
}

impl Queue {
    /// Returns up to `limit` waiting slots, and empties the queue. Begins after the last slot of the previous drain, so
    /// that all slots have their turn.
    fn serve(&mut self, limit: usize) -> Vec<u32> {
        let start = self.waiting.partition_point(|number| *number < self.next);
        self.waiting.rotate_left(start);
        self.waiting.truncate(limit);
        if let Some(last) = self.waiting.last() {
            self.next = last + 1;
        }
        std::mem::take(&mut self.waiting)
    }
}

/// Makes the kernel compare these slots with their sockets.
fn compare(ebpf: &mut Ebpf, work: &Mapped<AtomicU64>, slots: &[u32]) -> Result<(), KernelError> {
    let failed = |e: ProgramError| KernelError::load(format!("run the BPF program {PROGRAM}"), e);
    let program = ebpf.program_mut(PROGRAM).ok_or(KernelError::Object(PROGRAM))?;
    let program: &mut RawTracePoint = program.try_into().map_err(|_| KernelError::Object(PROGRAM))?;
    for part in slots.chunks(WORK) {
        let numbers = part.iter().map(|number| u64::from(*number)).chain([NO_SLOT]);
        for (place, number) in work.iter().zip(numbers) {
            place.store(number, Relaxed);
        }
        program.test_run(RawTracePointRunOptions::new()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use traffictrace_ebpf::layout::{OPEN, State, UDP};

    use super::*;

    fn look(called: bool, idle: u32) -> Look {
        Look { state: State(OPEN | TCP << 8 | CONNECTION), called, idle }
    }

    /// Returns the slots that are compared in a drain in which the slots `0..slots` all look the same.
    fn turns(reconcile: &mut Reconcile, slots: u32, look: Look) -> Vec<u32> {
        reconcile.begin(false);
        (0..slots).for_each(|number| reconcile.offer(number, look));
        reconcile.turns()
    }

    #[test]
    fn connections_without_calls_have_their_turn_at_once_and_busy_ones_in_every_fifth_drain() {
        let mut reconcile = Reconcile::default();
        assert_eq!(turns(&mut reconcile, 10, look(false, 0)).len(), 10);
        let busy: Vec<_> = (0..5).flat_map(|_| turns(&mut reconcile, 10, look(true, 0))).collect();
        let mut each = busy.clone();
        each.sort_unstable();
        assert_eq!(each, (0..10).collect::<Vec<_>>());
        assert_ne!(busy, each, "not all in the same drain");
    }

    #[test]
    fn only_connections_that_could_be_opened_are_compared() {
        let mut reconcile = Reconcile::default();
        for word in [OPEN | UDP << 8 | CONNECTION, OPEN | TCP << 8, OPEN | TCP << 8 | CONNECTION | FAILED] {
            let look = Look { state: State(word), ..look(false, 0) };
            assert!(turns(&mut reconcile, 3, look).is_empty(), "{word:x}");
        }
        let pending = Look { state: State(PENDING | TCP << 8 | CONNECTION), ..look(true, 0) };
        assert_eq!((0..5).map(|_| turns(&mut reconcile, 1, pending).len()).sum::<usize>(), 1);
    }

    #[test]
    fn too_many_connections_take_turns() {
        let mut reconcile = Reconcile::default();
        for (idle, limit) in [(0, LIMIT as u32), (IDLE, IDLE_LIMIT as u32)] {
            let slots = limit + limit / 2;
            let first = turns(&mut reconcile, slots, look(false, idle));
            assert_eq!(first, (0..limit).collect::<Vec<_>>());
            let second = turns(&mut reconcile, slots, look(false, idle));
            assert_eq!(second, (limit..slots).chain(0..limit / 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_thorough_drain_leaves_out_no_connection() {
        let mut reconcile = Reconcile::default();
        reconcile.begin(true);
        let slots = 3 * LIMIT as u32;
        for number in 0..slots {
            reconcile.offer(number, look(true, if number % 2 == 0 { 0 } else { IDLE }));
        }
        assert_eq!(reconcile.turns().len(), slots as usize);
    }
}
