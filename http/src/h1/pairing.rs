//! Requests and their responses, paired by order. [`Trust`] tells which are paired after a loss.

use std::collections::VecDeque;
use std::mem::size_of;

use super::Start;
use super::head::RequestHead;
use super::trust::Trust;
use crate::{Exchange, Protocol, Reason, Side, Sink, Status};

/// Maximum number of requests of a connection that wait for their responses.
pub(super) const MAX_OUTSTANDING: usize = 128;
/// Number of waiting requests whose memory is kept when none waits.
const IDLE_CAPACITY: usize = 4;

/// A request that waits for its response, or for its own end.
#[derive(Debug)]
struct Outstanding {
    exchange: Exchange,
    /// Counted as unobserved already: here to keep the order only.
    counted: bool,
    /// The request has ended.
    complete: bool,
    /// What of the request the framing of its response depends on.
    asked: Asked,
}

/// What of a request the framing of its response depends on.
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

/// The request whose bytes are passing.
#[derive(Debug)]
enum Receiving {
    /// None, or one that nobody waits for.
    Nothing,
    /// The newest of the queue.
    Newest,
    /// One whose response has ended already.
    Answered(Box<Outstanding>),
}

/// The request whose response is passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Responding {
    Nothing,
    /// The oldest of the queue.
    Oldest,
    /// One that is not in the queue.
    Ignored,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Pairing {
    side: Side,
    queue: VecDeque<Outstanding>,
    queue_memory: usize,
    receiving: Receiving,
    responding: Responding,
    trust: Trust,
    /// Time of the last response, or interim one, that belonged to no request of the queue.
    ignored: Option<u64>,
}

impl Pairing {
    /// No requests so far, of a connection that begins in this way.
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

    /// Number of requests that are not reported yet.
    pub(super) fn under_way(&self) -> usize {
        let answered = match &self.receiving {
            Receiving::Answered(request) => Some(&**request),
            Receiving::Nothing | Receiving::Newest => None,
        };
        self.queue.iter().chain(answered).filter(|request| !request.counted).count()
    }

    /// Tells whether nothing is under way, and nothing that was lost may still be.
    pub(super) fn pauses(&self) -> bool {
        self.queue.is_empty()
            && matches!(self.receiving, Receiving::Nothing)
            && self.responding == Responding::Nothing
            && self.trust.is_sure()
    }

    pub(super) fn memory(&self) -> usize {
        self.queue.capacity() * size_of::<Outstanding>() + self.queue_memory
    }

    /// Takes a request's head of `length` bytes, the last of which passed at `time`.
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

    /// Takes a request that is counted as unobserved: it only keeps its place in the order.
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

    fn push(&mut self, mut request: Outstanding, refused: Option<Reason>, sink: &mut dyn Sink) {
        self.receiving = Receiving::Nothing;
        let responding = self.responding != Responding::Nothing;
        if let Err(reason) = self.trust.request(self.is_waiting(), responding) {
            sink.unobserved(self.side, refused.unwrap_or(reason), 1);
            return;
        }
        if self.ignored.is_some_and(|ignored| request.exchange.began < ignored) {
            // The response that was ignored may have been this request's.
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

    /// Adds bytes to the request that is passing.
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

    /// Ends the request that is passing.
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

    /// Tells whether the response to the request that is passing has ended.
    pub(super) fn answered_early(&self) -> bool {
        matches!(self.receiving, Receiving::Answered(_))
    }

    /// Takes a loss of place on the way of the requests.
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

    /// Adds the bytes of an interim response, which began at `began`.
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

    /// Takes the head of a final response, `length` bytes from `began` on. Returns what its request asked for; none if the
    /// request is unknown, so that the response is ignored.
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

    /// Adds bytes to the response that is passing.
    pub(super) fn response_bytes(&mut self, length: u64) {
        if self.responding == Responding::Oldest {
            self.add_response_bytes(length);
        }
    }

    /// Ends the response that is passing.
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

    /// Takes a loss of place on the way of the responses. `between` says that the missing bytes may belong to no request
    /// of the queue: otherwise they certainly belong to the response of the oldest.
    pub(super) fn response_hole(&mut self, reason: Reason, between: bool, sink: &mut dyn Sink) {
        let ignored = self.responding == Responding::Ignored;
        let open = self.queue.len() as u64;
        let stale = if between || ignored { open } else { open.saturating_sub(1) };
        self.drop_queue(reason, sink);
        self.responding = Responding::Nothing;
        self.trust.responses_lost(stale, reason);
    }

    /// Takes the response that is passing, and that belongs to no waiting request, for ended at an unknown place.
    pub(super) fn forget_response(&mut self) {
        self.responding = Responding::Nothing;
    }

    /// Takes bytes on the way of the responses that passed unread and may have been any response.
    pub(super) fn unread(&mut self, sink: &mut dyn Sink) {
        if self.is_waiting() {
            self.response_hole(Reason::MissingBytes, true, sink);
        } else {
            self.trust.responses_lost(0, Reason::MissingBytes);
        }
    }

    /// Tells whether a request waits for its response.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Ends HTTP with the response whose head has come: its exchange is complete.
    pub(super) fn switched(&mut self, time: u64, sink: &mut dyn Sink) {
        if let Some(exchange) = self.switching(sink) {
            sink.exchange(Exchange { ended: time, ..exchange });
        }
    }

    /// Takes the exchange with whose response HTTP/1 ends, unless it was counted.
    pub(super) fn switching(&mut self, sink: &mut dyn Sink) -> Option<Exchange> {
        let oldest = self.pop();
        self.receiving = Receiving::Nothing;
        self.responding = Responding::Nothing;
        // What was taken for requests behind it belonged to the other protocol, or was never answered as HTTP.
        self.drop_queue(Reason::Malformed, sink);
        oldest.filter(|oldest| !oldest.counted).map(|oldest| oldest.exchange)
    }

    /// Takes the end of the way of the responses: requests that are complete are not answered any more.
    pub(super) fn responses_end(&mut self, time: u64, sink: &mut dyn Sink) {
        self.response_end(time, sink);
        while self.queue.front().is_some_and(|oldest| oldest.complete) {
            if let Some(oldest) = self.pop() {
                self.report(oldest, time, sink);
            }
        }
    }

    /// Reports everything open at the end of the connection. `lost` is the reason why responses may have been missed.
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

    /// Drops all of the queue as unobserved.
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
