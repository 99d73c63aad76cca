//! The part of the parser for the direction of the requests.

use super::head::{self, RequestHead};
use super::reader::{Body, Head, Kind, Reader, Step, plausible};
use super::{Malformed, Parser};
use crate::{Reason, Sink};

impl Parser {
    pub(super) fn feed_request(
        &mut self,
        time: u64,
        mut bytes: &[u8],
        mut starts: bool,
        sink: &mut dyn Sink,
    ) {
        while !bytes.is_empty() {
            match &mut self.request {
                Reader::Off => return,
                Reader::Cut if starts => {
                    self.pairing.request_end(time, sink);
                    self.request = Reader::Head(Head::unsure());
                }
                Reader::Cut => {
                    self.pairing.request_bytes(bytes.len() as u64);
                    return;
                }
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
                        // The client does not send the body, because the response came first (after `Expect:
                        // 100-continue`, for example).
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
        if matches!(&self.response, Reader::Body(body) if body.unsure) {
            // A response without a known request is being read, and the end of its body is a guess. A wrong guess must
            // not hide the response to the new request.
            self.response = Reader::Lost;
            self.pairing.forget_response();
        }
        match Body::new(framing, false) {
            Some(body) => self.request = Reader::Body(body),
            None => self.request_end(time, sink),
        }
    }

    /// Treats a request head that has not ended as complete, because its response (such as 414 or 431) has come.
    pub(super) fn cut_request(&mut self, sink: &mut dyn Sink) {
        if let Reader::Head(head) = &self.request
            && let Some((bytes, length)) = head.cut()
            && let Ok(parsed) = head::request(&bytes)
        {
            let began = head.began;
            self.request = Reader::Cut;
            self.pairing.request(parsed, length as u64, began, began, sink);
        }
    }

    pub(super) fn request_end(&mut self, time: u64, sink: &mut dyn Sink) {
        self.pairing.request_end(time, sink);
        self.request = Reader::Head(Head::default());
    }

    fn request_invalid(&mut self, unsure: bool, sink: &mut dyn Sink) {
        if !self.spoken {
            self.refused = true;
        } else if unsure {
            self.request = Reader::Lost;
        } else {
            // A server answers an invalid head as well, with an error response that belongs to no other request, so the
            // head counts as a request.
            sink.unobserved(self.pairing.side(), Reason::Malformed, 1);
            self.lose_request(Reason::Malformed, sink);
        }
    }

    fn request_too_large(&mut self, kept: &[u8], began: u64, sink: &mut dyn Sink) {
        self.spoken = true;
        self.pairing.unobserved_request(kept.starts_with(b"HEAD "), Reason::HeadTooLarge, began, sink);
        self.lose_request(Reason::HeadTooLarge, sink);
    }

    pub(super) fn lose_request(&mut self, reason: Reason, sink: &mut dyn Sink) {
        self.request = Reader::Lost;
        self.pairing.request_hole(reason, sink);
    }
}

/// Returns whether bytes begin with a complete request line.
fn begins_with_request(bytes: &[u8]) -> bool {
    plausible(Kind::Request, bytes)
        && bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .is_some_and(|end| head::is_request_line(&bytes[..=end]))
}
