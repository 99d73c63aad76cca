//! Pairing of requests with their responses by order. [`Trust`] decides which requests can be paired after a loss.

use std::collections::VecDeque;
use std::mem::size_of;

use super::Start;
use super::head::RequestHead;
use super::trust::Trust;
use crate::{Exchange, Protocol, Reason, Side, Sink, Status};

/// Maximum number of requests of a connection that wait for their responses. Further ones are unobserved.
pub(super) const MAX_OUTSTANDING: usize = 128;
/// Capacity in requests that a queue keeps when it becomes empty; the memory of a larger one is freed.
const IDLE_CAPACITY: usize = 4;

/// A request that waits for its response, or for its own end.
#[derive(Debug)]
struct Outstanding {
    exchange: Exchange,
    /// True if the request is already counted as unobserved and only holds its place in the queue, for its response.
    counted: bool,
    /// True if the request has ended.
    complete: bool,
    /// Facts about the request that its response's framing depends on.
    asked: Asked,
}

/// The facts about a request that the meaning of its response depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) connect: bool,
    pub(super) h2c: bool,
}

impl Outstanding {
    fn memory(&self) -> usize {
        self.exchange.method.capacity() + self.exchange.host.capacity() + self.exchange.path.capacity()
    }
}

/// The request to which the next bytes in the direction of the requests belong.
#[derive(Debug)]
enum Receiving {
    /// No request, or one that is not in the queue.
    Nothing,
    /// The newest request in the queue.
    Newest,
    /// A request whose response has already ended, so that it is no longer in the queue.
    Answered(Box<Outstanding>),
}

/// The request to which the response that is being received belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Responding {
    Nothing,
    /// The oldest request in the queue.
    Oldest,
    /// A request that is not in the queue: the response is ignored.
    Ignored,
}

/// The requests of one connection that wait for their responses, or whose own end is still to come.
#[derive(Debug)]
pub(super) struct Pairing {
    side: Side,
    queue: VecDeque<Outstanding>,
    queue_memory: usize,
    receiving: Receiving,
    responding: Responding,
    trust: Trust,
    /// Time of the last response, also an interim one, that belonged to no request in the queue.
    ignored: Option<u64>,
}

impl Pairing {
    /// Returns the state before the first request. `start` describes the traffic before the first piece.
    pub(super) fn new(side: Side, start: Start) -> Self {
        Self {
            side,
            queue: VecDeque::new(),
            queue_memory: 0,
            receiving: Receiving::Nothing,
            responding: Responding::Nothing,
            trust: Trust::new(side, start),
            ignored: None,
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Returns the number of requests that are neither reported nor counted as unobserved yet.
    pub(super) fn under_way(&self) -> usize {
        let answered = match &self.receiving {
            Receiving::Answered(request) => Some(&**request),
            Receiving::Nothing | Receiving::Newest => None,
        };
        self.queue.iter().chain(answered).filter(|request| !request.counted).count()
    }

    /// Returns whether certainly no exchange is under way, not even one whose request was lost (see
    /// [`crate::Connection::pause`]).
    pub(super) fn pauses(&self) -> bool {
        self.queue.is_empty()
            && matches!(self.receiving, Receiving::Nothing)
            && self.responding == Responding::Nothing
            && self.trust.is_sure()
    }

    pub(super) fn memory(&self) -> usize {
        self.queue.capacity() * size_of::<Outstanding>() + self.queue_memory
    }

    /// Handles a request's head of `length` bytes. Its first byte passed at `began`, and its last one at `time`.
    pub(super) fn request(
        &mut self,
        head: RequestHead,
        length: u64,
        began: u64,
        time: u64,
        sink: &mut dyn Sink,
    ) {
        let asked = Asked { head: head.method == "HEAD", connect: head.method == "CONNECT", h2c: head.h2c };
        let exchange = Exchange {
            side: self.side,
            protocol: head.protocol,
            method: head.method,
            host: head.host,
            path: head.path,
            status: Status::NoResponse,
            grpc_status: None,
            request_bytes: length,
            response_bytes: 0,
            began,
            first_byte: None,
            ended: time,
        };
        self.push(Outstanding { exchange, counted: false, complete: false, asked }, None, sink);
    }

    /// Handles a request that counts as unobserved and only holds its place in the queue. `head` is true if its method
    /// is HEAD.
    pub(super) fn unobserved_request(&mut self, head: bool, reason: Reason, began: u64, sink: &mut dyn Sink) {
        let exchange = Exchange {
            side: self.side,
            protocol: Protocol::Http11,
            method: String::new(),
            host: String::new(),
            path: String::new(),
            status: Status::NoResponse,
            grpc_status: None,
            request_bytes: 0,
            response_bytes: 0,
            began,
            first_byte: None,
            ended: began,
        };
        let asked = Asked { head, ..Asked::default() };
        self.push(Outstanding { exchange, counted: false, complete: true, asked }, Some(reason), sink);
    }

    /// Puts a request into the queue, or counts it as unobserved. With the reason `refused`, the request is counted as
    /// unobserved in any case, and only holds its place in the queue.
    fn push(&mut self, mut request: Outstanding, refused: Option<Reason>, sink: &mut dyn Sink) {
        self.receiving = Receiving::Nothing;
        let responding = self.responding != Responding::Nothing;
        if let Err(reason) = self.trust.request(self.is_waiting(), responding) {
            sink.unobserved(self.side, refused.unwrap_or(reason), 1);
            return;
        }
        if self.ignored.is_some_and(|ignored| request.exchange.began < ignored) {
            // This request began before the ignored response, which may therefore have been its response.
            sink.unobserved(self.side, refused.unwrap_or(Reason::MissingBytes), 1);
            return;
        }
        if self.queue.len() >= MAX_OUTSTANDING {
            sink.unobserved(self.side, refused.unwrap_or(Reason::NoMemory), 1);
            self.trust.request_refused(Reason::NoMemory);
            return;
        }
        if let Some(reason) = refused {
            sink.unobserved(self.side, reason, 1);
            request.counted = true;
        } else {
            self.receiving = Receiving::Newest;
        }
        self.queue_memory += request.memory();
        self.queue.push_back(request);
    }

    /// Adds bytes to the size of the current request.
    pub(super) fn request_bytes(&mut self, length: u64) {
        let request = match &mut self.receiving {
            Receiving::Nothing => None,
            Receiving::Newest => self.queue.back_mut(),
            Receiving::Answered(request) => Some(&mut **request),
        };
        if let Some(request) = request {
            request.exchange.request_bytes = request.exchange.request_bytes.saturating_add(length);
        }
    }

    /// Ends the current request.
    pub(super) fn request_end(&mut self, time: u64, sink: &mut dyn Sink) {
        match std::mem::replace(&mut self.receiving, Receiving::Nothing) {
            Receiving::Nothing => {}
            Receiving::Newest => {
                if let Some(request) = self.queue.back_mut() {
                    request.complete = true;
                    request.exchange.ended = time;
                }
            }
            Receiving::Answered(request) => self.report(*request, time, sink),
        }
    }

    /// Returns whether the response to the current request has already ended.
    pub(super) fn answered_early(&self) -> bool {
        matches!(self.receiving, Receiving::Answered(_))
    }

    /// Handles a loss of the position in the direction of the requests.
    pub(super) fn request_hole(&mut self, reason: Reason, sink: &mut dyn Sink) {
        match std::mem::replace(&mut self.receiving, Receiving::Nothing) {
            Receiving::Nothing => {}
            Receiving::Newest => {
                if let Some(request) = self.queue.back_mut() {
                    request.complete = true;
                    if !std::mem::replace(&mut request.counted, true) {
                        sink.unobserved(self.side, reason, 1);
                    }
                }
            }
            Receiving::Answered(request) => self.count(&request, reason, sink),
        }
        self.trust.requests_lost(reason);
    }

    /// Adds the bytes of an interim response (1xx) to the size of the next final response. Its first byte passed at
    /// `began`.
    pub(super) fn interim(&mut self, length: u64, began: u64) {
        self.trust.response();
        if self.queue.is_empty() {
            self.ignored = Some(began);
        }
        self.add_response_bytes(length);
    }

    fn add_response_bytes(&mut self, length: u64) {
        if let Some(oldest) = self.queue.front_mut() {
            oldest.exchange.response_bytes = oldest.exchange.response_bytes.saturating_add(length);
        }
    }

    /// Handles the head of a final response: `length` bytes, the first of which passed at `began`. Returns the facts
    /// about its request; `None` if the request is unknown, so that the response is ignored.
    pub(super) fn response(
        &mut self,
        code: u16,
        length: u64,
        began: u64,
        sink: &mut dyn Sink,
    ) -> Option<Asked> {
        self.trust.response();
        if self.queue.get(1).is_some_and(|second| second.exchange.began <= began) {
            self.trust.pipelined();
        }
        let Some(oldest) = self.queue.front_mut() else {
            if let Some(reason) = self.trust.ignored() {
                sink.unobserved(self.side, reason, 1);
            }
            self.ignored = Some(began);
            self.responding = Responding::Ignored;
            return None;
        };
        oldest.exchange.status = Status::Code(code);
        oldest.exchange.first_byte = Some(began);
        oldest.exchange.response_bytes = oldest.exchange.response_bytes.saturating_add(length);
        self.responding = Responding::Oldest;
        Some(oldest.asked)
    }

    /// Adds bytes to the size of the current response.
    pub(super) fn response_bytes(&mut self, length: u64) {
        if self.responding == Responding::Oldest {
            self.add_response_bytes(length);
        }
    }

    /// Ends the current response.
    pub(super) fn response_end(&mut self, time: u64, sink: &mut dyn Sink) {
        if self.responding == Responding::Oldest
            && let Some(mut oldest) = self.pop()
        {
            if oldest.complete {
                self.report(oldest, time, sink);
            } else {
                oldest.exchange.ended = time;
                self.receiving = Receiving::Answered(Box::new(oldest));
            }
        }
        if std::mem::replace(&mut self.responding, Responding::Nothing) != Responding::Nothing {
            self.trust.response_end();
        }
    }

    /// Handles a loss of the position in the direction of the responses. If `between`, the missing bytes may lie
    /// between responses, and belong to no request in the queue; otherwise they certainly belong to the response of the
    /// oldest one.
    pub(super) fn response_hole(&mut self, reason: Reason, between: bool, sink: &mut dyn Sink) {
        let ignored = self.responding == Responding::Ignored;
        let open = self.queue.len() as u64;
        let stale = if between || ignored { open } else { open.saturating_sub(1) };
        self.drop_queue(reason, sink);
        self.responding = Responding::Nothing;
        self.trust.responses_lost(stale, reason);
    }

    /// Forgets the current response, which belongs to no waiting request, because its end is unknown.
    pub(super) fn forget_response(&mut self) {
        self.responding = Responding::Nothing;
    }

    /// Handles bytes in the direction of the responses that were not read. They may have been the responses of all
    /// waiting requests, so they count as a hole.
    pub(super) fn unread(&mut self, sink: &mut dyn Sink) {
        if self.is_waiting() {
            self.response_hole(Reason::MissingBytes, true, sink);
        } else {
            self.trust.responses_lost(0, Reason::MissingBytes);
        }
    }

    /// Returns whether a request waits for its response.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Reports the exchange whose response ends HTTP on this connection (CONNECT, or a switch to a protocol other than
    /// HTTP/2).
    pub(super) fn switched(&mut self, time: u64, sink: &mut dyn Sink) {
        if let Some(exchange) = self.switching(sink) {
            sink.exchange(Exchange { ended: time, ..exchange });
        }
    }

    /// Removes and returns the exchange whose response ends HTTP/1 on this connection; `None` if it is already counted
    /// as unobserved.
    pub(super) fn switching(&mut self, sink: &mut dyn Sink) -> Option<Exchange> {
        let oldest = self.pop();
        self.receiving = Receiving::Nothing;
        self.responding = Responding::Nothing;
        // What looked like later requests was data of the new protocol, or is never answered as HTTP/1.
        self.drop_queue(Reason::Malformed, sink);
        oldest.filter(|oldest| !oldest.counted).map(|oldest| oldest.exchange)
    }

    /// Handles the end (FIN) of the direction of the responses: reports the complete requests, which get no response
    /// any more.
    pub(super) fn responses_end(&mut self, time: u64, sink: &mut dyn Sink) {
        self.response_end(time, sink);
        while self.queue.front().is_some_and(|oldest| oldest.complete) {
            if let Some(oldest) = self.pop() {
                self.report(oldest, time, sink);
            }
        }
    }

    /// Reports every open exchange at the end of the connection. If responses may have been missed, `lost` is the
    /// reason why, and the open exchanges count as unobserved for that reason.
    pub(super) fn close(&mut self, time: u64, lost: Option<Reason>, sink: &mut dyn Sink) {
        let early = std::mem::replace(&mut self.receiving, Receiving::Nothing);
        if let Some(reason) = lost {
            if let Receiving::Answered(request) = early {
                self.count(&request, reason, sink);
            }
            self.drop_queue(reason, sink);
        } else {
            if let Receiving::Answered(request) = early {
                self.report(*request, time, sink);
            }
            while let Some(oldest) = self.pop() {
                self.report(oldest, time, sink);
            }
        }
        self.responding = Responding::Nothing;
        self.queue = VecDeque::new();
    }

    fn pop(&mut self) -> Option<Outstanding> {
        let oldest = self.queue.pop_front()?;
        self.queue_memory -= oldest.memory();
        if self.queue.is_empty() && self.queue.capacity() > IDLE_CAPACITY {
            self.queue = VecDeque::new();
        }
        Some(oldest)
    }

    /// Removes all requests from the queue, as unobserved.
    fn drop_queue(&mut self, reason: Reason, sink: &mut dyn Sink) {
        if matches!(self.receiving, Receiving::Newest) {
            self.receiving = Receiving::Nothing;
        }
        let count = self.queue.iter().filter(|request| !request.counted).count() as u64;
        if count > 0 {
            sink.unobserved(self.side, reason, count);
        }
        self.queue = VecDeque::new();
        self.queue_memory = 0;
    }

    fn count(&self, request: &Outstanding, reason: Reason, sink: &mut dyn Sink) {
        if !request.counted {
            sink.unobserved(self.side, reason, 1);
        }
    }

    fn report(&self, request: Outstanding, time: u64, sink: &mut dyn Sink) {
        if !request.counted {
            let ended = request.exchange.ended.max(time);
            sink.exchange(Exchange { ended, ..request.exchange });
        }
    }
}
