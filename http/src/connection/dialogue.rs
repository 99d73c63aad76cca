//! [`Dialogue`] detects the protocol of a connection and then delegates to the parser of that protocol.

use super::Language;
use super::detect::{PROBE, Verdict, detect};
use crate::h1::side_of;
use crate::parser::Parser;
use crate::{Side, Sink, Start, Way, h1, h2};

/// Maximum number of bytes kept of a direction until the protocol is known. Both directions are kept, since an HTTP/2
/// server may send its first frames before the client's preface.
const MAX_KEPT: usize = 16 << 10;
/// A connection that is older than the trace counts as another protocol after this many pieces that the kernel marked
/// as the start of a message, although they are not HTTP.
const MAX_MISSES: u32 = 16;

/// The parser of a connection, whatever its protocol.
#[derive(Debug)]
pub(super) struct Dialogue {
    state: State,
    start: Start,
    /// Number of pieces that were marked as the start of a message and were not HTTP.
    misses: u32,
}

#[derive(Debug)]
enum State {
    Undecided(Undecided),
    Http1(Box<h1::Parser>),
    Http2(Box<h2::Parser>, Option<Side>),
    Other,
}

/// The first bytes of both directions, kept while the protocol is unknown.
#[derive(Debug, Default)]
struct Undecided {
    kept: [Kept; 2],
}

/// The first bytes of a direction, and the time of the first of them.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    time: u64,
}

impl Dialogue {
    pub(super) fn new(start: Start) -> Self {
        Self { state: State::Undecided(Undecided::default()), start, misses: 0 }
    }

    pub(super) fn language(&self) -> Language {
        match &self.state {
            State::Http1(parser) if parser.has_left() => Language::Left,
            State::Http1(parser) if parser.has_spoken() => Language::Http1,
            State::Undecided(_) | State::Http1(_) => Language::Undecided,
            State::Http2(..) => Language::Http2,
            State::Other => Language::Other,
        }
    }

    pub(super) fn side(&self) -> Option<Side> {
        match &self.state {
            State::Http1(parser) => parser.side(),
            State::Http2(_, side) => *side,
            State::Undecided(_) | State::Other => None,
        }
    }

    /// Handles bytes while the protocol is unknown: keeps them, or chooses a parser and passes the kept bytes to it.
    fn undecided(&mut self, way: Way, time: u64, bytes: &[u8], starts: bool, sink: &mut dyn Sink) {
        let joined = self.is_joined();
        let State::Undecided(undecided) = &mut self.state else { return };
        let kept = &mut undecided.kept[way.index()];
        if joined && !starts && kept.bytes.is_empty() {
            return;
        }
        let probe: Vec<u8> = kept.bytes.iter().chain(bytes).take(PROBE).copied().collect();
        let next = match detect(&probe, joined) {
            Verdict::More | Verdict::Settings if kept.bytes.len() + bytes.len() <= MAX_KEPT => {
                if kept.bytes.is_empty() {
                    kept.time = time;
                }
                kept.bytes.extend_from_slice(bytes);
                return;
            }
            Verdict::Request => State::Http1(Box::new(h1::Parser::new(way, self.start))),
            Verdict::Response => State::Http1(Box::new(h1::Parser::new(way.other(), self.start))),
            Verdict::Preface => State::Http2(Box::new(h2::Parser::new(false)), Some(side_of(way))),
            Verdict::Frame => State::Http2(Box::new(h2::Parser::new(true)), None),
            Verdict::More | Verdict::Settings | Verdict::Other => {
                self.miss();
                return;
            }
        };
        let [received, sent] = std::mem::take(&mut undecided.kept);
        let (own, other) = if way == Way::Received { (received, sent) } else { (sent, received) };
        self.state = next;
        let first = own.bytes.is_empty();
        self.replay(way, own, sink);
        self.bytes(way, time, bytes, first, sink);
        self.replay(way.other(), other, sink);
    }

    /// Handles first bytes that are not HTTP. On a connection that is older than the trace, their piece may have come
    /// from the middle of a message, so detection starts again until there were [`MAX_MISSES`] such pieces.
    fn miss(&mut self) {
        self.misses += 1;
        let again = self.is_joined() && self.misses < MAX_MISSES;
        self.state = if again { State::Undecided(Undecided::default()) } else { State::Other };
    }

    /// Returns whether the first piece may come from the middle of a message.
    fn is_joined(&self) -> bool {
        self.start != Start::Whole
    }

    /// Passes kept bytes to the parser that was chosen.
    fn replay(&mut self, way: Way, kept: Kept, sink: &mut dyn Sink) {
        if !kept.bytes.is_empty() {
            self.bytes(way, kept.time, &kept.bytes, true, sink);
        }
    }
}

impl Parser for Dialogue {
    fn skippable(&self, way: Way) -> u64 {
        match &self.state {
            State::Undecided(undecided)
                if !self.is_joined() || !undecided.kept[way.index()].bytes.is_empty() =>
            {
                0
            }
            State::Http1(parser) => parser.skippable(way),
            State::Http2(parser, _) => parser.skippable(way),
            State::Undecided(_) | State::Other => u64::MAX,
        }
    }

    fn bytes(&mut self, way: Way, time: u64, bytes: &[u8], starts: bool, sink: &mut dyn Sink) {
        match &mut self.state {
            State::Undecided(_) => self.undecided(way, time, bytes, starts, sink),
            State::Http1(parser) => {
                let used = parser.feed(way, time, bytes, starts, sink);
                if parser.is_refused() {
                    self.miss();
                } else if let Some(request) = parser.take_upgrade() {
                    let side = request.side;
                    let upgrade = h2::Upgrade {
                        side,
                        method: request.method,
                        host: request.host,
                        path: request.path,
                        began: request.began,
                        request_bytes: request.request_bytes,
                        response_bytes: request.response_bytes,
                    };
                    self.state = State::Http2(Box::new(h2::Parser::upgraded(upgrade)), Some(side));
                    if used < bytes.len() {
                        self.bytes(way, time, &bytes[used..], true, sink);
                    }
                }
            }
            State::Http2(parser, _) => parser.bytes(way, time, bytes, starts, sink),
            State::Other => {}
        }
    }

    fn skipped(&mut self, way: Way, time: u64, length: u64, sink: &mut dyn Sink) {
        match &mut self.state {
            State::Http1(parser) => parser.skipped(way, time, length, sink),
            State::Http2(parser, _) => parser.skipped(way, time, length, sink),
            State::Undecided(_) | State::Other => {}
        }
    }

    fn hole(&mut self, way: Way, length: u64, lost: bool, sink: &mut dyn Sink) {
        match &mut self.state {
            State::Undecided(undecided) => {
                undecided.kept = Default::default();
                if self.start == Start::Whole {
                    self.start = Start::Lost;
                }
            }
            State::Http1(parser) => parser.hole(way, length, lost, sink),
            State::Http2(parser, _) => parser.hole(way, length, lost, sink),
            State::Other => {}
        }
    }

    fn end(&mut self, way: Way, time: u64, sink: &mut dyn Sink) {
        match &mut self.state {
            State::Http1(parser) => parser.end(way, time, sink),
            State::Http2(parser, _) => parser.end(way, time, sink),
            State::Undecided(_) | State::Other => {}
        }
    }

    fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink) {
        match &mut self.state {
            State::Http1(parser) => parser.close(time, lost, sink),
            State::Http2(parser, _) => parser.close(time, lost, sink),
            State::Undecided(_) | State::Other => {}
        }
        self.state = State::Other;
    }

    fn under_way(&self) -> usize {
        match &self.state {
            State::Http1(parser) => parser.under_way(),
            State::Http2(parser, _) => parser.under_way(),
            State::Undecided(_) | State::Other => 0,
        }
    }

    fn pauses(&self) -> bool {
        match &self.state {
            State::Http1(parser) => parser.pauses(),
            State::Http2(parser, _) => parser.pauses(),
            State::Undecided(_) | State::Other => false,
        }
    }

    fn memory(&self) -> usize {
        match &self.state {
            State::Undecided(undecided) => undecided.kept.iter().map(|kept| kept.bytes.capacity()).sum(),
            State::Http1(parser) => size_of::<h1::Parser>() + parser.memory(),
            State::Http2(parser, _) => size_of::<h2::Parser>() + parser.memory(),
            State::Other => 0,
        }
    }
}
