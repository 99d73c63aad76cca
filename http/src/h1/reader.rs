//! The position in one way of a connection: in a head, in a body, or unknown.

use std::borrow::Cow;

use memchr::memchr_iter;

use super::chunked::Chunked;
use super::fields::Framing;
use super::{MAX_HEAD, Malformed, head};

/// Number of first bytes by which a head is recognized.
const PROBE: usize = 64;

/// Length from which an unfinished request line has everything that is kept of one: a method, a host and a path.
const CUT_LINE: usize = 4_096;

/// The kind of messages in a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// The position in a way.
#[derive(Debug)]
pub(super) enum Reader {
    /// Between messages, or in a head.
    Head(Head),
    /// In a body.
    Body(Body),
    /// In a request head that was answered before its end; bytes belong to the request until a piece starts a message.
    Cut,
    /// At an unknown position, until a piece starts a message.
    Lost,
    /// After the last message: nothing is parsed any more.
    Off,
}

impl Reader {
    /// Returns the number of next bytes that the parser does not need.
    pub(super) fn skippable(&self) -> u64 {
        match self {
            Self::Head(_) | Self::Cut => 0,
            Self::Body(body) => body.skippable(),
            Self::Lost | Self::Off => u64::MAX,
        }
    }

    /// Returns whether a message certainly begins at the next byte.
    pub(super) fn pauses(&self) -> bool {
        matches!(self, Self::Head(head) if head.is_empty() && !head.unsure)
    }

    /// Returns the number of bytes of memory in use, in addition to the size of the reader.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Head(head) => head.kept.capacity(),
            _ => 0,
        }
    }
}

/// A position between messages or in a head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The head's bytes so far, if it came in several pieces.
    kept: Vec<u8>,
    /// State of the search for the end of the head, which depends on the last bytes.
    ending: Ending,
    /// Time of the first byte.
    pub(super) began: u64,
    /// True if it is uncertain that a message begins here, because the position had been lost.
    pub(super) unsure: bool,
    /// True if the first line has ended.
    line_ended: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Line,
    LineFeed,
    LineFeedReturn,
}

impl Ending {
    /// Returns the state after further bytes of the same line.
    fn and(self, bytes: &[u8]) -> Self {
        match (self, bytes) {
            (ending, []) => ending,
            (Self::LineFeed, b"\r") => Self::LineFeedReturn,
            _ => Self::Line,
        }
    }
}

/// The result of [`Head::take`].
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The head is not complete yet.
    More,
    /// The bytes are no head.
    Invalid,
    /// The head is longer than [`MAX_HEAD`]; its first bytes.
    TooLarge(Vec<u8>),
    /// The head is complete; its bytes.
    Complete(Cow<'a, [u8]>),
}

impl Head {
    /// Starts at a position at which a message may begin.
    pub(super) fn unsure() -> Self {
        Self { unsure: true, ..Self::default() }
    }

    /// Returns whether no byte of a head has come.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the bytes so far, completed to a valid head, and their number; `None` if the request line is too
    /// incomplete.
    pub(super) fn cut(&self) -> Option<(Vec<u8>, usize)> {
        if self.unsure || !(self.line_ended || self.kept.len() >= CUT_LINE) {
            return None;
        }
        let end: &[u8] = if self.line_ended { b"\r\n\r\n" } else { b" HTTP/1.1\r\n\r\n" };
        Some(([&self.kept, end].concat(), self.kept.len()))
    }

    /// Parses the next bytes. Returns how many of them belong to the head and to empty lines before it, and the result.
    /// `check`: the first line must be validated as soon as it ends.
    pub(super) fn take<'a>(
        &mut self,
        kind: Kind,
        time: u64,
        bytes: &'a [u8],
        check: bool,
    ) -> (usize, Step<'a>) {
        let mut blank = 0;
        if self.kept.is_empty() {
            blank = bytes.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
            self.began = time;
        }
        let fresh = &bytes[blank..];
        if fresh.is_empty() {
            return (blank, Step::More);
        }
        if self.kept.len() < PROBE {
            let fresh = &fresh[..fresh.len().min(PROBE)];
            let probe: Cow<'_, [u8]> =
                if self.kept.is_empty() { fresh.into() } else { [&self.kept, fresh].concat().into() };
            if !plausible(kind, &probe) {
                return (bytes.len(), Step::Invalid);
            }
        }
        let fresh = &fresh[..fresh.len().min(MAX_HEAD - self.kept.len())];
        let (mut end, mut line) = (None, 0);
        for feed in memchr_iter(b'\n', fresh) {
            if self.ending.and(&fresh[line..feed]) != Ending::Line {
                end = Some(feed + 1);
                break;
            }
            let first = !std::mem::replace(&mut self.line_ended, true);
            if first && check && !self.line_is_valid(kind, &fresh[..=feed]) {
                return (bytes.len(), Step::Invalid);
            }
            self.ending = Ending::LineFeed;
            line = feed + 1;
        }
        let Some(end) = end else {
            self.ending = self.ending.and(&fresh[line..]);
            self.kept.extend_from_slice(fresh);
            if self.kept.len() == MAX_HEAD {
                return (bytes.len(), Step::TooLarge(std::mem::take(&mut self.kept)));
            }
            return (bytes.len(), Step::More);
        };
        let head = if self.kept.is_empty() {
            Cow::Borrowed(&fresh[..end])
        } else {
            self.kept.extend_from_slice(&fresh[..end]);
            Cow::Owned(std::mem::take(&mut self.kept))
        };
        (blank + end, Step::Complete(head))
    }

    fn line_is_valid(&self, kind: Kind, end: &[u8]) -> bool {
        let line = [&self.kept, end].concat();
        match kind {
            Kind::Request => head::is_request_line(&line),
            Kind::Response => head::is_status_line(&line),
        }
    }
}

/// Returns whether these bytes may begin a head.
pub(super) fn plausible(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Request => {
            let method = bytes.iter().take(PROBE).position(|&byte| byte == b' ').unwrap_or(bytes.len());
            (1..PROBE).contains(&method) && bytes[..method].iter().all(|&byte| is_token(byte))
        }
        Kind::Response => bytes.iter().zip(b"HTTP/1.").all(|(byte, wanted)| byte == wanted),
    }
}

/// Returns whether a byte may be part of a method (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A position in a body.
#[derive(Debug)]
pub(super) struct Body {
    rest: Rest,
    /// True if no byte of the body has passed.
    pub(super) untouched: bool,
    /// True if the framing is a guess, because the request that it depends on is unknown: the body then ends at a piece
    /// that starts a message.
    pub(super) unsure: bool,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunked),
    Close,
}

impl Body {
    /// Starts a body; `None` if it is empty.
    pub(super) fn new(framing: Framing, unsure: bool) -> Option<Self> {
        let rest = match framing {
            Framing::Length(0) => return None,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Chunked::new()),
            Framing::Close => Rest::Close,
        };
        Some(Self { rest, untouched: true, unsure })
    }

    fn skippable(&self) -> u64 {
        match &self.rest {
            Rest::Length(left) => *left,
            Rest::Chunked(chunked) => chunked.skippable(),
            Rest::Close => u64::MAX,
        }
    }

    /// Skips bytes that the parser does not need, at most `length`. Returns true if the body ends with them.
    pub(super) fn skip(&mut self, length: u64) -> bool {
        self.untouched = false;
        match &mut self.rest {
            Rest::Length(left) => {
                *left = left.saturating_sub(length);
                *left == 0
            }
            Rest::Chunked(chunked) => {
                chunked.skip(length);
                false
            }
            Rest::Close => false,
        }
    }

    /// Parses the next bytes. Returns how many of them belong to the body, and true if the body ends with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        self.untouched = false;
        match &mut self.rest {
            Rest::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= length as u64;
                Ok((length, *left == 0))
            }
            Rest::Chunked(chunked) => chunked.take(bytes),
            Rest::Close => Ok((bytes.len(), false)),
        }
    }
}
