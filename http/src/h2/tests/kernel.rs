//! A simulation of the kernel: passes packets to a parser as the programs on the sockets do.

use super::*;

/// Bytes that passed at one time.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) way: Way,
    pub(super) time: u64,
    pub(super) bytes: Vec<u8>,
}

/// The kernel's position in one way.
#[derive(Debug, Default)]
struct Followed {
    /// Number of bytes of the preface that are left.
    preface: usize,
    header: Vec<u8>,
    /// Number of bytes of the payload that are left; `data` is true if they are DATA.
    left: usize,
    data: bool,
    /// Number of bytes that were lost since the last piece.
    gap: u64,
}

impl Followed {
    /// Returns the number of next bytes of the same kind, whether they belong to a body, and whether they begin a
    /// frame.
    fn next(&self) -> (usize, bool, bool) {
        match (self.preface, self.left) {
            (0, 0) => (9 - self.header.len(), false, self.header.is_empty()),
            (0, left) => (left, self.data, false),
            (preface, _) => (preface, false, preface == 24),
        }
    }

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

/// The simulated kernel between packets and a parser.
pub(super) struct Kernel {
    ways: [Followed; 2],
    /// True if bodies are skipped.
    skips: bool,
}

impl Kernel {
    pub(super) fn new(client: Way, skips: bool) -> Self {
        let mut ways = [Followed::default(), Followed::default()];
        ways[client.index()].preface = 24;
        Self { ways, skips }
    }

    /// Handles a packet whose pieces are not passed on. `lost`: the parser must treat it as a loss, and not as bytes
    /// from before the connection was joined.
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

    /// Returns whether the last bytes of a way were lost.
    pub(super) fn has_lost(&self) -> bool {
        self.ways.iter().any(|followed| followed.gap > 0)
    }

    /// Passes on the pieces of a packet.
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
