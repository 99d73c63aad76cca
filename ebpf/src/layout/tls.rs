//! Rust mirror of `src/bpf/tls_shared.h`: the data of the TLS programs, except for the records of [`super::http`].

use super::{word32, word64};

/// Flag of [`Record::flags`](super::http::Record::flags): plain text of TLS. The record is followed by an [`Origin`],
/// and that by the bytes.
pub const PLAIN: u32 = 1 << 11;

/// Size of `struct tt_tls_origin`.
pub const ORIGIN_SIZE: usize = 16;

/// The origin of plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Number of the library's connection, which is unique while the programs are loaded.
    pub channel: u64,
    /// Process id on the host.
    pub pid: u32,
}

impl Origin {
    pub(super) fn from_bytes(bytes: &[u8; ORIGIN_SIZE]) -> Option<Self> {
        Some(Self { channel: word64(bytes, 0)?, pid: word32(bytes, 8)? })
    }
}

/// Parses `struct tt_tls_news`, and returns the id of a process that must be inspected.
pub fn news(bytes: &[u8]) -> Option<u32> {
    word32(bytes, 0)
}

/// `struct tt_tls_way`, one direction of a socket: the socket's cookie, and 1 for the bytes that it sends or 0 for
/// those that it receives.
pub type Way = [u64; 2];

/// Value of `tt_tls_bodies` for a body that ends with its connection: the programs report how many bytes pass, but not
/// the bytes. With `u64::MAX`, they report nothing.
pub const ENDLESS: u64 = u64::MAX - 1;
