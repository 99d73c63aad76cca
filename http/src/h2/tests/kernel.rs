//! A simulation of the kernel programs that see the packets of sockets: it passes the bytes of packets to a parser as
//! those programs do.

use super::*;

/// Bytes that passed in one direction at one time.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) way: Way,
    pub(super) time: u64,
    pub(super) bytes: Vec<u8>,
}

/// The kernel's position in one direction.
#[derive(Debug, Default)]
struct Followed {
    /// Number of bytes of the preface that are left.
    preface: usize,
    /// The bytes so far of an incomplete frame header.
    header: Vec<u8>,
    /// Number of bytes of the current frame's payload that are left. `data` is true if it is a DATA frame.
    left: usize,
    data: bool,
    /// Number of bytes that were lost since the last piece.
    gap: u64,
}

impl Followed {
    /// Returns the number of bytes that are left of the current part (preface, frame header or payload), whether they
    /// belong to a body, and whether they begin a frame.
    fn next(&self) -> (usize, bool, bool) {
        match (self.preface, self.left) {
            (0, 0) => (9 - self.header.len(), false, self.header.is_empty()),
            (0, left) => (left, self.data, false),
            (preface, _) => (preface, false, preface == 24),
        }
    }

    /// Moves the position beyond these bytes, which must belong to the current part.
    fn pass(&mut self, bytes: &[u8]) {
        if self.preface > 0 {
            self.preface -= bytes.len();
        } else if self.left > 0 {
            self.left -= bytes.len();
        } else {
            self.header.extend(bytes);
            if let [a, b, c, kind, ..] = self.header[..]
                && self.header.len() == 9
            {
                (self.left, self.data) = (u32::from_be_bytes([0, a, b, c]) as usize, kind == 0);
                self.header.clear();
            }
        }
    }
}

/// The simulated kernel programs, which turn packets into pieces for a parser.
pub(super) struct Kernel {
    ways: [Followed; 2],
    /// True if the programs skip bodies.
    skips: bool,
}

impl Kernel {
    pub(super) fn new(client: Way, skips: bool) -> Self {
        let mut ways = [Followed::default(), Followed::default()];
        ways[client.index()].preface = 24;
        Self { ways, skips }
    }

    /// Moves past a packet whose pieces the parser does not get. `lost` is true if its bytes are a loss for the parser,
    /// and false if they passed before the trace began.
    pub(super) fn pass_unseen(&mut self, packet: &Packet, lost: bool) {
        let followed = &mut self.ways[packet.way.index()];
        let mut rest = &packet.bytes[..];
        while !rest.is_empty() {
            let (bytes, after) = rest.split_at(followed.next().0.min(rest.len()));
            followed.pass(bytes);
            rest = after;
        }
        followed.gap += if lost { packet.bytes.len() as u64 } else { 0 };
    }

    /// Returns whether bytes were lost in a direction and no later piece of it was passed, so that the parser does not
    /// know of the loss.
    pub(super) fn has_lost(&self) -> bool {
        self.ways.iter().any(|followed| followed.gap > 0)
    }

    /// Passes the pieces of a packet to the parser. Reports a hole first if bytes were lost before the packet.
    pub(super) fn pass(&mut self, packet: &Packet, parser: &mut Parser, sink: &mut Reports) {
        let (way, time) = (packet.way, packet.time);
        let followed = &mut self.ways[way.index()];
        let gap = std::mem::take(&mut followed.gap);
        if gap > parser.skippable(way) {
            parser.hole(way, gap, true, sink);
        } else if gap > 0 {
            parser.skipped(way, time, gap, sink);
        }
        let mut piece = Vec::new();
        let mut piece_starts = false;
        let mut rest = &packet.bytes[..];
        while !rest.is_empty() {
            let (length, body, starts) = followed.next();
            let (bytes, after) = rest.split_at(length.min(rest.len()));
            if piece.is_empty() {
                piece_starts = starts;
            }
            followed.pass(bytes);
            rest = after;
            if body && self.skips {
                if !piece.is_empty() {
                    parser.bytes(way, time, &piece, piece_starts, sink);
                    piece.clear();
                }
                if bytes.len() as u64 > parser.skippable(way) {
                    parser.hole(way, bytes.len() as u64, false, sink);
                } else {
                    parser.skipped(way, time, bytes.len() as u64, sink);
                }
            } else {
                piece.extend(bytes);
            }
        }
        if !piece.is_empty() {
            parser.bytes(way, time, &piece, piece_starts, sink);
        }
    }
}
