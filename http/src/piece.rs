//! Pieces of connections, as the kernel hands them over.

/// The direction of bytes in a connection, as seen from the traced socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Bytes that the traced socket receives.
    Received,
    /// Bytes that the traced socket sends.
    Sent,
}

impl Way {
    /// Both directions, in the order of [`Self::index`].
    pub const BOTH: [Self; 2] = [Self::Received, Self::Sent];

    /// Returns the opposite direction.
    pub fn other(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }

    /// Returns the index of this direction in arrays with one element for each direction.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Bytes that passed in one direction, with their sequence numbers.
///
/// The kernel program skips bytes that it knows to be a message's body, so pieces do not cover all sequence numbers:
/// the bytes between two pieces were skipped, come later (packets out of order), or were lost. The parser recognizes a
/// skipped body, since it has read the message's head; [`Self::lost_before`] marks losses.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Direction of the bytes.
    pub way: Way,
    /// Time at which the packet passed, in nanoseconds of the machine's monotonic clock.
    pub time: u64,
    /// TCP sequence number of the first byte. For plain text of TLS, the number of plain-text bytes before the first
    /// byte, modulo 2^32.
    pub sequence: u32,
    /// Number of bytes that passed at `time` from `sequence` on: at least the length of `bytes`. If it is larger, the
    /// bytes after `bytes` were skipped as part of a body, or follow in another piece.
    pub length: u32,
    /// The bytes that the kernel copied; empty if the piece only shows the time at which a body ended.
    pub bytes: &'a [u8],
    /// True if the first byte begins a message (of HTTP/1) or a frame (of HTTP/2), as far as the kernel can tell. A
    /// parser that has lost its position continues here.
    pub starts: bool,
    /// True if bytes before `sequence` that have not come yet were lost between kernel and user space, and never come.
    pub lost_before: bool,
}
