//! HTTP/1.0 and HTTP/1.1.
//!
//! The crate httparse parses heads; this module frames the messages (RFC 9112, section 6) and pairs requests with
//! responses. Of the header fields, only `Host`, `Content-Length`, `Transfer-Encoding` and `Upgrade` are evaluated, and
//! only the host is kept.
//!
//! # Pairing
//!
//! Responses are paired with requests by their order, never by their time. Every request whose head was read is
//! reported exactly once: as an exchange, or as unobserved. A request *waits* from its head until its response has
//! ended. A response for which no request waits is ignored.
//!
//! After a loss, the parser relies on the order only as far as it is certain:
//!
//! * A hole in the direction of the responses, between messages or within one, certainly affects the response of the
//!   oldest waiting request, and possibly others. All waiting requests become unobserved. If more than one was waiting,
//!   the responses of the others may still come: that number of responses is *stale*, and new requests are *in doubt*.
//! * A hole in the direction of the requests may hide an unknown number of requests. The waiting requests keep their
//!   responses, which come first, but a request with bytes of its own in the hole becomes unobserved. New requests are
//!   in doubt.
//! * While the position in the direction of the responses is lost, any bytes there may be responses: they count as
//!   another hole.
//!
//! A request in doubt becomes unobserved. Doubt ends with a request that begins while no request waits, in two cases:
//! all stale responses have passed; or the client waits for each response before it sends the next request, so that a
//! new request means that all earlier ones were answered. A client counts as one that waits if it was seen to do so
//! (once without doubt, or for sixteen requests in a row) and never seen to do otherwise. A connection that is older
//! than the trace begins without doubt, unless its server had received something and sent nothing
//! ([`Start::Unanswered`]): the first response is stale then, and every response that no request waits for counts as an
//! unobserved request.
//!
//! Therefore a pairing can only be wrong for a client that pipelines and was never seen to do so. Either the client
//! starts to pipeline at the very moment of a loss; or its first requests were lost or not traced, and it keeps a
//! constant number of requests waiting from then on, which looks like waiting for each response.
//!
//! A lost position is found again at a piece that starts a message ([`crate::Piece::starts`]) with a valid head.

mod chunked;
mod fields;
mod head;
mod pairing;
mod reader;
mod requests;
mod responses;
mod target;
mod trust;

use pairing::Pairing;
pub(crate) use reader::is_token;
use reader::{Head, Reader};

use crate::parser::Parser as Feed;
use crate::{Exchange, Reason, Side, Sink, Way};

/// Maximum length of a head in bytes. The exchange of a longer head is unobserved.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// The error for bytes that the protocol does not allow at their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed;

/// The traffic that passed on a connection before its first piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// None: the first piece begins a message.
    #[default]
    Whole,
    /// Unknown: the socket is older than the trace, and the first piece may come from the middle of a message.
    Joined,
    /// The traced socket had received bytes that are in no piece, and had sent nothing. If it is the server's, a
    /// response is still to come that belongs to none of the requests in the pieces; its request counts as unobserved.
    Unanswered,
    /// Unknown, because bytes were lost between kernel and user space.
    Lost,
}

/// A parser of one HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Parser {
    request_way: Way,
    request: Reader,
    response: Reader,
    pairing: Pairing,
    /// True if a valid head was seen.
    spoken: bool,
    /// True if the first bytes were not HTTP/1.
    refused: bool,
    /// The request that upgraded the connection to HTTP/2, until [`Parser::take_upgrade`].
    upgrade: Option<Exchange>,
}

impl Parser {
    /// Creates the parser of a connection whose requests pass in the direction `request_way`.
    pub(crate) fn new(request_way: Way, start: Start) -> Self {
        let place = || match start {
            Start::Whole => Reader::Head(Head::default()),
            Start::Joined | Start::Unanswered | Start::Lost => Reader::Lost,
        };
        Self {
            request_way,
            request: place(),
            response: place(),
            pairing: Pairing::new(side_of(request_way), start),
            spoken: false,
            refused: false,
            upgrade: None,
        }
    }

    /// Returns whether the traced socket is the server's or the client's, once a valid head was seen.
    pub(crate) fn side(&self) -> Option<Side> {
        self.spoken.then(|| self.pairing.side())
    }

    /// Returns whether a valid head was seen.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Returns whether the first message was not HTTP/1. Such a parser has reported nothing, and the caller drops it.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Returns whether the connection has left HTTP, by CONNECT or an upgrade.
    pub(crate) fn has_left(&self) -> bool {
        matches!((&self.request, &self.response), (Reader::Off, Reader::Off)) && self.upgrade.is_none()
    }

    /// Returns, only once, the request that upgraded the connection to HTTP/2.
    pub(crate) fn take_upgrade(&mut self) -> Option<Exchange> {
        self.upgrade.take()
    }

    /// Parses bytes as [`Feed::bytes`] does. Returns the number of bytes used: all of them, unless a response upgrades
    /// the connection to HTTP/2; the bytes after its head are HTTP/2 then.
    pub(crate) fn feed(
        &mut self,
        way: Way,
        time: u64,
        bytes: &[u8],
        starts: bool,
        sink: &mut dyn Sink,
    ) -> usize {
        if way == self.request_way {
            self.feed_request(time, bytes, starts, sink);
            bytes.len()
        } else {
            self.feed_response(time, bytes, starts, sink)
        }
    }
}

/// Returns whether the traced socket is the server's or the client's, if requests pass in the direction `request_way`.
pub(crate) fn side_of(request_way: Way) -> Side {
    match request_way {
        Way::Received => Side::Server,
        Way::Sent => Side::Client,
    }
}

impl Feed for Parser {
    fn skippable(&self, way: Way) -> u64 {
        if way == self.request_way { self.request.skippable() } else { self.response.skippable() }
    }

    fn bytes(&mut self, way: Way, time: u64, bytes: &[u8], starts: bool, sink: &mut dyn Sink) {
        self.feed(way, time, bytes, starts, sink);
    }

    fn skipped(&mut self, way: Way, time: u64, length: u64, sink: &mut dyn Sink) {
        if way == self.request_way {
            if let Reader::Body(body) = &mut self.request {
                self.pairing.request_bytes(length);
                if body.skip(length) {
                    self.request_end(time, sink);
                }
            }
            return;
        }
        match &mut self.response {
            Reader::Body(body) => {
                let (ended, unsure) = (body.skip(length), body.unsure);
                self.pairing.response_bytes(length);
                if ended {
                    self.response_end(time, sink);
                }
                if unsure {
                    self.pass_lost_response(sink);
                }
            }
            Reader::Lost => self.pass_lost_response(sink),
            Reader::Head(_) | Reader::Cut | Reader::Off => {}
        }
    }

    fn hole(&mut self, way: Way, _length: u64, lost: bool, sink: &mut dyn Sink) {
        let reason = if lost { Reason::LostResponse } else { Reason::MissingBytes };
        if way == self.request_way {
            if !matches!(self.request, Reader::Off | Reader::Lost) {
                self.lose_request(reason, sink);
            }
        } else if !matches!(self.response, Reader::Off | Reader::Lost) {
            self.lose_response(reason, sink);
        }
    }

    fn end(&mut self, way: Way, time: u64, sink: &mut dyn Sink) {
        if way == self.request_way {
            self.pairing.request_end(time, sink);
            self.request = Reader::Off;
            return;
        }
        if matches!(self.response, Reader::Lost) {
            self.pass_lost_response(sink);
        }
        self.pairing.responses_end(time, sink);
        self.response = Reader::Off;
    }

    fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink) {
        let reason = match &self.response {
            _ if lost => Some(Reason::LostResponse),
            Reader::Lost => Some(Reason::MissingBytes),
            _ => None,
        };
        self.pairing.close(time, reason, sink);
        self.leave();
    }

    fn under_way(&self) -> usize {
        self.pairing.under_way()
    }

    fn pauses(&self) -> bool {
        self.request.pauses() && self.response.pauses() && self.pairing.pauses()
    }

    fn memory(&self) -> usize {
        self.request.memory() + self.response.memory() + self.pairing.memory()
    }
}
