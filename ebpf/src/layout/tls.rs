//! Rust mirror of `src/bpf/tls_shared.h`: what the TLS programs share beside the records of [`super::http`].

use super::{word32, word64};

/// Flag of [`Record::flags`](super::http::Record::flags): plain text beside TLS. An [`Origin`] follows the record, and the
/// bytes follow that.
pub const PLAIN: u32 = 1 << 11;

/// Size of `struct tt_tls_origin`.
pub const ORIGIN_SIZE: usize = 16;

/// Whose plain text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Names the library's connection as long as the programs are loaded.
    pub channel: u64,
    /// Process id as the host sees it.
    pub pid: u32,
}

impl Origin {
    pub(super) fn from_bytes(bytes: &[u8; ORIGIN_SIZE]) -> Option<Self> {
        Some(Self { channel: word64(bytes, 0)?, pid: word32(bytes, 8)? })
    }
}

/// Reads `struct tt_tls_news`: the id of a process to be looked at.
pub fn news(bytes: &[u8]) -> Option<u32> {
    word32(bytes, 0)
}

/// `struct tt_tls_way`: a socket's cookie, and 1 for what it sends or 0 for what it receives.
pub type Way = [u64; 2];

/// The end of a body that ends with its connection: the lengths of its bytes are handed over, and none of them. Up to
/// `u64::MAX` nothing is.
pub const ENDLESS: u64 = u64::MAX - 1;
