//! The part of the parser for the direction of the responses.

use super::fields::Framing;
use super::head::{self, ResponseHead};
use super::reader::{Body, Head, Kind, Reader, Step, plausible};
use super::{Malformed, Parser};
use crate::{Reason, Sink};

impl Parser {
    pub(super) fn feed_response(
        &mut self,
        time: u64,
        bytes: &[u8],
        mut starts: bool,
        sink: &mut dyn Sink,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.upgrade.is_none() {
            let rest = &bytes[at..];
            match &mut self.response {
                Reader::Off | Reader::Cut => break,
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
            self.pairing.interim(length, began);
            return;
        }
        if !self.pairing.is_waiting() {
            self.cut_request(sink);
        }
        let asked = self.pairing.response(head.code, length, began, sink);
        let success = (200..300).contains(&head.code);
        match asked {
            Some(asked) if head.code == 101 && asked.h2c && head.h2c => {
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
        let framing = if empty { Ok(Framing::Length(0)) } else { head.framing };
        match framing.map(|framing| Body::new(framing, asked.is_none())) {
            Ok(Some(body)) => self.response = Reader::Body(body),
            Ok(None) => self.response_end(time, sink),
            Err(Malformed) => self.lose_response(Reason::Malformed, sink),
        }
    }

    /// Stops parsing: the connection leaves HTTP/1 or ends.
    pub(super) fn leave(&mut self) {
        self.request = Reader::Off;
        self.response = Reader::Off;
    }

    pub(super) fn response_end(&mut self, time: u64, sink: &mut dyn Sink) {
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

    pub(super) fn lose_response(&mut self, reason: Reason, sink: &mut dyn Sink) {
        self.response = Reader::Lost;
        self.pairing.response_hole(reason, false, sink);
    }

    /// Handles bytes that passed unread while the position in the direction of the responses was lost or a guess: they
    /// may have been responses.
    pub(super) fn pass_lost_response(&mut self, sink: &mut dyn Sink) {
        self.pairing.unread(sink);
    }
}
