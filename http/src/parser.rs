//! The interface between a stream and the parser of its protocol.

use crate::{Sink, Way};

/// A parser of one connection's protocol. For each way, it receives everything in order: bytes, skipped bytes of
/// bodies, and holes.
pub(crate) trait Parser {
    /// Returns the number of next bytes of this way that the parser does not need, because they belong to a body:
    /// `u64::MAX` if the body lasts until the connection closes, or if the way is not parsed.
    fn skippable(&self, way: Way) -> u64;

    /// Receives the next bytes of a way. `starts` is that of [`crate::Piece`], for the first of them.
    fn bytes(&mut self, way: Way, time: u64, bytes: &[u8], starts: bool, sink: &mut dyn Sink);

    /// Receives the information that the next `length` bytes of a way, at most [`Self::skippable`], passed but are not
    /// available. `time` is the time of the last of them, as far as it is known.
    fn skipped(&mut self, way: Way, time: u64, length: u64, sink: &mut dyn Sink);

    /// Receives the information that the next `length` bytes of a way will not come. The parser may find its position
    /// again in the bytes that follow. `lost`: they were lost between kernel and user space.
    fn hole(&mut self, way: Way, length: u64, lost: bool, sink: &mut dyn Sink);

    /// Receives the regular end of a way (FIN): no byte follows.
    fn end(&mut self, way: Way, time: u64, sink: &mut dyn Sink);

    /// Receives the end of the connection (both ways closed, reset, or given up) and reports everything open. `lost`:
    /// the last bytes of the connection may be missing, so that an open exchange is unobserved, not without a response.
    fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink);

    /// Returns the number of exchanges under way: requests whose head has passed, and that are reported neither as an
    /// exchange nor as unobserved.
    fn under_way(&self) -> usize;

    /// Returns whether a message certainly begins at the next byte of both ways and no exchange is under way; for
    /// HTTP/2, whether a frame certainly begins there.
    fn pauses(&self) -> bool;

    /// Returns the number of bytes of memory in use, in addition to the size of the parser.
    fn memory(&self) -> usize;
}
