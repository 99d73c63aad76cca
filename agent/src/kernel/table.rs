//! The flow table as user space sees it: slots that moved since the last drain, and slots that are freed.
//!
//! A drain scans the tags, 32 bytes for eight slots, and looks only at slots in use. What it remembers of them is
//! stored densely, whatever their numbers, so that a large table with few flows costs little.

mod find;

use std::{
    collections::{HashSet, VecDeque},
    hint::black_box,
    sync::atomic::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    time::{Duration, Instant},
};

use traffictrace_ebpf::layout::{CLOSED, CONNECTION, FREE, PENDING, Slot, SpillKey, State, TCP, Tags};

use super::{mapped::Mapped, sizes::Geometry};
use crate::flows::Counters;

/// Minimum time for which a closed slot is left alone before it is freed. See [`super::grace`] for the second
/// condition.
const GRACE: Duration = Duration::from_millis(300);
/// Number of sets whose slots are loaded into the CPU's cache at once.
const BATCH: usize = 16;
/// Seconds without traffic after which a flow counts as idle.
const IDLE: u32 = 60;

/// A slot that a drain reports, because its flow is new, moved something or ended.
#[derive(Debug)]
pub struct Drained<'a> {
    /// Number of the flow, which stays the same from the drain with `opened` to the one with `released`. Numbers are
    /// small and reused.
    pub flow: usize,
    /// The slot. The kernel keeps changing its counters, so use `moved` instead.
    pub slot: &'a Slot,
    /// The slot's state when it was visited.
    pub state: State,
    /// Bytes and events of the flow since it was last drained.
    pub moved: Counters,
    /// Set when the flow is seen for the first time.
    pub opened: bool,
    /// Set when the kernel has closed the flow. Bytes of an event that was under way may still come.
    pub closed: bool,
    /// Set when the flow is seen for the last time. Its number may then be given to another flow.
    pub released: bool,
}

/// User space's record of a used slot.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    counters: Counters,
    /// Time of the flow's last traffic, in seconds since the table was made.
    moved: u32,
    closed: bool,
    /// Set if the slot was already closed, and without a session, when it was first seen. Such a flow is not reported,
    /// since no session wanted it.
    silent: bool,
}

/// A slot as a drain has just seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) state: State,
    /// Set if a call was counted since the last drain. Always set for a pending slot, whose calls are not read.
    pub(super) called: bool,
    /// Seconds since the flow's last traffic.
    pub(super) idle: u32,
}

/// The mapped flow table.
pub(super) struct Table {
    tags: Mapped<Tags>,
    slots: Mapped<Slot>,
    geometry: Geometry,
    /// Number of the flow in each slot, plus one; 0 if the slot is free or not seen yet.
    flows: Vec<u32>,
    /// Records of the flows in use, by the flow's number.
    known: Vec<Known>,
    /// Unused indices of `known`.
    vacant: Vec<u32>,
    /// Closed slots that wait for [`GRACE`], with the time when they were first seen closed, oldest first.
    closing: VecDeque<(u32, Instant)>,
    /// Number of slots that were used when the last drain began.
    used: usize,
    /// Time when the table was created.
    made: Instant,
}

impl Table {
    /// Creates a table over mapped arrays of this geometry.
    pub(super) fn new(tags: Mapped<Tags>, slots: Mapped<Slot>, geometry: Geometry) -> Self {
        Self {
            flows: vec![0; slots.len()],
            tags,
            slots,
            geometry,
            known: Vec::new(),
            vacant: Vec::new(),
            closing: VecDeque::new(),
            used: 0,
            made: Instant::now(),
        }
    }

    /// Number of slots.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns a slot by its number.
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize)
    }

    /// Number of slots that were used when the last drain began.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Returns true if the table fills up, so that the next drain should not wait. This is so if more than half of the
    /// slots that were free at the last drain are taken by now, or if the table is more than half full and slots can be
    /// freed.
    pub(super) fn is_filling(&self) -> bool {
        let used = self.tags().filter(|tag| tag.load(Relaxed) != 0).count();
        let free_before = self.len().saturating_sub(self.used);
        used.saturating_sub(self.used) > free_before / 2
            || used > self.len() / 2 && self.due(Instant::now()) > 0
    }

    /// Visits all used slots: calls `sink` for each that is new, moved something or was closed, and `look` for each
    /// that the kernel still counts in. Before that, closes the slots of the sockets in `ended`, except main slots: the
    /// kernel closes those itself, and a socket that is used again may have a new one by now.
    pub(super) fn scan(
        &mut self,
        now: Instant,
        ended: &HashSet<u64>,
        sink: &mut dyn FnMut(&Drained<'_>),
        mut look: impl FnMut(u32, Look),
    ) {
        let mut used = 0;
        let mut batch = Vec::new();
        for first in (0..self.tags.len()).step_by(BATCH) {
            self.load(first, &mut batch);
            used += batch.len();
            for number in batch.drain(..) {
                let slot = &self.slots[number];
                if !ended.is_empty()
                    && ended.contains(&slot.cookie.load(Relaxed))
                    && !slot.state().has(CONNECTION)
                {
                    close(slot);
                }
                if let Some(seen) = self.visit(number, now, sink) {
                    look(number as u32, seen);
                }
            }
        }
        self.used = used;
    }

    /// Appends the numbers of the used slots in [`BATCH`] sets, and loads what a visit reads of them into the cache
    /// together. Otherwise each visit would wait for memory.
    fn load(&self, first: usize, used: &mut Vec<usize>) {
        for (set, tags) in self.tags.iter().enumerate().skip(first).take(BATCH) {
            let ways = tags.iter().enumerate().filter(|(_, tag)| tag.load(Acquire) != 0);
            used.extend(ways.map(|(way, _)| set * tags.len() + way));
        }
        for number in used {
            black_box(Counters::of(&self.slots[*number]));
        }
    }

    /// Visits one used slot as [`Self::scan`] does. Returns `None` if the kernel no longer counts in the slot, or is
    /// still filling it.
    pub(super) fn visit(
        &mut self,
        number: usize,
        now: Instant,
        sink: &mut dyn FnMut(&Drained<'_>),
    ) -> Option<Look> {
        let slot = &self.slots[number];
        let state = slot.state();
        match state.phase() {
            FREE => return None,
            // The bytes of a pending slot are reported once it is open.
            PENDING => return Some(Look { state, called: true, idle: 0 }),
            _ => {}
        }
        let second = now.duration_since(self.made).as_secs() as u32;
        let opened = self.flows[number] == 0;
        if opened {
            let known = Known { moved: second, ..Known::default() };
            let flow = self.vacant.pop().unwrap_or(self.known.len() as u32);
            match self.known.get_mut(flow as usize) {
                Some(vacant) => *vacant = known,
                None => self.known.push(known),
            }
            self.flows[number] = flow + 1;
        }
        let flow = self.flows[number] as usize - 1;
        let known = &mut self.known[flow];
        let moved = known.counters.advance(Counters::of(slot));
        if !moved.is_empty() {
            known.moved = second;
        }
        let closed = state.phase() == CLOSED && !known.closed;
        if closed {
            known.closed = true;
            known.silent = opened && slot.sessions.load(Relaxed) == 0;
            self.closing.push_back((number as u32, now));
        }
        if (opened || closed || !moved.is_empty()) && !known.silent {
            sink(&Drained { flow, slot, state, moved, opened, closed, released: false });
        }
        let called = moved.rx_calls != 0 || moved.tx_calls != 0;
        state.is_live().then(|| Look { state, called, idle: second.saturating_sub(known.moved) })
    }

    /// Number of slots that were first seen closed at least [`GRACE`] before `now`, the time when this drain began.
    pub(super) fn due(&self, now: Instant) -> usize {
        self.closing.partition_point(|(_, closed)| now.saturating_duration_since(*closed) >= GRACE)
    }

    /// Returns the stash slots among the first `count` closed slots, each with the key that leads to it.
    pub(super) fn spill_keys(&self, count: usize) -> Vec<(SpillKey, u32)> {
        let numbers = self.closing.iter().take(count).map(|(number, _)| *number as usize);
        let in_stash = numbers.filter(|number| *number >= self.geometry.main_slots());
        in_stash.map(|number| (self.slots[number].spill_key(), number as u32)).collect()
    }

    /// Frees the first `count` closed slots. No kernel program may be able to find them any more.
    pub(super) fn free(&mut self, count: usize, sink: &mut dyn FnMut(&Drained<'_>)) {
        for (number, _) in self.closing.drain(..count) {
            let number = number as usize;
            let slot = &self.slots[number];
            let flow = std::mem::take(&mut self.flows[number]);
            self.vacant.push(flow - 1);
            let flow = flow as usize - 1;
            let moved = self.known[flow].counters.advance(Counters::of(slot));
            if !self.known[flow].silent {
                let (opened, closed, released) = (false, false, true);
                sink(&Drained { flow, slot, state: slot.state(), moved, opened, closed, released });
            }
            slot.clear();
            let ways = self.tags[0].len();
            self.tags[number / ways][number % ways].store(0, Release);
        }
    }

    /// Closes datagram slots that were idle for [`IDLE`] seconds.
    pub(super) fn close_idle(&self, now: Instant) {
        let second = now.duration_since(self.made).as_secs() as u32;
        for (slot, flow) in self.slots.iter().zip(&self.flows).filter(|(_, flow)| **flow != 0) {
            let idle = second.saturating_sub(self.known[*flow as usize - 1].moved);
            if idle >= IDLE && slot.state().protocol() != TCP {
                close(slot);
            }
        }
    }

    /// Removes these sessions from all slots, and closes slots that then have no session. A later session with one of
    /// these numbers therefore meets no slot of the earlier one.
    pub(super) fn end_sessions(&self, sessions: u64) {
        for (tag, slot) in self.tags().zip(self.slots.iter()) {
            if tag.load(Acquire) == 0 || !slot.state().is_live() {
                continue;
            }
            slot.connections.fetch_and(!sessions, Relaxed);
            if slot.sessions.fetch_and(!sessions, AcqRel) & !sessions == 0 {
                close(slot);
            }
        }
    }

    /// Removes a session, given as its bit, from the used slots that `keep` rejects, and closes slots that then have no
    /// session. Returns the flows that the session leaves.
    pub(super) fn leave(&self, session: u64, keep: impl Fn(&Slot) -> bool) -> Vec<usize> {
        let mut left = Vec::new();
        for ((tag, slot), flow) in self.tags().zip(self.slots.iter()).zip(&self.flows) {
            let counts = tag.load(Acquire) != 0
                && slot.state().is_live()
                && slot.sessions.load(Acquire) & session != 0;
            if !counts || keep(slot) {
                continue;
            }
            slot.connections.fetch_and(!session, Relaxed);
            if slot.sessions.fetch_and(!session, AcqRel) & !session == 0 {
                close(slot);
            }
            if let Some(flow) = flow.checked_sub(1) {
                left.push(flow as usize);
            }
        }
        left
    }

    fn tags(&self) -> impl Iterator<Item = &AtomicU32> {
        self.tags.iter().flatten()
    }
}

/// Closes a slot if the kernel counts in it. The kernel may change the state at the same time.
fn close(slot: &Slot) {
    let close = |word| Some(State(word)).filter(|state| state.is_live()).map(|state| state.closed().0);
    // An error means that the slot was not live.
    let _ = slot.state.fetch_update(AcqRel, Acquire, close);
}

#[cfg(test)]
mod tests;
