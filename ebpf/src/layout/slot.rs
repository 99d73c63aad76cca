//! The slots of the flow table. The kernel changes them while user space reads, so every field is atomic.

use std::{
    mem::{offset_of, size_of},
    sync::atomic::{
        AtomicU16, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Phase of a slot that is unused or, if its tag is not 0, being filled by the kernel.
pub const FREE: u32 = 0;
/// Phase: the kernel counts in the slot.
pub const OPEN: u32 = 1;
/// Phase: the kernel is done with the slot; user space drains it once more and frees it.
pub const CLOSED: u32 = 2;
/// Phase: the connection is being opened, or no process has used it yet; nothing of it is shown.
pub const PENDING: u32 = 3;

/// Flag in the state word: the slot is the main slot of its TCP socket, so the connection is counted here.
pub const CONNECTION: u32 = 1 << 24;
/// Flag in the state word: the connection could not be opened.
pub const FAILED: u32 = 1 << 25;
/// Flag in the state word: the connection was open before a session selected it.
pub const OLDER: u32 = 1 << 26;

/// Number of bits of [`Slot::owner`] with the process id; the bits above count the programs that the process executed.
const PID_BITS: u32 = 22;

/// Sixteen bytes that the kernel writes before it publishes a slot: an address or a name.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bytes([AtomicU64; 2]);

/// The counters of one flow: one socket, process, peer and set of sessions.
///
/// Only the kernel programs use the private fields.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot {
    /// Cookie of the socket.
    pub cookie: AtomicU64,
    /// The process and the program it runs; see [`Slot::pid`].
    pub owner: AtomicU32,
    generation: AtomicU32,
    /// Number of bytes received.
    pub rx_bytes: AtomicU64,
    /// Number of bytes sent.
    pub tx_bytes: AtomicU64,
    /// Number of receive calls that returned a length.
    pub rx_calls: AtomicU32,
    /// Number of send calls that returned a length.
    pub tx_calls: AtomicU32,
    /// The state word, see [`State`]. The kernel writes it last.
    pub state: AtomicU32,
    last: AtomicU32,
    /// The sessions that the slot counts for, one bit each. User space removes those that end.
    pub sessions: AtomicU64,
    marks: AtomicU32,
    /// Number that grows each time the slot is freed; together with the slot's number, it identifies the flow.
    pub epoch: AtomicU32,
    /// Local address.
    pub local_addr: Bytes,
    /// Peer's address; zeroes if it is not known.
    pub remote_addr: Bytes,
    /// Local port.
    pub local_port: AtomicU16,
    /// Peer's port.
    pub remote_port: AtomicU16,
    /// Process id as the process itself sees it (innermost pid namespace).
    pub ns_tgid: AtomicU32,
    /// Name of the thread group leader, with a final zero if it is shorter.
    pub comm: Bytes,
    socket: AtomicU64,
    /// Id of the socket's cgroup.
    pub cgroup: AtomicU64,
    /// Id of the calling process's cgroup.
    pub caller_cgroup: AtomicU64,
    /// Those of `sessions` that count the connection in this slot.
    pub connections: AtomicU64,
    bases: [AtomicU64; 2],
    firsts: [AtomicU32; 2],
    /// Number of segments retransmitted since the slot was taken; 0 if the slot does not represent a connection.
    pub retransmits: AtomicU32,
    retransmits_before: AtomicU32,
    /// Smoothed round-trip time in microseconds; 0 if the slot does not represent a connection.
    pub srtt_us: AtomicU32,
    sent_final: AtomicU32,
}

/// A copy of a slot's state word: phase in bits 0–7, protocol in 8–15, direction in 16–23, flags above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(pub u32);

impl State {
    /// Returns the phase: [`FREE`], [`OPEN`], [`CLOSED`] or [`PENDING`].
    pub fn phase(self) -> u32 {
        self.0 & 0xff
    }

    /// Returns whether the kernel counts in the slot, which is open or pending.
    pub fn is_live(self) -> bool {
        matches!(self.phase(), OPEN | PENDING)
    }

    /// Returns the protocol: [`TCP`](super::TCP), [`UDP`](super::UDP) or [`ICMP`](super::ICMP).
    pub fn protocol(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    /// Returns the direction: 0 unknown, 1 inbound, 2 outbound.
    pub fn direction(self) -> u32 {
        self.0 >> 16 & 0xff
    }

    /// Returns whether a flag is set: [`CONNECTION`], [`FAILED`] or [`OLDER`].
    pub fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// Returns the same state in phase [`CLOSED`].
    pub fn closed(self) -> Self {
        Self(self.0 & !0xff | CLOSED)
    }
}

/// `struct tt_key` as bytes: cookie, peer's address, owner, peer's port, and whether the flow is one of datagrams. The
/// kernel finds a slot of the stash by this key in `tt_spill`.
pub type SpillKey = [u8; 32];

impl Slot {
    /// Returns the state. Everything that the kernel wrote before this state is visible to later reads.
    pub fn state(&self) -> State {
        State(self.state.load(Acquire))
    }

    /// Returns the process id (thread group) on the host.
    pub fn pid(&self) -> u32 {
        self.owner.load(Relaxed) & ((1 << PID_BITS) - 1)
    }

    /// Returns the key that leads to this slot if it is in the stash. The key of a slot that represents a TCP
    /// connection, including a failed one, has no owner.
    pub fn spill_key(&self) -> SpillKey {
        let state = self.state();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.cookie.load(Relaxed).to_ne_bytes());
        if !state.has(CONNECTION | FAILED) {
            key[24..28].copy_from_slice(&self.owner.load(Relaxed).to_ne_bytes());
        }
        if state.protocol() != super::TCP {
            key[8..24].copy_from_slice(&self.remote_addr.load());
            key[28..30].copy_from_slice(&self.remote_port.load(Relaxed).to_ne_bytes());
            key[30..].copy_from_slice(&1u16.to_ne_bytes());
        }
        key
    }

    /// Sets everything to 0 except the epoch, which is increased by one. The state comes last, since a slot with a tag
    /// but without a state counts as one that the kernel is filling.
    pub fn clear(&self) {
        // Every field is named here, so that the compiler reports a new field that is not cleared.
        let Self {
            cookie,
            owner,
            generation,
            rx_bytes,
            tx_bytes,
            rx_calls,
            tx_calls,
            state,
            last,
            sessions,
            marks,
            epoch,
            local_addr: Bytes([local_start, local_end]),
            remote_addr: Bytes([remote_start, remote_end]),
            local_port,
            remote_port,
            ns_tgid,
            comm: Bytes([name_start, name_end]),
            socket,
            cgroup,
            caller_cgroup,
            connections,
            bases: [rx_base, tx_base],
            firsts: [rx_first, tx_first],
            retransmits,
            retransmits_before,
            srtt_us,
            sent_final,
        } = self;
        for word in [cookie, rx_bytes, tx_bytes, sessions, socket, cgroup, caller_cgroup, connections] {
            word.store(0, Relaxed);
        }
        for word in [local_start, local_end, remote_start, remote_end, name_start, name_end, rx_base, tx_base]
        {
            word.store(0, Relaxed);
        }
        for half in [owner, generation, rx_calls, tx_calls, last, marks, ns_tgid, rx_first, tx_first] {
            half.store(0, Relaxed);
        }
        for half in [retransmits, retransmits_before, srtt_us, sent_final] {
            half.store(0, Relaxed);
        }
        for port in [local_port, remote_port] {
            port.store(0, Relaxed);
        }
        epoch.store(epoch.load(Relaxed).wrapping_add(1), Relaxed);
        state.store(FREE, Release);
    }
}

impl Bytes {
    /// Returns the bytes in memory order.
    pub fn load(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(&self.0) {
            chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        bytes
    }

    /// Stores 16 bytes.
    pub fn store(&self, bytes: [u8; 16]) {
        for (chunk, word) in bytes.chunks_exact(8).zip(&self.0) {
            let mut part = [0; 8];
            part.copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(part), Relaxed);
        }
    }
}

const _: () = {
    assert!(size_of::<Slot>() == 192);
    assert!(offset_of!(Slot, state) == 40);
    assert!(offset_of!(Slot, sessions) == 48);
    assert!(offset_of!(Slot, epoch) == 60);
    assert!(offset_of!(Slot, local_addr) == 64);
    assert!(offset_of!(Slot, ns_tgid) == 100);
    assert!(offset_of!(Slot, socket) == 120);
    assert!(offset_of!(Slot, cgroup) == 128);
    assert!(offset_of!(Slot, connections) == 144);
    assert!(offset_of!(Slot, srtt_us) == 184);
};

#[cfg(test)]
mod tests;
