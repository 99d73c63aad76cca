//! What a stream's bytes are fed to.

use crate::{Sink, Way};

/// A parser of one connection's protocol. Per way it is fed everything in order: bytes, skipped bytes of bodies, and
/// holes.
pub(crate) trait Parser {
    /// How many of the next bytes of this way may be missing without harm, because they belong to a body: `u64::MAX` if
    /// the body goes on until the connection closes or the way is not parsed.
    fn skippable(&self, way: Way) -> u64;

    /// The next bytes of a way. `starts` is as of [`crate::Piece`], for the first of them.
    fn bytes(&mut self, way: Way, time: u64, bytes: &[u8], starts: bool, sink: &mut dyn Sink);

    /// The next `length` bytes of a way, at most as many as [`Self::skippable`], passed and are not at hand. `time` is when
    /// the last of them passed, as far as that is known.
    fn skipped(&mut self, way: Way, time: u64, length: u64, sink: &mut dyn Sink);

    /// The next `length` bytes of a way will not come. What follows is where the parser may find its place again.
    /// `lost` says that they were lost between kernel and user space.
    fn hole(&mut self, way: Way, length: u64, lost: bool, sink: &mut dyn Sink);

    /// A way has ended in order (FIN): no byte follows.
    fn end(&mut self, way: Way, time: u64, sink: &mut dyn Sink);

    /// The connection is gone (both ways closed, reset, or given up): everything open is reported. `lost` says that the
    /// connection's last bytes may be missing, so that an open exchange is unobserved and not without a response.
    fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink);

    /// Number of exchanges under way: requests whose head has passed, and that are reported neither as an exchange nor as
    /// unobserved yet.
    fn under_way(&self) -> usize;

    /// Returns whether a message begins next on both ways and none is under way, or a frame of HTTP/2 does, beyond doubt.
    fn pauses(&self) -> bool;

    /// Bytes of memory in use beside the parser's own size.
    fn memory(&self) -> usize;
}
