//! HTTP/1.0 and HTTP/1.1.
//!
//! Heads are read by httparse; this module frames the messages (RFC 9112, section 6) and pairs requests with responses.
//! Of the header fields only `Host`, `Content-Length`, `Transfer-Encoding` and `Upgrade` are read, and none is kept.
//!
//! # Pairing
//!
//! Responses belong to requests by their order alone, never by their time. Every request whose head was read is reported
//! exactly once: as an exchange, or as unobserved. A response for which no request waits is ignored.
//!
//! After a loss the order holds only as far as it is certain:
//!
//! * A hole on the way of the responses, between messages or within one, certainly hits the response of the oldest waiting
//!   request, and possibly those of others. All waiting requests are unobserved. If others than the oldest waited, their
//!   responses may still come: so many responses are *stale*, and new requests are in doubt.
//! * A hole on the way of the requests may hide requests, whose number is unknown. The requests that wait keep their
//!   responses, which come first; but a request whose own bytes are in the hole is unobserved. New requests are in doubt.
//! * While the place on the way of the responses is lost, bytes that pass may be responses: they count as a further hole.
//!
//! A request in doubt is unobserved. Doubt ends with a request that begins while no response is passing and no request
//! waits, if either all stale responses have passed, or the client is one that waits for each response before it sends the
//! next request: then a new request tells that all earlier ones were answered. A client is taken for such a one if it was
//! seen to wait (without doubt once, or in sixteen turns in a row) and never to do otherwise. A connection that was joined
//! in its middle begins without doubt.
//!
//! A pairing can hence be wrong only for a client that pipelines and that was never seen to do so: because it begins to in
//! the very moment of a loss, or because its first requests were lost or not traced and it keeps a constant number of
//! requests waiting from then on, which looks like turns.
//!
//! The place is found again at a piece that starts a message and has a valid head.

mod chunked;
mod fields;
mod head;
mod pairing;
mod reader;
mod target;

use fields::Framing;
use head::{RequestHead, ResponseHead};
use pairing::Pairing;
pub(crate) use reader::is_token;
use reader::{Body, Head, Kind, Reader, Step, plausible};

use crate::parser::Parser as Feed;
use crate::{Exchange, Reason, Side, Sink, Way};

/// Maximum length of a head, or of what is kept of one.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// Bytes that are not what the protocol has at their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed;

/// Where the bytes of a connection begin that a parser is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At its first byte.
    Whole,
    /// In its middle: the socket is older than the trace.
    Joined,
    /// In its middle: the first bytes were lost.
    Lost,
}

/// A parser of one HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Parser {
    request_way: Way,
    request: Reader,
    response: Reader,
    pairing: Pairing,
    /// A valid head was seen.
    spoken: bool,
    /// The first bytes were no HTTP.
    refused: bool,
    /// HTTP/2 goes on with this request.
    upgrade: Option<Exchange>,
}

impl Parser {
    /// A connection whose requests pass on `request_way`.
    pub(crate) fn new(request_way: Way, start: Start) -> Self {
        let place = || match start {
            Start::Whole => Reader::Head(Head::default()),
            Start::Joined | Start::Lost => Reader::Lost,
        };
        Self {
            request_way,
            request: place(),
            response: place(),
            pairing: Pairing::new(side_of(request_way), start == Start::Lost),
            spoken: false,
            refused: false,
            upgrade: None,
        }
    }

    /// The end that the traced socket is, once a valid head was seen.
    pub(crate) fn side(&self) -> Option<Side> {
        self.spoken.then(|| self.pairing.side())
    }

    /// Tells whether a valid head was seen.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Tells whether the first message was none of HTTP/1. The parser is of no use then, and has reported nothing.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Tells whether the connection has left HTTP, by CONNECT or an upgrade.
    pub(crate) fn has_left(&self) -> bool {
        matches!((&self.request, &self.response), (Reader::Off, Reader::Off)) && self.upgrade.is_none()
    }

    /// Takes the request with which the connection goes on in HTTP/2.
    pub(crate) fn take_upgrade(&mut self) -> Option<Exchange> {
        self.upgrade.take()
    }

    /// Takes bytes as [`Feed::bytes`] does. Returns how many are used: all, unless the connection goes on in HTTP/2.
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

    fn feed_request(&mut self, time: u64, mut bytes: &[u8], mut starts: bool, sink: &mut dyn Sink) {
        while !bytes.is_empty() {
            match &mut self.request {
                Reader::Off => return,
                Reader::Lost if starts => self.request = Reader::Head(Head::unsure()),
                Reader::Lost => return,
                Reader::Head(head) => {
                    let check = head.unsure || !self.spoken;
                    let (used, step) = head.take(Kind::Request, time, bytes, check);
                    let (began, unsure) = (head.began, head.unsure);
                    bytes = &bytes[used..];
                    match step {
                        Step::More => {}
                        Step::Invalid => self.request_invalid(unsure, sink),
                        Step::TooLarge(kept) => self.request_too_large(&kept, began, sink),
                        Step::Complete(head) => match head::request(&head) {
                            Ok(parsed) => self.request_head(parsed, head.len() as u64, began, time, sink),
                            Err(Malformed) => self.request_invalid(unsure, sink),
                        },
                    }
                }
                Reader::Body(body) => {
                    if body.untouched && self.pairing.answered_early() && begins_with_request(bytes) {
                        // The client takes the early response for a reason not to send the body.
                        self.pairing.request_end(time, sink);
                        self.request = Reader::Head(Head::default());
                        continue;
                    }
                    match body.take(bytes) {
                        Ok((used, ended)) => {
                            self.pairing.request_bytes(used as u64);
                            if ended {
                                self.request_end(time, sink);
                            }
                            bytes = &bytes[used..];
                        }
                        Err(Malformed) => {
                            self.lose_request(Reason::Malformed, sink);
                            return;
                        }
                    }
                }
            }
            starts = starts && matches!(&self.request, Reader::Head(head) if head.is_empty() && head.unsure);
        }
    }

    fn request_head(&mut self, head: RequestHead, length: u64, began: u64, time: u64, sink: &mut dyn Sink) {
        self.spoken = true;
        let Ok(framing) = head.framing else {
            self.pairing.unobserved_request(head.method == "HEAD", Reason::Malformed, began, sink);
            self.lose_request(Reason::Malformed, sink);
            return;
        };
        self.pairing.request(head, length, began, time, sink);
        match Body::new(framing, false) {
            Some(body) => self.request = Reader::Body(body),
            None => self.request_end(time, sink),
        }
    }

    fn request_end(&mut self, time: u64, sink: &mut dyn Sink) {
        self.pairing.request_end(time, sink);
        self.request = Reader::Head(Head::default());
    }

    fn request_invalid(&mut self, unsure: bool, sink: &mut dyn Sink) {
        if !self.spoken {
            self.refused = true;
        } else if unsure {
            self.request = Reader::Lost;
        } else {
            self.lose_request(Reason::Malformed, sink);
        }
    }

    fn request_too_large(&mut self, kept: &[u8], began: u64, sink: &mut dyn Sink) {
        self.spoken = true;
        self.pairing.unobserved_request(kept.starts_with(b"HEAD "), Reason::HeadTooLarge, began, sink);
        self.lose_request(Reason::HeadTooLarge, sink);
    }

    fn lose_request(&mut self, reason: Reason, sink: &mut dyn Sink) {
        self.request = Reader::Lost;
        self.pairing.request_hole(reason, sink);
    }

    fn feed_response(&mut self, time: u64, bytes: &[u8], mut starts: bool, sink: &mut dyn Sink) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.upgrade.is_none() {
            let rest = &bytes[at..];
            match &mut self.response {
                Reader::Off => break,
                Reader::Lost if starts => self.response = Reader::Head(Head::unsure()),
                Reader::Lost => {
                    self.pass_lost_response(sink);
                    break;
                }
                Reader::Head(head) => {
                    let check = head.unsure || !self.spoken;
                    let (used, step) = head.take(Kind::Response, time, rest, check);
                    let (began, unsure) = (head.began, head.unsure);
                    at += used;
                    match step {
                        Step::More => {}
                        Step::Invalid => self.response_invalid(unsure, sink),
                        Step::TooLarge(_) => self.lose_response(Reason::HeadTooLarge, sink),
                        Step::Complete(head) => match head::response(&head) {
                            Ok(parsed) => self.response_head(&parsed, head.len() as u64, began, time, sink),
                            Err(Malformed) => self.response_invalid(unsure, sink),
                        },
                    }
                }
                Reader::Body(body) if body.unsure && starts && plausible(Kind::Response, rest) => {
                    self.pairing.response_end(time, sink);
                    self.response = Reader::Head(Head::default());
                }
                Reader::Body(body) => match body.take(rest) {
                    Ok((used, ended)) => {
                        self.pairing.response_bytes(used as u64);
                        if ended {
                            self.response_end(time, sink);
                        }
                        at += used;
                    }
                    Err(Malformed) => {
                        self.lose_response(Reason::Malformed, sink);
                        break;
                    }
                },
            }
            starts = starts && at == 0;
        }
        if self.upgrade.is_some() { at } else { bytes.len() }
    }

    fn response_head(
        &mut self,
        head: &ResponseHead,
        length: u64,
        began: u64,
        time: u64,
        sink: &mut dyn Sink,
    ) {
        self.spoken = true;
        self.response = Reader::Head(Head::default());
        if head.code < 200 && head.code != 101 {
            self.pairing.interim(length);
            return;
        }
        let asked = self.pairing.response(head.code, length, began);
        let success = (200..300).contains(&head.code);
        match asked {
            Some(asked) if head.code == 101 && asked.h2c && head.fields.h2c => {
                self.leave();
                self.upgrade = self.pairing.switching(sink);
                return;
            }
            Some(asked) if head.code == 101 || asked.connect && success => {
                self.leave();
                self.pairing.switched(time, sink);
                return;
            }
            None if head.code == 101 => {
                self.leave();
                self.pairing.close(time, Some(Reason::MissingBytes), sink);
                return;
            }
            _ => {}
        }
        let empty = asked.is_some_and(|asked| asked.head) || matches!(head.code, 204 | 304);
        let framing = if empty { Ok(Framing::Length(0)) } else { head.fields.of_response() };
        match framing.map(|framing| Body::new(framing, asked.is_none())) {
            Ok(Some(body)) => self.response = Reader::Body(body),
            Ok(None) => self.response_end(time, sink),
            Err(Malformed) => self.lose_response(Reason::Malformed, sink),
        }
    }

    fn leave(&mut self) {
        self.request = Reader::Off;
        self.response = Reader::Off;
    }

    fn response_end(&mut self, time: u64, sink: &mut dyn Sink) {
        self.pairing.response_end(time, sink);
        self.response = Reader::Head(Head::default());
    }

    fn response_invalid(&mut self, unsure: bool, sink: &mut dyn Sink) {
        if !self.spoken {
            self.refused = true;
        } else if unsure {
            self.response = Reader::Lost;
            self.pass_lost_response(sink);
        } else {
            self.lose_response(Reason::Malformed, sink);
        }
    }

    fn lose_response(&mut self, reason: Reason, sink: &mut dyn Sink) {
        self.response = Reader::Lost;
        self.pairing.response_hole(reason, false, sink);
    }

    /// Takes bytes that passed while the place was lost: they may have been responses.
    fn pass_lost_response(&mut self, sink: &mut dyn Sink) {
        if self.pairing.is_waiting() {
            self.pairing.response_hole(Reason::MissingBytes, true, sink);
        }
    }
}

/// The end that the traced socket is if requests pass on `request_way`.
pub(crate) fn side_of(request_way: Way) -> Side {
    match request_way {
        Way::Received => Side::Server,
        Way::Sent => Side::Client,
    }
}

/// Tells whether bytes begin with a whole request line.
fn begins_with_request(bytes: &[u8]) -> bool {
    plausible(Kind::Request, bytes)
        && bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .is_some_and(|end| head::is_request_line(&bytes[..=end]))
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
                self.pairing.response_bytes(length);
                if body.skip(length) {
                    self.response_end(time, sink);
                }
            }
            Reader::Lost => self.pass_lost_response(sink),
            Reader::Head(_) | Reader::Off => {}
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

    fn memory(&self) -> usize {
        self.request.memory() + self.response.memory() + self.pairing.memory()
    }
}
