//! One HTTP/2 stream: its request, its response, and the report of both as an exchange.

use super::{block::Block, fields::Fields, frame::END_STREAM};
use crate::{Exchange, Protocol, Reason, Side, Sink, Status};

/// The receiver of a connection's reports, with the side that each report needs.
pub(super) struct Out<'a> {
    /// The role of the traced socket.
    pub(super) side: Side,
    /// The receiver.
    pub(super) sink: &'a mut dyn Sink,
}

impl Out<'_> {
    /// Reports one exchange as unobserved.
    pub(super) fn unobserved(&mut self, reason: Reason) {
        self.sink.unobserved(self.side, reason, 1);
    }
}

/// The known facts about a request.
#[derive(Debug)]
pub(super) struct Request {
    /// Method, in the form of [`Exchange::method`]; `host` and `path` likewise.
    pub(super) method: Box<str>,
    pub(super) host: Box<str>,
    pub(super) path: Box<str>,
    /// True if the content type is `application/grpc`.
    pub(super) grpc: bool,
    /// Number of bytes so far, including frame headers.
    pub(super) bytes: u64,
    /// Time of the first byte.
    pub(super) began: u64,
}

impl Request {
    /// Makes a request from a header block.
    pub(super) fn new(block: &Block, mut fields: Fields) -> Self {
        Self {
            host: fields.take_host(),
            method: fields.method.unwrap_or_default(),
            path: fields.path.unwrap_or_default(),
            grpc: fields.grpc,
            bytes: block.wire,
            began: block.began,
        }
    }

    /// Returns the number of bytes of method, host and path.
    pub(super) fn memory(&self) -> usize {
        self.method.len() + self.host.len() + self.path.len()
    }
}

/// The known facts about a response.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// Number of bytes so far, including frame headers.
    pub(super) bytes: u64,
    /// Status of the final head, once it has come.
    pub(super) status: Option<Status>,
    /// Time of the first byte of the final head.
    pub(super) first_byte: Option<u64>,
    /// True if the content type is `application/grpc`.
    pub(super) grpc: bool,
    /// Value of `grpc-status`.
    pub(super) grpc_status: Option<u32>,
    /// True if bytes of the body have passed.
    pub(super) body: bool,
    /// True if the last byte has passed.
    pub(super) ended: bool,
}

impl Response {
    /// Handles a header block: an interim or final head, or trailers. Returns false if the final head is missing and
    /// cannot come any more. `doubt` is true if the final head may have passed unseen.
    pub(super) fn headers(&mut self, block: &Block, fields: Fields, doubt: bool) -> bool {
        let end = block.frame.has(END_STREAM);
        let head = match self.status {
            // A block that begins with a field of unknown name may be a head or trailers. If the final head may have
            // passed unseen, such a block is not taken for the head.
            None => fields.status.is_some() || (fields.may_be_head() && !doubt),
            // The supposed final head had an unknown status. It was an interim one if this block is a head, too: this
            // block has a status, or does not end the stream, as trailers would.
            Some(Status::Unknown) => !self.body && (fields.status.is_some() || !end),
            Some(_) => false,
        };
        let status = fields.status.unwrap_or(Status::Unknown);
        if head && !end && matches!(status, Status::Code(100..=199)) {
            return true;
        }
        if head {
            self.status = Some(status);
            self.first_byte = Some(block.began);
        } else if fields.may_be_head() {
            self.forget_interim();
        }
        self.grpc |= fields.grpc;
        self.grpc_status = self.grpc_status.or(fields.grpc_status);
        self.status.is_some()
    }

    /// Forgets the time of a head with an unknown status that no body followed. That head may have been an interim one,
    /// and the final one came later or is missing.
    pub(super) fn forget_interim(&mut self) {
        if self.status == Some(Status::Unknown) && !self.body {
            self.first_byte = None;
        }
    }
}

/// A stream whose exchange is not reported yet.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) request: Request,
    /// True if the request has ended or was reset, or if its end is not awaited any more (`Streams::end_requests`).
    pub(super) request_ended: bool,
    pub(super) response: Response,
    /// Time of the last byte of the request or the response so far.
    pub(super) last: u64,
    /// Reason why the head or the end of the response may have passed unseen, if they may.
    pub(super) doubt: Option<Reason>,
    /// Time at which the client reset the stream, if it did.
    pub(super) cancelled: Option<u64>,
}

impl Stream {
    /// Reports the stream as an exchange.
    fn report(self, status: Status, ended: u64, out: &mut Out<'_>) {
        let Self { request, response, .. } = self;
        let grpc = request.grpc || response.grpc || response.grpc_status.is_some();
        out.sink.exchange(Exchange {
            side: out.side,
            protocol: if grpc { Protocol::Grpc } else { Protocol::Http2 },
            method: request.method.into(),
            host: request.host.into(),
            path: request.path.into(),
            status,
            grpc_status: response.grpc_status,
            request_bytes: request.bytes,
            response_bytes: response.bytes,
            began: request.began,
            first_byte: response.first_byte,
            ended,
        });
    }

    /// Reports a stream that ends at `time`, or that the client reset before. It is reported as an exchange whose
    /// response is complete, cut off or missing; or as unobserved, if the response is in doubt and not complete.
    pub(super) fn settle(mut self, time: u64, out: &mut Out<'_>) {
        let time = self.cancelled.unwrap_or(time);
        let status = self.response.status;
        match self.doubt {
            _ if self.response.ended => {
                let last = self.last;
                self.report(status.unwrap_or(Status::Unknown), last, out);
            }
            Some(reason) => out.unobserved(reason),
            None => {
                let ended = self.last.max(time);
                self.response.forget_interim();
                self.report(status.unwrap_or(Status::NoResponse), ended, out);
            }
        }
    }
}
