//! A slot of the flow table. The kernel fills and changes it while user space reads, so every field is atomic.

use std::{
    mem::{offset_of, size_of},
    sync::atomic::{
        AtomicU16, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Phase of a slot that nobody uses or, while its tag is not 0, that the kernel is filling.
pub const FREE: u32 = 0;
/// Phase: the kernel counts in the slot.
pub const OPEN: u32 = 1;
/// Phase: the kernel is done with the slot; user space drains it once more and frees it.
pub const CLOSED: u32 = 2;
/// Phase: the connection is being opened, or no process has used it yet; nothing is shown of it.
pub const PENDING: u32 = 3;

/// Flag in the state word: the slot represents its TCP connection, so the connection is counted here.
pub const CONNECTION: u32 = 1 << 24;
/// Flag in the state word: the connection could not be opened.
pub const FAILED: u32 = 1 << 25;
/// Flag in the state word: the connection is older than its selection.
pub const OLDER: u32 = 1 << 26;

/// Bits of [`Slot::owner`] that are the process id; above them are bits of how often it began another program.
const PID_BITS: u32 = 22;

/// Sixteen bytes that the kernel writes before it publishes a slot: an address or a name.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bytes([AtomicU64; 2]);

/// The counters of one flow: one socket, process, peer and set of sessions.
///
/// The fields without a description in Rust are the kernel's own.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot {
    /// Cookie of the socket.
    pub cookie: AtomicU64,
    /// The process and the program it runs; see [`Slot::pid`].
    pub owner: AtomicU32,
    generation: AtomicU32,
    /// Bytes received.
    pub rx_bytes: AtomicU64,
    /// Bytes sent.
    pub tx_bytes: AtomicU64,
    /// Receive calls that returned a length.
    pub rx_calls: AtomicU32,
    /// Send calls that returned a length.
    pub tx_calls: AtomicU32,
    /// The state word, see [`State`]. The kernel writes it last.
    pub state: AtomicU32,
    last: AtomicU32,
    /// The sessions that the slot counts for, one bit each. User space takes out those that end.
    pub sessions: AtomicU64,
    marks: AtomicU32,
    /// Raised each time that the slot is freed; with the slot's number, the flow's name.
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
    /// Name of the thread group leader, closed by a zero if it is shorter.
    pub comm: Bytes,
    socket: AtomicU64,
    /// Id of the socket's cgroup.
    pub cgroup: AtomicU64,
    /// Id of the calling process's cgroup.
    pub caller_cgroup: AtomicU64,
    /// Those of `sessions` that count the connection here.
    pub connections: AtomicU64,
    bases: [AtomicU64; 2],
    firsts: [AtomicU32; 2],
    /// Segments retransmitted since the slot was taken; 0 if the slot does not represent a connection.
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
    /// [`FREE`], [`OPEN`], [`CLOSED`] or [`PENDING`].
    pub fn phase(self) -> u32 {
        self.0 & 0xff
    }

    /// Whether the kernel counts in the slot: open or pending.
    pub fn is_live(self) -> bool {
        matches!(self.phase(), OPEN | PENDING)
    }

    /// [`TCP`](super::TCP), [`UDP`](super::UDP) or [`ICMP`](super::ICMP).
    pub fn protocol(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    /// 0 unknown, 1 inbound, 2 outbound.
    pub fn direction(self) -> u32 {
        self.0 >> 16 & 0xff
    }

    /// Whether one of these flags is set: [`CONNECTION`], [`FAILED`], [`OLDER`].
    pub fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// The same state in phase [`CLOSED`].
    pub fn closed(self) -> Self {
        Self(self.0 & !0xff | CLOSED)
    }
}

/// `struct tt_key` as bytes: cookie, peer's address, owner, peer's port, and whether the flow is one of datagrams. It
/// is the key by which the kernel finds a slot of the stash.
pub type SpillKey = [u8; 32];

impl Slot {
    /// The state, and with it everything that the kernel wrote before it.
    pub fn state(&self) -> State {
        State(self.state.load(Acquire))
    }

    /// Process id (thread group) as the host sees it.
    pub fn pid(&self) -> u32 {
        self.owner.load(Relaxed) & ((1 << PID_BITS) - 1)
    }

    /// The key that leads to this slot if it is in the stash. The slot that represents a TCP connection, also one that
    /// could not be opened, is found without its owner.
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

    /// Sets everything to 0 but the epoch, which it raises by one. The state comes last: a slot with a tag and without
    /// a state is one that is being filled.
    pub fn clear(&self) {
        // Every field is named here, so that the compiler reports one that is forgotten.
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
    /// The bytes in the order of memory.
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
