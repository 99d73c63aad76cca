//! The flow table as user space sees it: what moved since the last look, and slots given back.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, Instant},
};

use traffictrace_ebpf::layout::{self, PeerKey, Slot};

use super::{free::FreeSlots, mapped::Mapped};

/// How long a closed slot is left alone before it is given back. A program that found the slot just before it was
/// closed adds to it within microseconds (programs run with preemption off); this leaves room for a stolen CPU.
const GRACE: Duration = Duration::from_millis(300);
/// Seconds without any movement after which a flow counts as idle.
const IDLE: u32 = 60;

/// What one slot moved since it was last drained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Receive calls.
    pub rx_calls: u64,
    /// Send calls.
    pub tx_calls: u64,
    /// Segments retransmitted.
    pub retransmits: u64,
}

impl Delta {
    /// Whether nothing moved.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A slot that has something to tell.
#[derive(Debug)]
pub struct Drained<'a> {
    /// Its number; names the same flow from `opened` to `released`.
    pub index: usize,
    /// Its key; the counters in it go on moving, use `delta`.
    pub slot: &'a Slot,
    /// Protocol, as in [`layout::TCP`].
    pub protocol: u32,
    /// 0 unknown, 1 inbound, 2 outbound.
    pub direction: u32,
    /// What the flow is to its connection.
    pub role: Role,
    /// What it moved since it was last drained.
    pub delta: Delta,
    /// First sight of this flow.
    pub opened: bool,
    /// The kernel is done with it; bytes of an event that was under way may still come.
    pub closed: bool,
    /// Last sight of this flow: its number names another one from now on.
    pub released: bool,
}

/// What a flow is to its connection. Each connection is one flow for each of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// No connection of its own: a datagram flow, or a further process of a TCP socket.
    Part,
    /// It stands for the connection. `older`: than its selection.
    Connection {
        /// Its opening was not seen.
        older: bool,
    },
    /// It stands for a connection that could not be opened.
    Failed,
}

/// What user space remembers of a slot. Counters in slots are never set back, so that a late event is not lost:
/// a slot that is taken again goes on from where it was.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    rx_bytes: u64,
    tx_bytes: u64,
    rx_calls: u32,
    tx_calls: u32,
    retransmits: u32,
    /// When it last moved, in seconds since the table was made.
    moved: u32,
    known: bool,
    closed: bool,
}

/// The mapped flow table with its free slots.
pub(super) struct Table {
    slots: Mapped<Slot>,
    free: FreeSlots,
    /// Cookie of a slot's socket, where the map of peers leads to the slot.
    cookies: Mapped<AtomicU64>,
    seen: Vec<Seen>,
    /// Closed slots that wait for `GRACE`, with the time they were seen closed, oldest first.
    closing: VecDeque<(u32, Instant)>,
    made: Instant,
}

impl Table {
    /// Takes the mapped arrays over; `free` has every slot.
    pub(super) fn new(slots: Mapped<Slot>, free: FreeSlots, cookies: Mapped<AtomicU64>) -> Self {
        let (seen, closing, made) = (Vec::new(), VecDeque::new(), Instant::now());
        Self { slots, free, cookies, seen, closing, made }
    }

    /// Slots that the kernel can still take.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// All slots.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Slots that the kernel has ever taken: it takes them in order at first, so that none beyond was ever used.
    fn used(&self) -> usize {
        usize::try_from(self.free.taken()).unwrap_or(usize::MAX).min(self.slots.len())
    }

    /// Closes the slots of sockets that have ended.
    pub(super) fn end_sockets(&mut self, ended: &HashSet<u64>) {
        if ended.is_empty() {
            return;
        }
        for (slot, cookie) in self.slots.iter().zip(self.cookies.iter()).take(self.used()) {
            if ended.contains(&cookie.load(Relaxed)) {
                close(slot);
            }
        }
    }

    /// Slots that the map of peers leads to, idle for a minute; when the table fills up, they can make room.
    pub(super) fn idle(&self) -> Vec<(u32, PeerKey)> {
        if self.free() > self.len() / 2 {
            return Vec::new();
        }
        let now = self.made.elapsed().as_secs() as u32;
        let idle = self
            .seen
            .iter()
            .enumerate()
            .filter(|(_, seen)| seen.known && !seen.closed && now.saturating_sub(seen.moved) >= IDLE);
        idle.filter_map(|(index, _)| Some((index as u32, self.peer_key(index)?))).collect()
    }

    /// Closes a slot that the kernel does not find any more: its entry in the map of peers is gone, and the key may come
    /// to lead to another one.
    pub(super) fn close(&mut self, index: u32) {
        if let Some(cookie) = self.cookies.get(index as usize) {
            cookie.store(0, Relaxed);
        }
        if let Some(slot) = self.slots.get(index as usize) {
            close(slot);
        }
    }

    /// Calls `sink` for each slot that is new, moved bytes or ended; gives slots back that ended a while ago.
    ///
    /// Returns the keys of those that the map of peers must forget.
    #[must_use]
    pub(super) fn drain(&mut self, sink: &mut dyn FnMut(Drained<'_>)) -> Vec<PeerKey> {
        let now = Instant::now();
        let second = now.duration_since(self.made).as_secs() as u32;
        let used = self.used();
        if self.seen.len() < used {
            self.seen.resize(used, Seen::default());
        }
        for (index, (slot, seen)) in self.slots[..used].iter().zip(&mut self.seen).enumerate() {
            let word = slot.state.load(Acquire);
            let state = word & 0xff;
            if matches!(state, layout::FREE | layout::CONNECTING) {
                continue;
            }
            let delta = advance(seen, slot);
            let opened = !seen.known;
            if opened || !delta.is_empty() {
                seen.moved = second;
            }
            let closed = state == layout::CLOSED && !seen.closed;
            if closed {
                seen.closed = true;
                self.closing.push_back((index as u32, now));
            }
            seen.known = true;
            if opened || closed || !delta.is_empty() {
                sink(Drained { opened, closed, ..Drained::new(index, slot, word, delta) });
            }
        }
        self.release(now, sink)
    }

    fn peer_key(&self, index: usize) -> Option<PeerKey> {
        let cookie = self.cookies.get(index)?.load(Relaxed);
        (cookie != 0).then(|| self.slots.get(index).map(|slot| slot.peer_key(cookie))).flatten()
    }

    /// Gives back the slots that were seen closed at least [`GRACE`] before `now`, when this drain began.
    fn release(&mut self, now: Instant, sink: &mut dyn FnMut(Drained<'_>)) -> Vec<PeerKey> {
        let mut forget = Vec::new();
        while let Some((number, since)) = self.closing.front().copied() {
            if now.duration_since(since) < GRACE {
                break;
            }
            self.closing.pop_front();
            let index = number as usize;
            forget.extend(self.peer_key(index));
            let (slot, seen) = (&self.slots[index], &mut self.seen[index]);
            let delta = advance(seen, slot);
            sink(Drained { released: true, ..Drained::new(index, slot, slot.state.load(Relaxed), delta) });
            // The kernel sets this one back when it takes the slot; the other counters go on.
            *seen = Seen { known: false, closed: false, retransmits: 0, ..*seen };
            self.cookies[index].store(0, Relaxed);
            slot.state.store(layout::FREE, Release);
            self.free.give(number);
        }
        self.free.publish();
        forget
    }
}

fn close(slot: &Slot) {
    let word = slot.state.load(Acquire);
    if word & 0xff == layout::OPEN {
        slot.state.store(word & !0xff | layout::CLOSED, Release);
    }
}

impl<'a> Drained<'a> {
    fn new(index: usize, slot: &'a Slot, word: u32, delta: Delta) -> Self {
        let (protocol, direction) = (word >> 8 & 0xff, word >> 16 & 0xff);
        let flag = |flag| word & flag != 0;
        let role = if flag(layout::FAILED) {
            Role::Failed
        } else if flag(layout::CONNECTION) {
            Role::Connection { older: flag(layout::OLDER) }
        } else {
            Role::Part
        };
        Self { index, slot, protocol, direction, role, delta, opened: false, closed: false, released: false }
    }
}

fn advance(seen: &mut Seen, slot: &Slot) -> Delta {
    let now = Seen {
        rx_bytes: slot.rx_bytes.load(Relaxed),
        tx_bytes: slot.tx_bytes.load(Relaxed),
        rx_calls: slot.rx_calls.load(Relaxed),
        tx_calls: slot.tx_calls.load(Relaxed),
        retransmits: slot.retransmits.load(Relaxed),
        ..*seen
    };
    let delta = Delta {
        rx_bytes: now.rx_bytes.wrapping_sub(seen.rx_bytes),
        tx_bytes: now.tx_bytes.wrapping_sub(seen.tx_bytes),
        rx_calls: now.rx_calls.wrapping_sub(seen.rx_calls).into(),
        tx_calls: now.tx_calls.wrapping_sub(seen.tx_calls).into(),
        retransmits: now.retransmits.saturating_sub(seen.retransmits).into(),
    };
    *seen = now;
    delta
}
