//! The open streams of a connection, and the decision when each of them is reported.
//!
//! Every request that was seen is reported once: as an exchange, or as unobserved. An exchange is complete when its
//! response has ended, and its request has ended, was reset, or has an end that passed unseen.
//!
//! A response is reported as missing only if that is certain. When bytes of the server's direction are missing, the
//! response of every open stream is *in doubt*:
//!
//! * If its head and its end are seen later, the exchange is reported. Its byte counts lack the missing bytes, but its
//!   times and its status are right or unknown.
//! * If a GOAWAY says that the server did not process the stream, there is no response.
//! * Otherwise the request becomes unobserved as soon as the stream is reset, the response ends without a known head,
//!   the connection ends, or [`MAX_STREAMS`] streams are open and another one begins.
//!
//! A loss only becomes visible with the next piece in the same direction. A stream that the client resets is therefore
//! reported when later bytes of the server's direction have come, or the connection ends.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::{
    block::Block,
    fields::Fields,
    frame::END_STREAM,
    stream::{Out, Request, Response, Stream},
};
use crate::Reason;

/// Maximum number of streams of a connection that are followed at a time. Servers usually allow 100 to 250.
pub(super) const MAX_STREAMS: usize = 1024;
/// Capacity in streams that the table keeps when it becomes empty; the memory of a larger one is freed.
const KEPT_CAPACITY: usize = 64;

/// The open streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u32, Stream>,
    /// Highest number of a stream that the client opened.
    highest: u32,
    /// Highest number of a stream whose response was seen before its request.
    answered: u32,
    /// Open streams that the client reset: time of the reset, and number of the stream.
    cancelled: BTreeSet<(u64, u32)>,
    /// Number of bytes of the methods, hosts and paths of all open streams.
    text: usize,
}

impl Streams {
    /// Returns the streams of a connection that was upgraded from HTTP/1.1: stream 1, with its request.
    /// `response_bytes` is the size of the 101 response.
    pub(super) fn upgraded(request: Request, response_bytes: u64) -> Self {
        let (text, last) = (request.memory(), request.began);
        let response = Response { bytes: response_bytes, ..Response::default() };
        let stream = Stream { request, request_ended: true, response, last, doubt: None, cancelled: None };
        Self { open: HashMap::from_iter([(1, stream)]), highest: 1, text, ..Self::default() }
    }

    /// Returns the number of requests that are not reported yet.
    pub(super) fn under_way(&self) -> usize {
        self.open.len()
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        let streams = self.open.capacity() * size_of::<(u32, Stream)>();
        streams + self.cancelled.len() * size_of::<(u64, u32)>() + self.text
    }

    /// Returns whether a header block in the client's direction opens this stream: its number is odd, and higher than
    /// those of earlier streams.
    pub(super) fn is_new(&self, id: u32) -> bool {
        id % 2 == 1 && id > self.highest
    }

    /// Records that the client opened a stream, also if there is no room to follow it.
    pub(super) fn opened(&mut self, id: u32) {
        self.highest = self.highest.max(id);
    }

    /// Handles the head of a request. `ended` is true if the request has no body. `doubt` is the reason why the
    /// response may pass unseen, if it may.
    pub(super) fn request(
        &mut self,
        id: u32,
        request: Request,
        ended: bool,
        time: u64,
        doubt: Option<Reason>,
        out: &mut Out<'_>,
    ) {
        if self.open.len() >= MAX_STREAMS && !self.make_room(out) {
            out.unobserved(Reason::NoMemory);
            return;
        }
        // The response was seen first, while earlier bytes of the client were still missing, and was not kept.
        let missed = id % 2 == 1 && id <= self.answered;
        let doubt = doubt.or(missed.then_some(Reason::MissingBytes));
        // A stream of this number is already open only if the server violates the protocol by promising it twice.
        self.settle(id, time, out);
        self.text += request.memory();
        let response = Response::default();
        let stream = Stream { request, request_ended: ended, response, last: time, doubt, cancelled: None };
        self.open.insert(id, stream);
    }

    /// Handles bytes of a request after its head; `end` is true if they are the last ones.
    pub(super) fn request_part(&mut self, id: u32, bytes: u64, end: bool, time: u64, out: &mut Out<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.last = stream.last.max(time);
        stream.request.bytes += bytes;
        stream.request_ended |= end;
        if end && stream.response.ended {
            self.settle(id, time, out);
        }
    }

    /// Handles bytes of a response's body; `end` is true if they are the last ones of the response.
    pub(super) fn response_part(&mut self, id: u32, bytes: u64, end: bool, time: u64, out: &mut Out<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.last = stream.last.max(time);
        stream.response.bytes += bytes;
        stream.response.body = true;
        if end {
            self.end_response(id, time, out);
        }
    }

    /// Handles a header block of a response: an interim or final head, or trailers. `fields` is `None` if the block is
    /// too large.
    pub(super) fn response_block(
        &mut self,
        id: u32,
        block: &Block,
        fields: Option<Fields>,
        time: u64,
        out: &mut Out<'_>,
    ) {
        let Some(stream) = self.open.get_mut(&id) else {
            if self.is_new(id) {
                self.answered = self.answered.max(id);
            }
            return;
        };
        stream.last = stream.last.max(time);
        let end = block.frame.has(END_STREAM);
        let response = &mut stream.response;
        response.bytes += block.wire;
        match fields {
            None if response.status.is_none() => {
                self.remove(id);
                out.unobserved(Reason::HeadTooLarge);
                return;
            }
            None => {}
            Some(fields) => {
                let doubt = stream.doubt.is_some();
                stream.doubt =
                    stream.doubt.or((!response.headers(block, fields, doubt)).then_some(Reason::Malformed));
            }
        }
        if end {
            self.end_response(id, time, out);
        }
    }

    /// Handles the server's reset of a stream. If the server has sent a complete response before, and resets the stream
    /// to stop the request's body, that response is reported.
    pub(super) fn refuse(&mut self, id: u32, time: u64, out: &mut Out<'_>) {
        self.settle(id, time, out);
    }

    /// Handles the client's reset of a stream. A stream without a complete response stays open until [`Self::confirm`],
    /// because the response may have passed before the reset and not have been seen yet.
    pub(super) fn cancel(&mut self, id: u32, time: u64, out: &mut Out<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.request_ended = true;
        if stream.response.ended {
            self.settle(id, time, out);
        } else if stream.cancelled.is_none() {
            stream.cancelled = Some(time);
            self.cancelled.insert((time, id));
        }
    }

    /// Reports the streams that the client reset at this time or before. Call this when everything that the server sent
    /// before has been seen, or is known to be missing.
    pub(super) fn confirm(&mut self, time: u64, out: &mut Out<'_>) {
        while let Some((at, id)) = self.cancelled.first().copied().filter(|(at, _)| *at <= time) {
            self.settle(id, at, out);
        }
    }

    /// Handles the server's GOAWAY, which says that it did not process the client's streams above `last`.
    pub(super) fn go_away(&mut self, last: u32, time: u64, out: &mut Out<'_>) {
        for id in self.sorted(|id, _| id % 2 == 1 && id > last) {
            if let Some(stream) = self.open.get_mut(&id)
                && stream.response.status.is_none()
            {
                stream.doubt = None;
            }
            self.settle(id, time, out);
        }
    }

    /// Puts the response of every open stream in doubt, because bytes of the server's direction are missing.
    pub(super) fn doubt_responses(&mut self, reason: Reason) {
        for stream in self.open.values_mut().filter(|stream| !stream.response.ended) {
            stream.doubt.get_or_insert(reason);
            stream.response.forget_interim();
        }
    }

    /// Stops waiting for the ends of requests, because the client's direction has ended, or bytes of it are missing.
    pub(super) fn end_requests(&mut self, time: u64, out: &mut Out<'_>) {
        for stream in self.open.values_mut() {
            stream.request_ended = true;
        }
        for id in self.sorted(|_, stream| stream.response.ended) {
            self.settle(id, time, out);
        }
    }

    /// Reports all streams, because the connection has ended. `lost` is true if its last bytes may be missing.
    pub(super) fn close(&mut self, time: u64, lost: bool, out: &mut Out<'_>) {
        if lost {
            self.doubt_responses(Reason::LostResponse);
        }
        for id in self.sorted(|_, _| true) {
            self.settle(id, time, out);
        }
    }

    /// Handles the end of a response. If no final head was seen, the exchange is unobserved.
    fn end_response(&mut self, id: u32, time: u64, out: &mut Out<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.response.status.is_none() {
            let reason = stream.doubt.unwrap_or(Reason::Malformed);
            self.remove(id);
            out.unobserved(reason);
            return;
        }
        stream.response.ended = true;
        if stream.request_ended {
            self.settle(id, time, out);
        }
    }

    /// Reports one stream to make room for another. It takes the stream that the client reset first; else, of those
    /// that only wait for the end of their request, the one with the lowest number; else, of those in doubt, the one
    /// with the lowest number. Returns false if there is none.
    fn make_room(&mut self, out: &mut Out<'_>) -> bool {
        let least = |wanted: fn(&Stream) -> bool| {
            self.open.iter().filter(|(_, stream)| wanted(stream)).map(|(id, _)| *id).min()
        };
        let cancelled = self.cancelled.first().map(|(_, id)| *id);
        let id = cancelled
            .or_else(|| least(|stream| stream.response.ended))
            .or_else(|| least(|stream| stream.doubt.is_some()));
        if let Some(id) = id {
            self.settle(id, 0, out);
        }
        id.is_some()
    }

    /// Returns the numbers of the `wanted` streams in ascending order.
    fn sorted(&self, wanted: impl Fn(u32, &Stream) -> bool) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.open.iter().filter(|(id, stream)| wanted(**id, stream)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Removes a stream and reports it (see [`Stream::settle`]).
    fn settle(&mut self, id: u32, time: u64, out: &mut Out<'_>) {
        if let Some(stream) = self.remove(id) {
            stream.settle(time, out);
        }
    }

    /// Removes a stream without a report.
    fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.open.remove(&id)?;
        self.text -= stream.request.memory();
        if let Some(at) = stream.cancelled {
            self.cancelled.remove(&(at, id));
        }
        if self.open.is_empty() && self.open.capacity() > KEPT_CAPACITY {
            self.open = HashMap::new();
        }
        Some(stream)
    }
}
