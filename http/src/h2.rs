//! HTTP/2.

use crate::{Side, Sink, Way, parser};

#[expect(dead_code, reason = "the parser skips everything")]
/// A request of HTTP/1.1 that the server answered by switching to HTTP/2 (RFC 7540, section 3.2).
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The end that the traced socket is.
    pub(crate) side: Side,
    /// The request's method.
    pub(crate) method: String,
    /// The request's host, as [`crate::Exchange`] has it.
    pub(crate) host: String,
    /// The request's path, as [`crate::Exchange`] has it.
    pub(crate) path: String,
    /// Time of the request's first byte.
    pub(crate) began: u64,
    /// Bytes of the request, head and body.
    pub(crate) request_bytes: u64,
    /// Bytes of the 101 response.
    pub(crate) response_bytes: u64,
}

/// The parser of one connection.
#[derive(Debug)]
pub(crate) struct Parser;

impl Parser {
    /// A parser of a connection from its preface on, or from a frame in its middle (`joined`).
    pub(crate) fn new(_joined: bool) -> Self {
        Self
    }

    /// A parser of what follows a request that was upgraded. The request is stream 1, which gets the response.
    pub(crate) fn upgraded(_upgrade: Upgrade) -> Self {
        Self
    }
}

impl parser::Parser for Parser {
    fn skippable(&self, _way: Way) -> u64 {
        u64::MAX
    }
    fn bytes(&mut self, _way: Way, _time: u64, _bytes: &[u8], _starts: bool, _sink: &mut dyn Sink) {}
    fn skipped(&mut self, _way: Way, _time: u64, _length: u64, _sink: &mut dyn Sink) {}
    fn hole(&mut self, _way: Way, _length: u64, _lost: bool, _sink: &mut dyn Sink) {}
    fn end(&mut self, _way: Way, _time: u64, _sink: &mut dyn Sink) {}
    fn close(&mut self, _time: u64, _lost: bool, _sink: &mut dyn Sink) {}
    fn memory(&self) -> usize {
        0
    }
}
