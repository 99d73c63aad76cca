//! One direction of a connection, put in order.
//!
//! A [`Stream`] passes the bytes of one direction to a [`Parser`], in the order of the TCP sequence numbers. It extends
//! sequence numbers to 64-bit offsets, and drops duplicates and overlaps. It distinguishes three kinds of missing
//! bytes:
//!
//! * Bytes that the parser does not need, because they belong to a body, are skipped at once. They get the time of the
//!   piece after them, which showed the gap.
//! * Bytes that were lost between kernel and user space are reported to the parser as a hole.
//! * All other bytes may still come. Later pieces are held until they do, or until more than [`MAX_HELD_BYTES`] or
//!   [`MAX_HELD_PIECES`] are held; then the missing bytes are given up and reported as a hole.
//!
//! Times never go backwards within a direction: bytes that were held get the time of the piece that filled the gap
//! before them, which is when the receiving application could read them.
//!
//! The bytes that are missing at the end of a piece ([`Piece::length`]) are skipped if the parser does not need them;
//! otherwise they are expected in further pieces.

use std::mem::size_of;

use crate::parser::Parser;
use crate::{Piece, Sink, Way};

#[cfg(test)]
mod tests;

/// Maximum number of bytes held in one direction while earlier bytes are missing. After a lost packet, up to a TCP
/// window of bytes arrives before the packet is sent again; this is enough for the windows of large bodies.
pub(crate) const MAX_HELD_BYTES: usize = 1 << 20;
/// Maximum number of pieces held in one direction while earlier bytes are missing.
pub(crate) const MAX_HELD_PIECES: usize = 1_024;

/// Value that is added to the first sequence number to get its offset, so that a sequence number before it (a
/// duplicate) has no negative offset.
const ORIGIN: u64 = 1 << 32;
/// Maximum distance by which a TCP sequence number can be behind the next byte: the largest TCP window. Since the
/// numbers wrap around, one that seems to be farther behind is taken for one that is ahead.
const WINDOW: u32 = 1 << 30;
/// Remaining length of a body from which a sequence number is also compared with that of the body's end. The next byte
/// alone does not suffice: numbers repeat after 2^32 bytes, and of these the last [`WINDOW`] count as behind.
const LONG_BODY: u64 = 1 << 31;
/// Maximum distance in bytes from the next byte, or from the end of a body of [`LONG_BODY`] or more, at which a
/// sequence number is taken to belong there.
const NEAR: u32 = 1 << 26;
/// Bound of the end of a body of [`LONG_BODY`] or more, so that sums of offsets and lengths do not overflow.
const MAX_OFFSET: u64 = 1 << 62;

/// The bytes of a piece, new or held, with their offset in the stream.
#[derive(Debug, Clone, Copy)]
struct Segment<'a> {
    offset: u64,
    time: u64,
    length: u32,
    starts: bool,
    bytes: &'a [u8],
}

/// A segment that waits for earlier bytes.
#[derive(Debug)]
struct Held {
    offset: u64,
    time: u64,
    length: u32,
    starts: bool,
    bytes: Box<[u8]>,
}

impl Held {
    fn segment(&self) -> Segment<'_> {
        let Self { offset, time, length, starts, ref bytes } = *self;
        Segment { offset, time, length, starts, bytes }
    }
}

/// One direction of a connection, whose pieces are put in order.
#[derive(Debug)]
pub(crate) struct Stream {
    way: Way,
    /// Offset of the next byte to deliver to the parser; `None` before the first piece if the first sequence number is
    /// unknown.
    next: Option<u64>,
    /// Segments after a gap, in ascending order of offset.
    held: Vec<Held>,
    held_bytes: usize,
    /// End offset and time of a piece whose last bytes are missing while the parser needs no byte (`u64::MAX`). They
    /// are not skipped yet, because the next message may begin within them, in a later piece.
    rest: Option<(u64, u64)>,
    /// Latest time that was passed to the parser, in nanoseconds.
    clock: u64,
    /// Offset and time of the FIN.
    fin: Option<(u64, u64)>,
    /// True if the FIN was delivered.
    ended: bool,
}

impl Stream {
    /// Creates the stream of a direction whose first byte has the sequence number `first`, if that is known.
    pub(crate) fn new(way: Way, first: Option<u32>) -> Self {
        let next = first.map(|first| ORIGIN + u64::from(first));
        Self { way, next, held: Vec::new(), held_bytes: 0, rest: None, clock: 0, fin: None, ended: false }
    }

    /// Delivers a piece and the held segments that follow it without a gap; holds the piece if bytes before it are
    /// missing.
    pub(crate) fn piece(&mut self, piece: &Piece<'_>, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        if self.ended {
            return;
        }
        if self.next.is_none() && piece.lost_before {
            parser.hole(self.way, 0, true, sink);
        }
        let offset = self.offset(piece.sequence, piece.starts, parser);
        if piece.lost_before {
            self.give_up(offset, piece.time, true, parser, sink);
        }
        let length = piece.length.max(u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX));
        let segment = Segment { offset, time: piece.time, length, starts: piece.starts, bytes: piece.bytes };
        self.skip_to(offset, piece.time, parser, sink);
        if self.next_offset() >= offset {
            self.deliver(segment, parser, sink);
            self.drain(parser, sink);
        } else {
            self.hold(segment);
            while self.held_bytes > MAX_HELD_BYTES || self.held.len() > MAX_HELD_PIECES {
                self.give_up_first(parser, sink);
            }
        }
        self.try_end(parser, sink);
    }

    /// Handles the FIN, which is delivered once everything before `sequence` has been delivered.
    pub(crate) fn fin(&mut self, sequence: u32, time: u64, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        if self.ended || self.fin.is_some() {
            return;
        }
        let offset = self.offset(sequence, false, parser);
        self.fin = Some((offset, time));
        self.try_end(parser, sink);
    }

    /// Delivers everything that is held, with holes for missing bytes.
    pub(crate) fn close(&mut self, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        while !self.held.is_empty() {
            self.give_up_first(parser, sink);
        }
        if let Some((offset, time)) = self.rest.take() {
            self.skip_to(offset, time, parser, sink);
        }
        if let Some((offset, time)) = self.fin
            && !self.ended
        {
            self.give_up(offset, time, false, parser, sink);
            self.try_end(parser, sink);
        }
    }

    /// Frees the held segments, and ignores all further pieces.
    pub(crate) fn stop(&mut self) {
        self.held = Vec::new();
        self.held_bytes = 0;
        self.ended = true;
    }

    /// Returns the sequence number of the next byte, if everything before it has been delivered and no FIN has come.
    pub(crate) fn next(&self) -> Option<u32> {
        let waits = !self.held.is_empty() || self.rest.is_some() || self.fin.is_some() || self.ended;
        self.next.filter(|_| !waits).map(low)
    }

    /// Returns the number of bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Held>() + self.held_bytes
    }

    /// Returns whether everything up to the end of the last piece was delivered or skipped.
    pub(crate) fn is_in_order(&self) -> bool {
        self.held.is_empty() && self.rest.is_none_or(|(end, _)| end <= self.next_offset())
    }

    fn next_offset(&self) -> u64 {
        self.next.unwrap_or(ORIGIN)
    }

    /// Returns the offset of a sequence number. If no byte has come yet and the first sequence number was unknown, this
    /// one becomes the first.
    fn offset(&mut self, sequence: u32, starts: bool, parser: &dyn Parser) -> u64 {
        let Some(next) = self.next else {
            let origin = ORIGIN + u64::from(sequence);
            self.next = Some(origin);
            return origin;
        };
        let base = self.rest.map_or(next, |(end, _)| end.max(next));
        let ahead = sequence.wrapping_sub(low(base));
        let behind = ahead.wrapping_neg();
        let near_base = ahead < NEAR || behind < NEAR;
        let skippable = parser.skippable(self.way);
        if (LONG_BODY..u64::MAX).contains(&skippable)
            && (starts || !near_base)
            && let Some(end) = next.checked_add(skippable).filter(|&end| end < MAX_OFFSET)
        {
            let beyond = sequence.wrapping_sub(low(end));
            let before = beyond.wrapping_neg();
            if beyond < NEAR {
                return end + u64::from(beyond);
            }
            if before < NEAR {
                return end - u64::from(before);
            }
        }
        if behind <= WINDOW { base - u64::from(behind) } else { base + u64::from(ahead) }
    }

    /// Skips bytes up to `target`, as far as the parser does not need them.
    fn skip_to(&mut self, target: u64, time: u64, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        loop {
            let next = self.next_offset();
            let length = parser.skippable(self.way).min(target.saturating_sub(next));
            if length == 0 {
                return;
            }
            self.next = Some(next + length);
            self.clock = self.clock.max(time);
            parser.skipped(self.way, self.clock, length, sink);
        }
    }

    /// Delivers the bytes of a segment that were not delivered before. The segment begins at the next offset or before
    /// it.
    fn deliver(&mut self, segment: Segment<'_>, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        let Segment { offset, time, length, starts, bytes } = segment;
        let next = self.next_offset();
        let old = next - offset;
        if let Some(bytes) = usize::try_from(old).ok().and_then(|old| bytes.get(old..))
            && !bytes.is_empty()
        {
            self.next = Some(next + bytes.len() as u64);
            self.clock = self.clock.max(time);
            parser.bytes(self.way, self.clock, bytes, starts && old == 0, sink);
        }
        let end = offset + u64::from(length);
        if end <= self.next_offset() {
            return;
        }
        if parser.skippable(self.way) < u64::MAX {
            self.skip_to(end, time, parser, sink);
        } else if self.rest.is_none_or(|(rest, _)| rest < end) {
            // The next message may begin within these bytes, in a later piece, so they are not skipped yet.
            self.rest = Some((end, time));
        }
    }

    /// Holds a segment after a gap, unless an equal or larger one is already held.
    fn hold(&mut self, segment: Segment<'_>) {
        let Segment { offset, time, length, starts, bytes } = segment;
        let index = self.held.partition_point(|held| held.offset < offset);
        let same = self.held[index..].iter().take_while(|held| held.offset == offset);
        for held in same {
            if held.bytes.len() >= bytes.len() && held.length >= length {
                return;
            }
        }
        self.held_bytes += bytes.len();
        self.held.insert(index, Held { offset, time, length, starts, bytes: bytes.into() });
    }

    /// Delivers the held segments that have no gap before them any more.
    fn drain(&mut self, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        while let Some(first) = self.held.first() {
            let (offset, time) = (first.offset, first.time);
            self.skip_to(offset, time, parser, sink);
            if self.next_offset() < offset {
                return;
            }
            let held = self.held.remove(0);
            self.held_bytes -= held.bytes.len();
            self.deliver(held.segment(), parser, sink);
        }
        self.held = Vec::new();
    }

    /// Reports the bytes before the first held segment as a hole, and delivers the segment.
    fn give_up_first(&mut self, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        if let Some(first) = self.held.first() {
            let (offset, time) = (first.offset, first.time);
            self.give_up(offset, time, false, parser, sink);
            self.drain(parser, sink);
        }
    }

    /// Reports all missing bytes before `target` as holes, and delivers the held segments between them.
    fn give_up(&mut self, target: u64, time: u64, lost: bool, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        loop {
            self.drain(parser, sink);
            let gap_end = self.held.first().map_or(target, |held| held.offset.min(target));
            self.skip_to(gap_end, time, parser, sink);
            let next = self.next_offset();
            if next >= target {
                return;
            }
            if next < gap_end {
                self.next = Some(gap_end);
                parser.hole(self.way, gap_end - next, lost, sink);
            }
        }
    }

    /// Delivers the FIN if everything before it was delivered.
    fn try_end(&mut self, parser: &mut dyn Parser, sink: &mut dyn Sink) {
        let Some((offset, time)) = self.fin.filter(|_| !self.ended) else { return };
        self.skip_to(offset, time, parser, sink);
        if self.next_offset() >= offset {
            self.stop();
            parser.end(self.way, time.max(self.clock), sink);
        }
    }
}

/// Returns the TCP sequence number of an offset.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers are offsets modulo 2^32")]
fn low(offset: u64) -> u32 {
    offset as u32
}
