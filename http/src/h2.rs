//! HTTP/2.

use crate::parser::Parser as Feed;
use crate::{Exchange, Side, Sink, Way};

/// A parser of one HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Parser {
    side: Option<Side>,
}

impl Parser {
    /// A connection from its preface on, or from a frame in its middle (`joined`).
    pub(crate) fn new(_joined: bool) -> Self {
        Self { side: None }
    }

    /// A connection that HTTP/1.1 upgraded. The request, whose bytes have passed, becomes stream 1; its response comes
    /// there.
    pub(crate) fn upgraded(request: Exchange) -> Self {
        Self { side: Some(request.side) }
    }

    /// The end that the traced socket is, as soon as it is known.
    pub(crate) fn side(&self) -> Option<Side> {
        self.side
    }
}

impl Feed for Parser {
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
