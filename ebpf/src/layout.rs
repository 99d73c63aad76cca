//! Rust mirror of `src/bpf/shared.h`.
//!
//! Structs in mapped arrays are `repr(C)` and read in place; those that travel by system call are turned into bytes,
//! so that no padding leaks and nothing here needs `unsafe`. Addresses are 16 bytes in network order, IPv4 as
//! `::ffff:a.b.c.d`; ports are in host order; integers are in the byte order of the machine.

use std::{
    mem::{offset_of, size_of},
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU32, AtomicU64},
};

/// Sessions (traces) that one node can serve at once.
pub const SESSIONS: usize = 64;
/// Port ranges in one session's filter.
pub const RANGES: usize = 16;
/// Peer networks in one session's filter.
pub const NETWORKS: usize = 16;
/// Bytes of a cgroup folder's name that are kept, with the closing zero.
pub const FOLDER: usize = 128;
/// Elements of the array of losses.
pub const LOSSES: usize = 16;

/// No one uses the slot.
pub const FREE: u32 = 0;
/// The kernel counts in the slot.
pub const OPEN: u32 = 1;
/// The kernel is done with the slot; user space drains it once more and frees it.
pub const CLOSED: u32 = 2;
/// Filled by the kernel for a connection that is being opened, and nothing to user space yet.
pub const CONNECTING: u32 = 3;

/// Flag beside a slot's state: it stands for its connection, as the slot of a TCP socket's first process.
pub const CONNECTION: u32 = 1 << 24;
/// Flag: the connection could not be opened.
pub const FAILED: u32 = 1 << 25;
/// Flag: the connection is older than its selection.
pub const OLDER: u32 = 1 << 26;

/// The counters of one socket, process and set of sessions.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot {
    /// Bytes that receive calls returned.
    pub rx_bytes: AtomicU64,
    /// Bytes that send calls accepted.
    pub tx_bytes: AtomicU64,
    /// Receive calls that returned bytes.
    pub rx_calls: AtomicU32,
    /// Send calls that accepted bytes.
    pub tx_calls: AtomicU32,
    /// Segments retransmitted by the socket; 0 but for its first process.
    pub retransmits: AtomicU32,
    /// Smoothed round-trip time of the socket in microseconds; 0 but for its first process.
    pub srtt_us: AtomicU32,
    /// State in bits 0–7, protocol in 8–15, direction in 16–23, flags above. The kernel writes it last.
    pub state: AtomicU32,
    /// Process id (thread group) as the host sees it.
    pub tgid: u32,
    /// The sessions this slot counts for, one bit each.
    pub sessions: u64,
    /// Name of the thread group leader, closed by a zero where it is shorter.
    pub comm: [u8; 16],
    /// Id of the socket's cgroup.
    pub cgroup: u64,
    /// Id of the calling process's cgroup.
    pub caller_cgroup: u64,
    /// Local address.
    pub local_addr: [u8; 16],
    /// Peer's address.
    pub remote_addr: [u8; 16],
    /// Those of `sessions` for which this slot stands for the socket itself.
    pub connections: AtomicU64,
    /// Process id as the process itself sees it (innermost pid namespace).
    pub ns_tgid: u32,
    /// Local port.
    pub local_port: u16,
    /// Peer's port.
    pub remote_port: u16,
}

/// What is selected: generation, sessions that have any filter, sessions that select processes.
///
/// The kernel reads it at every event. Write a new generation last, in a call of its own.
pub type Selection = [u64; 3];

/// Positions in the ring of free slots, which only grow; one element. Each cache line has one writer.
#[derive(Debug)]
#[repr(C)]
pub struct Ring {
    /// Next entry that the kernel takes.
    pub head: AtomicU64,
    pad0: [u8; 56],
    /// First entry that user space has not filled yet.
    pub tail: AtomicU64,
    /// Entries of the ring, minus one.
    pub mask: AtomicU64,
    pad1: [u8; 48],
}

/// Why something could not be counted where it belongs; index into the array of losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Loss {
    /// Events that found no free slot; their bytes are in the overflow rows.
    TableFull = 0,
    /// Events of flows for which there was no room beside their socket; their bytes are in the overflow rows.
    PeersFull = 1,
    /// Events on sockets that were refused storage; their bytes are in the overflow rows.
    Storage = 2,
    /// Received bytes that not even an overflow row took.
    RxBytes = 3,
    /// Sent bytes that not even an overflow row took.
    TxBytes = 4,
    /// Cgroups whose name and parent could not be kept.
    Folders = 5,
    /// Processes that could not be followed, or not all of whose open files could be looked at.
    Processes = 6,
    /// Sockets whose end was not told.
    Ended = 7,
    /// ICMP messages whose peer nothing told: the programs that do are not attached.
    IcmpPeer = 8,
    /// No loss: sends that the kernel skipped for the first program, and its twin counted.
    RescuedSends = 9,
    /// Likewise, receives.
    RescuedReceives = 10,
}

/// A session's filter as the kernel reads it. Empty fields mean everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// [`TCP`], [`UDP`], [`ICMP`], ored; 0 is all.
    pub protocols: u32,
    /// 1 inbound, 2 outbound, 0 both.
    pub direction: u32,
    /// First and last port, local or remote; at most [`RANGES`].
    pub ports: Vec<(u16, u16)>,
    /// Address and mask of peers; at most [`NETWORKS`].
    pub networks: Vec<([u8; 16], [u8; 16])>,
}

/// Bit of TCP in [`Filter::protocols`], and the protocol of a slot.
pub const TCP: u32 = 1;
/// Bit of UDP.
pub const UDP: u32 = 2;
/// Bit of ICMP and ICMPv6.
pub const ICMP: u32 = 4;

/// Size of [`Filter`] in the kernel.
pub const FILTER_SIZE: usize = 16 + 4 * RANGES + 32 * NETWORKS;
/// Size of [`Folder`] in the kernel.
pub const FOLDER_SIZE: usize = 8 + FOLDER;

impl Filter {
    /// The bytes of `struct tt_filter`. Ranges and networks beyond the limits are left out: callers check first.
    pub fn to_bytes(&self) -> [u8; FILTER_SIZE] {
        let mut bytes = [0; FILTER_SIZE];
        let ranges = self.ports.len().min(RANGES);
        let networks = self.networks.len().min(NETWORKS);
        let header = [self.protocols, self.direction, ranges as u32, networks as u32];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(header) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        for (chunk, (first, last)) in bytes[16..].chunks_exact_mut(4).zip(&self.ports[..ranges]) {
            chunk[..2].copy_from_slice(&first.to_ne_bytes());
            chunk[2..].copy_from_slice(&last.to_ne_bytes());
        }
        for (chunk, (address, mask)) in
            bytes[16 + 4 * RANGES..].chunks_exact_mut(32).zip(&self.networks[..networks])
        {
            chunk[..16].copy_from_slice(address);
            chunk[16..].copy_from_slice(mask);
        }
        bytes
    }
}

/// A cgroup on the way from a selected socket up to the selected cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Id of the parent cgroup, 0 for the root.
    pub parent: u64,
    /// The folder's name; cut at 127 bytes.
    pub name: String,
}

impl Folder {
    /// Reads `struct tt_folder`.
    pub fn from_bytes(bytes: &[u8; FOLDER_SIZE]) -> Self {
        let (parent, name) = bytes.split_at(8);
        Self { parent: u64::from_ne_bytes(array(parent)), name: text(name) }
    }
}

/// A flow that its socket's storage has no place for, as `struct tt_peer_key`: cookie of the socket, peer's address,
/// process and port.
pub type PeerKey = [u8; 32];

impl Slot {
    /// The key by which a socket's flow is found in the map of peers.
    pub fn peer_key(&self, cookie: u64) -> PeerKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&cookie.to_ne_bytes());
        key[8..24].copy_from_slice(&self.remote_addr);
        key[24..28].copy_from_slice(&self.tgid.to_ne_bytes());
        key[28..30].copy_from_slice(&self.remote_port.to_ne_bytes());
        key
    }
}

/// Which overflow row. The kernel's `struct tt_overflow_key` is these three words.
pub type OverflowKey = [u64; 3];
/// What selects a cgroup, as `struct tt_cgroup`: sessions, and the generation since which there is any without a gap.
pub type Cgroup = [u64; 2];
/// Sums of an overflow row: received bytes, sent bytes, receive calls, send calls.
pub type Overflow = [u64; 4];
/// A selected process: its sessions, and those that its children inherit.
pub type Process = [u64; 2];

/// The address that 16 bytes in network order stand for, with `::ffff:a.b.c.d` as IPv4.
pub fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// The text before the first zero byte; what is not UTF-8 is replaced.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn array(bytes: &[u8]) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    word
}

const _: () = {
    assert!(size_of::<Slot>() == 128);
    assert!(offset_of!(Slot, state) == 32);
    assert!(offset_of!(Slot, sessions) == 40);
    assert!(offset_of!(Slot, comm) == 48);
    assert!(offset_of!(Slot, cgroup) == 64);
    assert!(offset_of!(Slot, local_addr) == 80);
    assert!(offset_of!(Slot, connections) == 112);
    assert!(offset_of!(Slot, remote_port) == 126);
    assert!(size_of::<Ring>() == 128);
    assert!(offset_of!(Ring, tail) == 64);
    assert!(size_of::<Selection>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lies_where_the_kernel_reads_it() {
        let mask = [0xff; 16];
        let filter = Filter {
            protocols: TCP | UDP,
            direction: 2,
            ports: vec![(80, 80), (8000, 8100)],
            networks: vec![([7; 16], mask)],
        };
        let bytes = filter.to_bytes();
        assert_eq!(bytes[..4], 3u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 2u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 2u32.to_ne_bytes());
        assert_eq!(bytes[12..16], 1u32.to_ne_bytes());
        assert_eq!(bytes[20..22], 8000u16.to_ne_bytes());
        assert_eq!(bytes[22..24], 8100u16.to_ne_bytes());
        assert_eq!(bytes[80..96], [7; 16]);
        assert_eq!(bytes[96..112], mask);
    }

    #[test]
    fn a_folder_name_ends_at_the_zero() {
        let mut bytes = [0; FOLDER_SIZE];
        bytes[..8].copy_from_slice(&9u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(b"pod1");
        assert_eq!(Folder::from_bytes(&bytes), Folder { parent: 9, name: "pod1".into() });
    }

    #[test]
    fn mapped_ipv4_is_shown_as_ipv4() {
        assert_eq!(address("::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets()).to_string(), "10.0.0.1");
        assert_eq!(address("fe80::1".parse::<Ipv6Addr>().unwrap().octets()).to_string(), "fe80::1");
    }
}
