//! Tests of whole connections: pieces go in, exchanges come out.

mod forms;
mod generated;
mod hostile;
mod kernel;
mod loss;
mod peer;

use super::{Beginning, Connection, Language};
use crate::{Exchange, Piece, Protocol, Reason, Side, Sink, Start, Status, Way};

/// The direction of requests if the traced socket is the server's.
const REQUESTS: Way = Way::Received;
/// The direction of responses if the traced socket is the server's.
const RESPONSES: Way = Way::Sent;

/// A sink that keeps all reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    exchanges: Vec<Exchange>,
    unobserved: Vec<(Reason, u64)>,
}

impl Record {
    fn unobserved_count(&self) -> u64 {
        self.unobserved.iter().map(|(_, count)| count).sum()
    }

    /// Formats each exchange as a line: method, host, path, status, number of bytes of request and response.
    fn lines(&self) -> Vec<String> {
        self.exchanges.iter().map(line).collect()
    }
}

fn line(exchange: &Exchange) -> String {
    let Exchange { method, host, path, request_bytes, response_bytes, .. } = exchange;
    let status = match exchange.status {
        Status::Code(code) => code.to_string(),
        status => format!("{status:?}"),
    };
    format!("{method} {host} {path} {status} {request_bytes} {response_bytes}")
}

impl Sink for Record {
    fn exchange(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    fn unobserved(&mut self, _side: Side, reason: Reason, count: u64) {
        self.unobserved.push((reason, count));
    }
}

/// A connection under test, with the next sequence number of each direction. `time` counts pieces and FINs.
#[derive(Debug)]
struct Talk {
    connection: Connection,
    record: Record,
    sequence: [u32; 2],
    time: u64,
}

impl Talk {
    fn new() -> Self {
        Self::with(Start::Whole)
    }

    fn with(start: Start) -> Self {
        let sequence = [u32::MAX - 10, 7];
        let first = match start {
            Start::Whole => sequence.map(Some),
            Start::Joined | Start::Lost => [None; 2],
            Start::Unanswered => [None, Some(sequence[RESPONSES.index()])],
        };
        let connection = Connection::begin(Beginning { start, first });
        Self { connection, record: Record::default(), sequence, time: 0 }
    }

    /// Passes bytes in one piece that is marked as the start of a message.
    fn pass(&mut self, way: Way, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.piece(way, bytes, bytes.len(), true, false);
    }

    fn request(&mut self, text: &str) {
        self.pass(REQUESTS, text);
    }

    fn response(&mut self, text: &str) {
        self.pass(RESPONSES, text);
    }

    /// Passes a piece of `length` bytes, of which the kernel copied only the first ones, `bytes`.
    fn piece(&mut self, way: Way, bytes: &[u8], length: usize, starts: bool, lost_before: bool) {
        self.time += 1;
        let sequence = self.sequence[way.index()];
        let length = u32::try_from(length).expect("a piece is short");
        let piece = Piece { way, time: self.time, sequence, length, bytes, starts, lost_before };
        self.connection.piece(&piece, &mut self.record);
        self.sequence[way.index()] = sequence.wrapping_add(length);
    }

    /// Skips sequence numbers, as if bytes had passed without a piece.
    fn miss(&mut self, way: Way, length: usize) {
        let length = u32::try_from(length).expect("a gap is short");
        self.sequence[way.index()] = self.sequence[way.index()].wrapping_add(length);
    }

    /// Passes a piece with [`Piece::lost_before`]: others before it were lost.
    fn after_loss(&mut self, way: Way, text: &str) {
        self.piece(way, text.as_bytes(), text.len(), true, true);
    }

    fn fin(&mut self, way: Way) {
        self.time += 1;
        self.connection.fin(way, self.sequence[way.index()], self.time, &mut self.record);
    }

    fn close(mut self, lost: bool) -> Record {
        self.time += 1;
        self.connection.close(self.time, lost, &mut self.record);
        self.record
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
