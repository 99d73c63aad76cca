//! One connection: [`Connection`] puts its bytes in order, detects its protocol, and reports its exchanges.

mod detect;
mod dialogue;
#[cfg(test)]
mod tests;

pub use detect::begins_message;
use dialogue::Dialogue;

use crate::parser::Parser;
use crate::stream::Stream;
use crate::{Piece, Side, Sink, Start, Way};

/// The facts that the caller knows about a connection when its first piece arrives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beginning {
    /// Traffic before the first piece.
    pub start: Start,
    /// The sequence number of the first byte of each direction, by [`Way::index`], if it is known.
    pub first: [Option<u32>; 2],
}

/// The protocol family of a connection.
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
    /// HTTP/1.1, until a tunnel or another protocol took over (CONNECT, WebSocket): further pieces are ignored.
    Left,
}

/// One TCP connection, or the plain text of a TLS connection.
#[derive(Debug)]
pub struct Connection {
    streams: [Stream; 2],
    dialogue: Dialogue,
    last: u64,
}

impl Connection {
    /// Creates a connection, before its first piece.
    pub fn begin(beginning: Beginning) -> Self {
        let streams = Way::BOTH.map(|way| Stream::new(way, beginning.first[way.index()]));
        Self { streams, dialogue: Dialogue::new(beginning.start), last: 0 }
    }

    /// Handles a piece. The caller passes pieces in the order in which the kernel handed them over.
    pub fn piece(&mut self, piece: &Piece<'_>, sink: &mut dyn Sink) {
        self.last = self.last.max(piece.time);
        if self.is_over() {
            return;
        }
        self.streams[piece.way.index()].piece(piece, &mut self.dialogue, sink);
        self.release();
    }

    /// Handles the FIN of a direction. `sequence` is the sequence number of the FIN, which follows that of the last
    /// byte.
    pub fn fin(&mut self, way: Way, sequence: u32, time: u64, sink: &mut dyn Sink) {
        self.last = self.last.max(time);
        if self.is_over() {
            return;
        }
        self.streams[way.index()].fin(sequence, time, &mut self.dialogue, sink);
        self.release();
    }

    /// Handles the end of the connection: every open exchange is reported, and later pieces are ignored. `lost` is true
    /// if the last pieces may be missing.
    pub fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink) {
        self.last = self.last.max(time);
        // The direction of the requests is closed first, because responses are paired with requests.
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

    /// Returns the role of the traced socket, once it is known. For an HTTP/2 connection that is older than the trace,
    /// only the exchanges have the role, in [`Exchange::side`](crate::Exchange::side).
    pub fn side(&self) -> Option<Side> {
        self.dialogue.side()
    }

    /// Returns the protocol family of the connection.
    pub fn language(&self) -> Language {
        self.dialogue.language()
    }

    /// Returns the number of bytes after the last piece that the parser does not need, because they belong to a body:
    /// `u64::MAX` if the parser needs no more bytes at all, 0 if earlier bytes are missing.
    pub fn skippable(&self, way: Way) -> u64 {
        if self.streams[way.index()].is_in_order() { self.dialogue.skippable(way) } else { 0 }
    }

    /// Returns the time of the last piece or FIN, in nanoseconds of the monotonic clock; 0 if there was none.
    pub fn idle_since(&self) -> u64 {
        self.last
    }

    /// Returns the number of exchanges whose request head has passed and that are neither reported nor counted as
    /// unobserved yet.
    pub fn under_way(&self) -> usize {
        self.dialogue.under_way()
    }

    /// Returns the sequence numbers of the next bytes by [`Way::index`], if the connection pauses: a message certainly
    /// begins at the next byte of both directions and no exchange is under way; for HTTP/2, it is enough that frames
    /// begin there. Kernel programs that have lost their position in the connection continue there.
    pub fn pause(&self) -> Option<[u32; 2]> {
        let [received, sent] = &self.streams;
        let next = [received.next()?, sent.next()?];
        self.dialogue.pauses().then_some(next)
    }

    /// Returns the number of bytes on the heap.
    pub fn memory(&self) -> usize {
        self.streams.iter().map(Stream::memory).sum::<usize>() + self.dialogue.memory()
    }

    fn is_over(&self) -> bool {
        matches!(self.language(), Language::Other | Language::Left)
    }

    /// Frees the memory of a connection that is no longer parsed.
    fn release(&mut self) {
        if self.is_over() {
            for stream in &mut self.streams {
                stream.stop();
            }
        }
    }
}
