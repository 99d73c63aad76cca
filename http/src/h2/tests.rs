mod encoder;
mod hostile;
mod joined;
mod kernel;
mod losses;
mod messages;
mod peer;
mod properties;
mod talk;

use encoder::{Encoder, frame};

use super::*;
use crate::{Exchange, Protocol, Status, parser::Parser as _};

/// A sink that records the reports.
#[derive(Debug, Default)]
struct Reports {
    exchanges: Vec<Exchange>,
    unobserved: Vec<(Side, Reason)>,
}

impl Sink for Reports {
    fn exchange(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    fn unobserved(&mut self, side: Side, reason: Reason, count: u64) {
        self.unobserved.extend((0..count).map(|_| (side, reason)));
    }
}

impl Reports {
    fn reasons(&self) -> Vec<Reason> {
        self.unobserved.iter().map(|(_, reason)| *reason).collect()
    }
}

/// Returns the client's preface and its first SETTINGS frame.
fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat()
}

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/a?b=c")];
const OK: &[(&str, &str)] = &[(":status", "200"), ("content-type", "text/plain")];

/// The parser of a traced server's connection, with an encoder for each direction. `time` counts calls of
/// [`Self::bytes`] and [`Self::close`].
struct Fixture {
    parser: Parser,
    reports: Reports,
    encoders: [Encoder; 2],
    time: u64,
}

const CLIENT: Way = Way::Received;
const SERVER: Way = Way::Sent;

impl Fixture {
    /// Creates a connection on which the client's preface and both first SETTINGS frames have passed.
    fn new() -> Self {
        let mut fixture = Self::with(Parser::new(false));
        fixture.bytes(CLIENT, &preface());
        fixture.bytes(SERVER, &frame(4, 0, 0, b""));
        fixture
    }

    fn joined() -> Self {
        Self::with(Parser::new(true))
    }

    fn with(parser: Parser) -> Self {
        let encoders = [Encoder::new(1), Encoder::new(2)];
        Self { parser, reports: Reports::default(), encoders, time: 0 }
    }

    /// Passes bytes in a piece that is marked as the start of a frame.
    fn bytes(&mut self, way: Way, bytes: &[u8]) {
        self.time += 1;
        self.parser.bytes(way, self.time, bytes, true, &mut self.reports);
    }

    fn block(&mut self, way: Way, fields: &[(&str, &str)]) -> Vec<u8> {
        self.encoders[way.index()].block(fields)
    }

    /// Passes a HEADERS frame with a whole header block. Returns the size of the frame in bytes.
    fn headers(&mut self, way: Way, stream: u32, end: bool, fields: &[(&str, &str)]) -> u64 {
        let block = self.block(way, fields);
        self.bytes(way, &frame(1, 4 | u8::from(end), stream, &block));
        block.len() as u64 + 9
    }

    /// Passes a DATA frame with ten bytes of payload.
    fn data(&mut self, way: Way, stream: u32, end: bool) {
        self.bytes(way, &frame(0, u8::from(end), stream, &[b'x'; 10]));
    }

    fn reset(&mut self, way: Way, stream: u32) {
        self.bytes(way, &frame(3, 0, stream, &[0, 0, 0, 0]));
    }

    fn hole(&mut self, way: Way, lost: bool) {
        self.parser.hole(way, 100, lost, &mut self.reports);
    }

    fn close(&mut self) {
        self.time += 1;
        self.parser.close(self.time, false, &mut self.reports);
    }

    /// Returns the statuses of the exchanges that were reported so far.
    fn statuses(&self) -> Vec<Status> {
        self.reports.exchanges.iter().map(|exchange| exchange.status).collect()
    }
}
