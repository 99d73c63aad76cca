//! Free slots of the flow table: the kernel takes them, user space gives them back.

use std::{
    collections::VecDeque,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use aya::maps::{MapData, Queue};
use traffictrace_ebpf::layout::Ring;

use super::mapped::Mapped;

/// Slots that a queue holds ready. Filling it takes a system call each, so that the whole table would take long at the
/// start; what the kernel takes is made up for at each drain.
const READY: u64 = 32_768;

/// How slots reach the kernel.
enum Way {
    /// By a mapped ring, without a system call.
    Ring(Mapped<AtomicU64>),
    /// By a BPF queue, where the kernel has no atomic exchange: slots that were never used, and those given back.
    Queue { queue: Queue<MapData, u64>, fresh: std::ops::Range<u32>, back: VecDeque<u32> },
}

/// See the module.
pub(super) struct FreeSlots {
    way: Way,
    /// How many were ever taken, and how many were ever made ready.
    positions: Mapped<Ring>,
}

impl FreeSlots {
    /// All of `slots`, in a ring whose length is a power of two.
    pub(super) fn ring(entries: Mapped<AtomicU64>, positions: Mapped<Ring>, slots: usize) -> Self {
        for (index, entry) in (0u64..).zip(entries.iter()).take(slots) {
            entry.store(ring_entry(index, index), Relaxed);
        }
        if let Some(ring) = positions.first() {
            ring.mask.store((entries.len() - 1) as u64, Relaxed);
            ring.tail.store(slots as u64, Release);
        }
        Self { way: Way::Ring(entries), positions }
    }

    /// All of `slots`, in a queue that is empty so far.
    pub(super) fn queue(queue: Queue<MapData, u64>, positions: Mapped<Ring>, slots: usize) -> Self {
        let way = Way::Queue { queue, fresh: 0..slots as u32, back: VecDeque::new() };
        let mut free = Self { way, positions };
        free.publish();
        free
    }

    /// How many were ever taken. They are first taken in order.
    pub(super) fn taken(&self) -> u64 {
        self.positions.first().map_or(0, |ring| ring.head.load(Acquire))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let Some(ring) = self.positions.first() else { return 0 };
        let ready = ring.tail.load(Relaxed).saturating_sub(ring.head.load(Relaxed)) as usize;
        match &self.way {
            Way::Ring(_) => ready,
            Way::Queue { fresh, back, .. } => ready + fresh.len() + back.len(),
        }
    }

    /// Gives one back. It is taken again after [`Self::publish`] at the earliest.
    pub(super) fn give(&mut self, index: u32) {
        match &mut self.way {
            Way::Ring(entries) => {
                let Some(ring) = self.positions.first() else { return };
                let tail = ring.tail.load(Relaxed);
                entries[tail as usize & (entries.len() - 1)].store(ring_entry(index.into(), tail), Relaxed);
                ring.tail.store(tail + 1, Release);
            }
            Way::Queue { back, .. } => back.push_back(index),
        }
    }

    /// Makes slots ready for the kernel.
    pub(super) fn publish(&mut self) {
        let (Way::Queue { queue, fresh, back }, Some(ring)) = (&mut self.way, self.positions.first()) else {
            return;
        };
        let mut tail = ring.tail.load(Relaxed);
        while tail.saturating_sub(ring.head.load(Relaxed)) < READY {
            // Fresh ones first: nothing beyond the number of slots taken was ever used.
            let Some(index) = fresh.next().or_else(|| back.pop_front()) else { break };
            if let Err(error) = queue.push(u64::from(index), 0) {
                tracing::error!(%error, "cannot give a slot of the flow table back to the kernel");
                back.push_back(index);
                break;
            }
            tail += 1;
        }
        ring.tail.store(tail, Relaxed);
    }
}

/// A free slot at a position of the ring. It bears the lower half of that, by which the kernel knows that it does not
/// read what the ring had there a lap ago.
fn ring_entry(index: u64, position: u64) -> u64 {
    position << 32 | index
}
