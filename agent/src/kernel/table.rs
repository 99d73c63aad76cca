//! The flow table as user space sees it: which slots moved since the last look, and slots that are freed.
//!
//! A drain scans the tags, 32 bytes for eight slots, and looks only at the slots that are used. What it remembers of
//! them lies close together, whatever their numbers, so that a large table with few flows costs little.

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

/// How long a closed slot is left alone at least before it is freed. See [`super::grace`] for what is waited for beside.
const GRACE: Duration = Duration::from_millis(300);
/// Sets of the table whose slots are loaded at once.
const BATCH: usize = 16;
/// Seconds without any movement after which a flow counts as idle.
const IDLE: u32 = 60;

/// A slot that has something to tell.
#[derive(Debug)]
pub struct Drained<'a> {
    /// Number of the flow; it names the same flow from `opened` to `released`. Numbers are small and used again.
    pub flow: usize,
    /// The slot. Its counters go on moving, use `moved`.
    pub slot: &'a Slot,
    /// The slot's state.
    pub state: State,
    /// What the flow moved since it was last drained.
    pub moved: Counters,
    /// First sight of this flow.
    pub opened: bool,
    /// The kernel is done with the flow; bytes of an event that was under way may still come.
    pub closed: bool,
    /// Last sight of this flow: its number names another one from now on.
    pub released: bool,
}

/// What is remembered of a used slot.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    counters: Counters,
    /// When the flow last moved, in seconds since the table was made.
    moved: u32,
    closed: bool,
    /// Closed without ever counting for a session: nothing is said of it.
    silent: bool,
}

/// A slot as a drain has just seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) state: State,
    /// Whether any call was counted since the last drain. Of a pending slot that is not known.
    pub(super) called: bool,
    /// Seconds since the flow last moved.
    pub(super) idle: u32,
}

/// The mapped flow table.
pub(super) struct Table {
    tags: Mapped<Tags>,
    slots: Mapped<Slot>,
    geometry: Geometry,
    /// Number of the flow in each slot, plus one; 0: the slot is free, or not seen yet.
    flows: Vec<u32>,
    known: Vec<Known>,
    /// Numbers of `known` that no flow has.
    vacant: Vec<u32>,
    /// Closed slots that wait for [`GRACE`], with the time they were seen closed, oldest first.
    closing: VecDeque<(u32, Instant)>,
    /// Slots that were used when the last drain began.
    used: usize,
    made: Instant,
}

impl Table {
    /// Takes over mapped arrays of this geometry.
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

    /// The slot with a number.
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize)
    }

    /// Number of slots that were used when the last drain began.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether the table fills up, so that draining should not wait: more than half of what was free after the last
    /// drain is taken, or the table is more than half full and slots can be freed.
    pub(super) fn is_filling(&self) -> bool {
        let used = self.tags().filter(|tag| tag.load(Relaxed) != 0).count();
        let free_before = self.len().saturating_sub(self.used);
        used.saturating_sub(self.used) > free_before / 2
            || used > self.len() / 2 && self.due(Instant::now()) > 0
    }

    /// Looks at all used slots: calls `sink` for each that is new, moved something or was closed, and `look` for each
    /// that the kernel still counts in. Slots of the sockets in `ended` are closed first, but for those that represent a
    /// connection: these the kernel closes, and the socket may have another one.
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

    /// Appends the numbers of the slots that are used in [`BATCH`] sets, and has the processor load what a visit reads
    /// of them: one after the other, each would be waited for.
    fn load(&self, first: usize, used: &mut Vec<usize>) {
        for (set, tags) in self.tags.iter().enumerate().skip(first).take(BATCH) {
            let ways = tags.iter().enumerate().filter(|(_, tag)| tag.load(Acquire) != 0);
            used.extend(ways.map(|(way, _)| set * tags.len() + way));
        }
        for number in used {
            black_box(Counters::of(&self.slots[*number]));
        }
    }

    /// Looks at one used slot as [`Self::scan`] does. Returns nothing if the kernel counts in it no more, or not yet.
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
            // Its bytes are reported once it is open.
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

    /// Number of slots that were seen closed at least [`GRACE`] before `now`, when this drain began.
    pub(super) fn due(&self, now: Instant) -> usize {
        self.closing.partition_point(|(_, closed)| now.saturating_duration_since(*closed) >= GRACE)
    }

    /// Those of the first `count` closed slots that are in the stash, and the keys that lead to them.
    pub(super) fn spill_keys(&self, count: usize) -> Vec<(SpillKey, u32)> {
        let numbers = self.closing.iter().take(count).map(|(number, _)| *number as usize);
        let in_stash = numbers.filter(|number| *number >= self.geometry.main_slots());
        in_stash.map(|number| (self.slots[number].spill_key(), number as u32)).collect()
    }

    /// Frees the first `count` closed slots. Nothing in the kernel may find them any more.
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

    /// Closes the slots of datagrams that were idle for a minute.
    pub(super) fn close_idle(&self, now: Instant) {
        let second = now.duration_since(self.made).as_secs() as u32;
        for (slot, flow) in self.slots.iter().zip(&self.flows).filter(|(_, flow)| **flow != 0) {
            let idle = second.saturating_sub(self.known[*flow as usize - 1].moved);
            if idle >= IDLE && slot.state().protocol() != TCP {
                close(slot);
            }
        }
    }

    /// Has no slot count for these sessions any more, and closes those that count for no other. From then on a session
    /// that is given one of the numbers meets no slot of the session that had it before.
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

    /// Takes a session, as its bit in the words of sessions, out of the slots in use that it does not keep, and closes those
    /// that count for no other. Returns the flows that it leaves.
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

/// Closes a slot if the kernel counts in it. The kernel may change the state at the same moment.
fn close(slot: &Slot) {
    let close = |word| Some(State(word)).filter(|state| state.is_live()).map(|state| state.closed().0);
    // An error means that the slot was not live.
    let _ = slot.state.fetch_update(AcqRel, Acquire, close);
}

#[cfg(test)]
mod tests;
