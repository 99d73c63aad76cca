//! What the kernel hands over of a connection.

/// One of the two ways of a connection, as the traced socket sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Bytes that the traced socket receives.
    Received,
    /// Bytes that the traced socket sends.
    Sent,
}

impl Way {
    /// Both, in the order of their index.
    pub const BOTH: [Self; 2] = [Self::Received, Self::Sent];

    /// The other way.
    pub fn other(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }

    /// Position in an array with one element for each way.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Bytes that passed one way.
///
/// The kernel skips bytes it knows to be a message's body, so pieces do not cover all sequence numbers: what lies
/// between two pieces was skipped, comes later (packets out of order), or was lost. The parser tells a skipped body from
/// the others, since it has read the message's head; [`Self::lost_before`] tells what is lost.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Which way the bytes passed.
    pub way: Way,
    /// Time at which the packet passed, in nanoseconds of the machine's monotonic clock.
    pub time: u64,
    /// TCP sequence number of the first byte. Of plain text beside TLS: a count of bytes from 0, which wraps alike.
    pub sequence: u32,
    /// Number of bytes that passed at `time` from `sequence` on: at least as many as `bytes` has. What `bytes` lacks at
    /// the end was skipped as part of a body, or follows in a further piece.
    pub length: u32,
    /// The bytes, as far as the kernel copied them: none when a body passed whose end is of interest for its time.
    pub bytes: &'a [u8],
    /// Whether the first byte begins a message (of HTTP/1) or a frame (of HTTP/2), as far as the kernel can tell: where a
    /// parser that lost its place finds it again.
    pub starts: bool,
    /// Whether bytes before `sequence` that are missing so far were lost on their way to user space and never come.
    pub lost_before: bool,
}
