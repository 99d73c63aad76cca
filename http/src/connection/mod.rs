//! One connection: its order, its protocol, its exchanges.

mod detect;
mod dialogue;
#[cfg(test)]
mod tests;

pub use detect::begins_message;
use dialogue::Dialogue;

use crate::parser::Parser;
use crate::stream::Stream;
use crate::{Piece, Side, Sink, Start, Way};

/// Known facts of a connection when its first piece comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beginning {
    /// Traffic before the first piece.
    pub start: Start,
    /// The first sequence number of each way, by [`Way::index`], if it is known.
    pub first: [Option<u32>; 2],
}

/// The language of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Not known yet.
    Undecided,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Anything else: pieces are ignored.
    Other,
    /// HTTP/1.1 that ended in a tunnel or another protocol (CONNECT, WebSocket): further pieces are ignored.
    Left,
}

/// One TCP connection, or the plain text of one.
#[derive(Debug)]
pub struct Connection {
    streams: [Stream; 2],
    dialogue: Dialogue,
    last: u64,
}

impl Connection {
    /// A connection of which no piece has come.
    pub fn begin(beginning: Beginning) -> Self {
        let streams = Way::BOTH.map(|way| Stream::new(way, beginning.first[way.index()]));
        Self { streams, dialogue: Dialogue::new(beginning.start), last: 0 }
    }

    /// Takes a piece, in the order in which the kernel handed them over.
    pub fn piece(&mut self, piece: &Piece<'_>, sink: &mut dyn Sink) {
        self.last = self.last.max(piece.time);
        if self.is_over() {
            return;
        }
        self.streams[piece.way.index()].piece(piece, &mut self.dialogue, sink);
        self.release();
    }

    /// Takes the FIN of a way, with its sequence number: that of the first byte that does not come any more.
    pub fn fin(&mut self, way: Way, sequence: u32, time: u64, sink: &mut dyn Sink) {
        self.last = self.last.max(time);
        if self.is_over() {
            return;
        }
        self.streams[way.index()].fin(sequence, time, &mut self.dialogue, sink);
        self.release();
    }

    /// Takes the end of the connection: everything open is reported. `lost` says that its last pieces may be missing. No
    /// piece is taken afterwards.
    pub fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink) {
        self.last = self.last.max(time);
        // Requests first: their responses are paired with them.
        let mut ways = Way::BOTH;
        if self.side() == Some(Side::Client) {
            ways.reverse();
        }
        for way in ways {
            self.streams[way.index()].close(&mut self.dialogue, sink);
        }
        self.dialogue.close(time, lost, sink);
        for stream in &mut self.streams {
            stream.stop();
        }
    }

    /// The end that the traced socket is, as soon as it is known. Of an HTTP/2 connection that was joined in its middle only
    /// the exchanges tell it.
    pub fn side(&self) -> Option<Side> {
        self.dialogue.side()
    }

    /// The language that the connection speaks.
    pub fn language(&self) -> Language {
        self.dialogue.language()
    }

    /// Number of the next bytes of a way that need not come, because they belong to a body: `u64::MAX` if none need come any
    /// more. They are those behind the last piece; 0 if bytes before that are missing.
    pub fn skippable(&self, way: Way) -> u64 {
        if self.streams[way.index()].is_in_order() { self.dialogue.skippable(way) } else { 0 }
    }

    /// Time of the last piece or FIN, in nanoseconds of the monotonic clock; 0 if none came.
    pub fn idle_since(&self) -> u64 {
        self.last
    }

    /// Number of exchanges under way: their requests' heads have passed, and nothing is reported of them yet.
    pub fn under_way(&self) -> usize {
        self.dialogue.under_way()
    }

    /// While the connection pauses, the sequence numbers of the next bytes by [`Way::index`]: a message begins there on both
    /// ways and none is under way, or of HTTP/2 a frame does, beyond doubt.
    pub fn pause(&self) -> Option<[u32; 2]> {
        let [received, sent] = &self.streams;
        let next = [received.next()?, sent.next()?];
        self.dialogue.pauses().then_some(next)
    }

    /// Bytes of memory in use beside the connection's own size.
    pub fn memory(&self) -> usize {
        self.streams.iter().map(Stream::memory).sum::<usize>() + self.dialogue.memory()
    }

    fn is_over(&self) -> bool {
        matches!(self.language(), Language::Other | Language::Left)
    }

    /// Drops what is held of a connection that is not parsed any more.
    fn release(&mut self) {
        if self.is_over() {
            for stream in &mut self.streams {
                stream.stop();
            }
        }
    }
}
