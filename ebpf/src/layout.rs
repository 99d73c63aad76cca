//! Rust mirror of `src/bpf/shared.h`.
//!
//! Structs in mapped arrays are `repr(C)` and read in place; those that travel by system call are turned into bytes,
//! so that no padding leaks and nothing here needs `unsafe`. Addresses are 16 bytes in network order, IPv4 as
//! `::ffff:a.b.c.d`; ports are in host order; integers are in the byte order of the machine.

mod filter;
pub mod http;
mod slot;
pub mod stacks;
pub mod tls;

use std::{
    mem::size_of,
    net::{IpAddr, Ipv6Addr},
    sync::atomic::AtomicU32,
};

pub use self::{
    filter::{FILTER_SIZE, Filter, NETWORKS, RANGES},
    slot::{Bytes, CLOSED, CONNECTION, FAILED, FREE, OLDER, OPEN, PENDING, Slot, SpillKey, State},
};

/// Maximum number of sessions (traces) that one node can serve at once.
pub const SESSIONS: usize = 64;
/// Number of slots in a set of the flow table.
pub const WAYS: usize = 8;
/// Maximum number of bytes of a cgroup folder's name that are kept, including the final zero.
pub const FOLDER: usize = 128;
/// Length of `tt_losses`, which has room for further values of [`Loss`].
pub const LOSSES: usize = 16;
/// Maximum number of slots that one run of `tt_reconcile` compares with their sockets.
pub const WORK: usize = 256;
/// Sentinel that ends the list of slot numbers in `tt_work` if it is shorter than [`WORK`].
pub const NO_SLOT: u64 = 0xffff_ffff;

/// Bit of TCP in [`Filter::protocols`], and the protocol of a slot.
pub const TCP: u32 = 1;
/// Bit of UDP.
pub const UDP: u32 = 2;
/// Bit of ICMP and ICMPv6.
pub const ICMP: u32 = 4;

/// The tags of a set, one for each of its slots. Tag 0 means that the slot is free; the kernel takes a slot by a
/// compare-and-swap of its tag from 0.
pub type Tags = [AtomicU32; WAYS];

/// The selection: its generation, the sessions that have a filter, and the sessions that select processes by id.
/// Sessions are one bit each.
///
/// The programs read it at every event. Write a new generation last, in a system call of its own.
pub type Selection = [u64; 3];

/// Indexes of the counters in `tt_losses`: the reasons why something could not be counted where it belongs, and some
/// counts that are no losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Loss {
    /// Events that found no free slot; their bytes are in the overflow rows.
    TableFull = 0,
    /// Received bytes that not even an overflow row took.
    RxBytes = 1,
    /// Sent bytes that not even an overflow row took.
    TxBytes = 2,
    /// Cgroups whose name and parent could not be kept.
    Folders = 3,
    /// Processes that could not be followed, or some of whose open files could not be checked.
    Processes = 4,
    /// Datagram sockets whose end was not reported; their slots are freed when they are idle.
    Ended = 5,
    /// ICMP messages whose peer is not known, because the programs that see it are not attached.
    IcmpPeer = 6,
    /// Not a loss: sends that the kernel skipped for the first program and that its twin counted.
    RescuedSends = 7,
    /// Not a loss: receives that the kernel skipped for the first program and that its twin counted.
    RescuedReceives = 8,
    /// Not a loss: number of times that a cgroup was noted as a lender of sockets, see `lend.h`.
    Lenders = 9,
    /// Not a loss: comparisons of an accepted connection with its socket that found bytes read by an unknown process.
    Unowned = 10,
}

/// Size of `struct tt_folder`, the kernel's form of [`Folder`], in bytes.
pub const FOLDER_SIZE: usize = 8 + FOLDER;

/// A cgroup on the path from a selected socket up to the selected cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Id of the parent cgroup; 0 for the root.
    pub parent: u64,
    /// Name of the folder, cut at 127 bytes.
    pub name: String,
}

impl Folder {
    /// Parses `struct tt_folder`.
    pub fn from_bytes(bytes: &[u8; FOLDER_SIZE]) -> Self {
        let (parent, name) = bytes.split_at(8);
        let mut word = [0; 8];
        word.copy_from_slice(parent);
        Self { parent: u64::from_ne_bytes(word), name: text(name) }
    }
}

/// Key of an overflow row, which sums up events that found no slot: cgroup id, session bits and protocol.
pub type OverflowKey = [u64; 3];
/// Sums of an overflow row: received bytes, sent bytes, receive calls, send calls.
pub type Overflow = [u64; 4];
/// Value of a selected process: bits of the sessions that select it, and of those that also select its future children.
pub type Process = [u64; 2];

/// Returns the address in 16 bytes in network order; `::ffff:a.b.c.d` becomes IPv4.
pub fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// Returns the text before the first zero byte; bytes that are not UTF-8 are replaced.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

const _: () = {
    assert!(size_of::<Tags>() == 32);
    assert!(size_of::<Selection>() == 24);
};

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

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
