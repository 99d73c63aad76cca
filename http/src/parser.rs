//! The interface between a stream and the parser of its protocol.

use crate::{Sink, Way};

/// A parser of one connection's protocol. The [`crate::stream::Stream`] of each direction passes everything to the
/// parser in order: bytes, skipped bytes of bodies, and holes (bytes that are missing and may be needed).
pub(crate) trait Parser {
    /// Returns the number of next bytes of this direction that the parser does not need, because they belong to a body.
    /// `u64::MAX` means that the body lasts until the connection closes, or that the direction is not parsed.
    fn skippable(&self, way: Way) -> u64;

    /// Receives the next bytes of a direction. `starts` is [`crate::Piece::starts`] for the first of them.
    fn bytes(&mut self, way: Way, time: u64, bytes: &[u8], starts: bool, sink: &mut dyn Sink);

    /// Reports that the next `length` bytes of a direction, at most [`Self::skippable`], passed but are not available.
    /// `time` is the time of the last of them, or of the piece that showed the gap.
    fn skipped(&mut self, way: Way, time: u64, length: u64, sink: &mut dyn Sink);

    /// Reports that the next `length` bytes of a direction will not come. The parser may find the beginning of a
    /// message or frame in the bytes that follow. `lost` is true if the bytes were lost between kernel and user space,
    /// and false if their packets never came.
    fn hole(&mut self, way: Way, length: u64, lost: bool, sink: &mut dyn Sink);

    /// Reports the regular end of a direction (FIN): no byte follows.
    fn end(&mut self, way: Way, time: u64, sink: &mut dyn Sink);

    /// Handles the end of the connection (both directions closed, reset, or given up) and reports every open exchange
    /// to `sink`. `lost` is true if the last bytes of the connection may be missing: an open exchange then counts as
    /// unobserved, not as one without a response.
    fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink);

    /// Returns the number of exchanges under way: requests whose head has passed, and that are not yet reported,
    /// neither as an exchange nor as unobserved.
    fn under_way(&self) -> usize;

    /// Returns whether a message certainly begins at the next byte of both directions and no exchange is under way; for
    /// HTTP/2, whether a frame certainly begins there. See [`crate::Connection::pause`].
    fn pauses(&self) -> bool;

    /// Returns the number of bytes on the heap.
    fn memory(&self) -> usize;
}
