//! HTTP/2 (RFC 9113), as an observer of both directions reads it.
//!
//! The direction that begins with the preface is the client's. On a *joined* connection, which is older than the trace,
//! header blocks show the client's direction: request pseudo-headers and priorities come from the client, `:status` and
//! PUSH_PROMISE from the server. Until one of these has come, no request counts as seen; frames are parsed
//! nevertheless, to keep the header tables (HPACK) up to date.
//!
//! The position in a direction can be lost, and is so at first on a joined connection. It is found again at a piece
//! that begins with a plausible frame header. The earlier contents of the direction's header table are unknown from
//! then on (see [`hpack`]), and fields of an exchange that need them are empty or
//! [`Status::Unknown`](crate::Status::Unknown).
//!
//! The contents of SETTINGS frames are not needed. Changes of the sizes of header tables are signalled in the header
//! blocks, and a frame can have any size: only header blocks are kept, and [`block`] limits their size.

mod block;
mod fields;
mod frame;
mod half;
mod hpack;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use block::Block;
use fields::Fields;
use frame::{END_STREAM, Kind, PRIORITY};
use half::{Event, Half};
use stream::{Out, Request};
use streams::Streams;

use crate::{Reason, Side, Sink, Way, parser};

/// A request of HTTP/1.1 that the server answered by switching to HTTP/2 (RFC 7540, section 3.2).
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The role of the traced socket.
    pub(crate) side: Side,
    /// Method of the request.
    pub(crate) method: String,
    /// Host of the request, as in [`crate::Exchange`].
    pub(crate) host: String,
    /// Path of the request, as in [`crate::Exchange`].
    pub(crate) path: String,
    /// Time of the first byte of the request.
    pub(crate) began: u64,
    /// Number of bytes of the request, head and body.
    pub(crate) request_bytes: u64,
    /// Number of bytes of the 101 response and of interim responses before it. They count as bytes of the response.
    pub(crate) response_bytes: u64,
}

/// The parser of one HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Parser {
    halves: [Half; 2],
    /// The direction of the client's bytes, once it is known.
    client: Option<Way>,
    streams: Streams,
    /// Time of the last bytes that were parsed or skipped, in nanoseconds.
    time: u64,
}

impl Parser {
    /// Creates the parser of a connection that spoke HTTP/2 from its first byte on. `joined` is true if bytes passed
    /// before the first piece.
    pub(crate) fn new(joined: bool) -> Self {
        let half = if joined { Half::joined } else { Half::new };
        Self { halves: [half(), half()], client: None, streams: Streams::default(), time: 0 }
    }

    /// Creates the parser of a connection that a request of HTTP/1.1 upgraded. The next bytes of the client are the
    /// preface, and those of the server are the frames after the head of the 101 response. The response to the request
    /// comes on stream 1.
    pub(crate) fn upgraded(upgrade: Upgrade) -> Self {
        let Upgrade { side, method, host, path, began, request_bytes: bytes, response_bytes } = upgrade;
        let mut parser = Self::new(false);
        parser.client = Some(match side {
            Side::Server => Way::Received,
            Side::Client => Way::Sent,
        });
        let (method, host, path) = (method.into(), host.into(), path.into());
        let request = Request { method, host, path, grpc: false, bytes, began };
        parser.streams = Streams::upgraded(request, response_bytes);
        parser
    }

    fn half(&self, way: Way) -> &Half {
        &self.halves[way.index()]
    }

    fn half_mut(&mut self, way: Way) -> &mut Half {
        &mut self.halves[way.index()]
    }

    /// Returns the receiver of reports, once the client's direction is known.
    fn out<'a>(&self, sink: &'a mut dyn Sink) -> Option<Out<'a>> {
        let side = match self.client? {
            Way::Received => Side::Server,
            Way::Sent => Side::Client,
        };
        Some(Out { side, sink })
    }

    /// Handles an event in a direction.
    fn event(&mut self, way: Way, event: Event, sink: &mut dyn Sink) {
        let time = self.time;
        let event = match event {
            Event::Block(block) => return self.block(way, &block, sink),
            Event::Lost(reason) => return self.lose(way, reason, sink),
            event => event,
        };
        let Some(out) = &mut self.out(sink) else { return };
        let from_client = self.client == Some(way);
        match event {
            Event::Data { stream, bytes, end } if from_client => {
                self.streams.request_part(stream, bytes, end, time, out);
            }
            Event::Data { stream, bytes, end } => self.streams.response_part(stream, bytes, end, time, out),
            Event::Reset(stream) if from_client => self.streams.cancel(stream, time, out),
            Event::Reset(stream) => self.streams.refuse(stream, time, out),
            Event::GoAway(last) if !from_client => self.streams.go_away(last, time, out),
            // A client's GOAWAY concerns pushed streams only, which the client resets too.
            Event::GoAway(_) | Event::Block(_) | Event::Lost(_) => {}
        }
    }

    /// Handles a complete header block.
    fn block(&mut self, way: Way, block: &Block, sink: &mut dyn Sink) {
        let fields = self.fields(way, block);
        let push = block.frame.kind == Kind::PushPromise;
        if self.client.is_none() {
            let fields = fields.as_ref();
            if push || fields.is_some_and(|fields| fields.status.is_some()) {
                self.client = Some(way.other());
            } else if block.frame.has(PRIORITY) || fields.is_some_and(Fields::is_request) {
                self.client = Some(way);
            }
        }
        let Some(out) = &mut self.out(sink) else { return };
        let (id, time, end) = (block.frame.stream, self.time, block.frame.has(END_STREAM));
        if self.client != Some(way) {
            match block.promised {
                Some(promised) => self.request(promised, block, fields, true, out),
                None if push => out.unobserved(Reason::HeadTooLarge),
                None => self.streams.response_block(id, block, fields, time, out),
            }
        } else if push {
            // A client must not send PUSH_PROMISE.
        } else if !self.streams.is_new(id) {
            self.streams.request_part(id, block.wire, end, time, out);
        } else if fields.as_ref().is_none_or(|fields| fields.is_request() || (fields.may_be_head() && !end)) {
            // A block that fails this condition is, or may be, the trailers of a request whose head passed unseen. It
            // opens no stream.
            self.streams.opened(id);
            self.request(id, block, fields, end, out);
        }
    }

    /// Handles a request's head; `fields` is `None` if the block is too large. If the position in the server's
    /// direction is lost, the response may pass unseen: it is in doubt (see [`streams`]).
    fn request(&mut self, id: u32, block: &Block, fields: Option<Fields>, ended: bool, out: &mut Out<'_>) {
        let doubt = self.client.and_then(|client| self.half(client.other()).lost());
        match fields {
            Some(fields) => {
                self.streams.request(id, Request::new(block, fields), ended, self.time, doubt, out);
            }
            None => out.unobserved(Reason::HeadTooLarge),
        }
    }

    /// Decodes a header block. If the block is too large, returns `None`, and the contents of the header table become
    /// unknown.
    fn fields(&mut self, way: Way, block: &Block) -> Option<Fields> {
        let table = &mut self.half_mut(way).table;
        let Some(content) = block.content() else {
            *table = hpack::Table::unknown();
            return None;
        };
        let mut fields = Fields::default();
        let decoded = table.decode(content, &mut |name, value| fields.add(name, value));
        Some(decoded.map_or_else(|_| Fields::unknown(), |()| fields))
    }

    /// Records that bytes passed in a direction at `self.time`. If they are the server's, all earlier bytes of the
    /// server have been parsed or skipped, so that streams which the client reset before can be reported.
    fn confirm(&mut self, way: Way, sink: &mut dyn Sink) {
        let Some(out) = &mut self.out(sink) else { return };
        if self.client != Some(way) {
            self.streams.confirm(self.time, out);
        }
    }

    /// Gives up the position in a direction, and counts what may have been lost with it.
    fn lose(&mut self, way: Way, reason: Reason, sink: &mut dyn Sink) {
        let cut = self.half_mut(way).lose(reason);
        let Some(out) = &mut self.out(sink) else { return };
        if self.client == Some(way) {
            if let Some(block) = cut
                && self.streams.is_new(block.frame.stream)
            {
                self.streams.opened(block.frame.stream);
                out.unobserved(reason);
            }
            self.streams.end_requests(self.time, out);
        } else {
            if cut.is_some_and(|block| block.frame.kind == Kind::PushPromise) {
                out.unobserved(reason);
            }
            self.streams.doubt_responses(reason);
        }
    }
}

impl parser::Parser for Parser {
    fn skippable(&self, way: Way) -> u64 {
        self.half(way).skippable()
    }

    fn bytes(&mut self, way: Way, time: u64, mut bytes: &[u8], starts: bool, sink: &mut dyn Sink) {
        self.time = time;
        if self.half(way).is_new()
            && let Some(first) = bytes.first()
        {
            let client = *self.client.get_or_insert(if *first == b'P' { way } else { way.other() });
            self.half_mut(way).begin(client == way);
        }
        if starts {
            self.half_mut(way).resume();
        }
        self.confirm(way, sink);
        while let Some(event) = self.half_mut(way).advance(time, &mut bytes) {
            self.event(way, event, sink);
        }
    }

    fn skipped(&mut self, way: Way, time: u64, length: u64, sink: &mut dyn Sink) {
        if length > self.skippable(way) {
            return self.hole(way, length, false, sink);
        }
        self.time = time;
        self.confirm(way, sink);
        if let Some(event) = self.half_mut(way).skip(length) {
            self.event(way, event, sink);
        }
    }

    fn hole(&mut self, way: Way, length: u64, lost: bool, sink: &mut dyn Sink) {
        if length <= self.skippable(way) {
            return self.skipped(way, self.time, length, sink);
        }
        self.lose(way, if lost { Reason::LostResponse } else { Reason::MissingBytes }, sink);
    }

    fn end(&mut self, way: Way, time: u64, sink: &mut dyn Sink) {
        self.time = time;
        let Some(out) = &mut self.out(sink) else { return };
        if self.client == Some(way) {
            self.streams.end_requests(time, out);
        } else {
            self.streams.close(time, false, out);
        }
    }

    fn close(&mut self, time: u64, lost: bool, sink: &mut dyn Sink) {
        if let Some(out) = &mut self.out(sink) {
            self.streams.close(time, lost, out);
        }
    }

    fn under_way(&self) -> usize {
        self.streams.under_way()
    }

    fn pauses(&self) -> bool {
        self.halves.iter().all(Half::pauses)
    }

    fn memory(&self) -> usize {
        self.halves.iter().map(Half::memory).sum::<usize>() + self.streams.memory()
    }
}
