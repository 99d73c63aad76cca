//! The position in one direction of a connection: in a head, in a body, or unknown.

use std::borrow::Cow;

use memchr::memchr_iter;

use super::chunked::Chunked;
use super::fields::Framing;
use super::{MAX_HEAD, Malformed, head};

/// Number of first bytes of a head that [`plausible`] checks; a method must end within them.
const PROBE: usize = 64;

/// Length in bytes from which an unfinished request line counts as containing everything that the parser keeps of one:
/// the method, the host and the path.
const CUT_LINE: usize = 4_096;

/// The kind of messages in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// The position in a direction.
#[derive(Debug)]
pub(super) enum Reader {
    /// Between messages, or in a head.
    Head(Head),
    /// In a body.
    Body(Body),
    /// In a request head that was answered before its end (such as 431). All bytes belong to the request until a piece
    /// starts a message.
    Cut,
    /// At an unknown position, until a piece starts a message.
    Lost,
    /// After the last message: nothing is parsed any more.
    Off,
}

impl Reader {
    /// Returns the number of next bytes that the parser does not need, as [`crate::parser::Parser::skippable`].
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

    /// Returns the number of bytes on the heap.
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
    /// The bytes of the head so far; empty if the head came in a single piece.
    kept: Vec<u8>,
    /// The last bytes so far, which may be the beginning of the empty line that ends the head.
    ending: Ending,
    /// Time of the first byte of the head.
    pub(super) began: u64,
    /// True if it is uncertain that a message begins here, because the position had been lost before.
    pub(super) unsure: bool,
    /// True if the first line of the head is complete.
    line_ended: bool,
}

/// The last bytes of an incomplete head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Ending {
    /// Within a line, or at the beginning of the head.
    #[default]
    Line,
    /// After a line feed.
    LineFeed,
    /// After a line feed and a carriage return.
    LineFeedReturn,
}

impl Ending {
    /// Returns the state after further bytes, which contain no line feed.
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
    /// The bytes are not a head.
    Invalid,
    /// The head is longer than [`MAX_HEAD`]. The value is its first bytes.
    TooLarge(Vec<u8>),
    /// The head is complete. The value is the whole head.
    Complete(Cow<'a, [u8]>),
}

impl Head {
    /// Returns the state at a position where a message may begin.
    pub(super) fn unsure() -> Self {
        Self { unsure: true, ..Self::default() }
    }

    /// Returns whether no byte of a head has come.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the bytes so far with an ending that makes them a valid request head, and the number of bytes without
    /// that ending. Returns `None` if the request line may still lack the method, the host or the path, or if it is
    /// uncertain that a request begins here.
    pub(super) fn cut(&self) -> Option<(Vec<u8>, usize)> {
        if self.unsure || !(self.line_ended || self.kept.len() >= CUT_LINE) {
            return None;
        }
        let end: &[u8] = if self.line_ended { b"\r\n\r\n" } else { b" HTTP/1.1\r\n\r\n" };
        Some(([&self.kept, end].concat(), self.kept.len()))
    }

    /// Parses the next bytes. Returns the number of them that belong to the head and to empty lines before it, and the
    /// result. If `check`, the first line is validated as soon as it ends, instead of with the complete head.
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

    /// Returns whether the kept bytes, followed by `end`, are a valid first line.
    fn line_is_valid(&self, kind: Kind, end: &[u8]) -> bool {
        let line = [&self.kept, end].concat();
        match kind {
            Kind::Request => head::is_request_line(&line),
            Kind::Response => head::is_status_line(&line),
        }
    }
}

/// Returns whether the first bytes of a head, as far as they have come, are those of a message of this kind.
pub(super) fn plausible(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Request => {
            let method = bytes.iter().take(PROBE).position(|&byte| byte == b' ').unwrap_or(bytes.len());
            (1..PROBE).contains(&method) && bytes[..method].iter().all(|&byte| is_token(byte))
        }
        Kind::Response => bytes.iter().zip(b"HTTP/1.").all(|(byte, wanted)| byte == wanted),
    }
}

/// Returns whether a byte may be part of a token such as a method (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A position in a body.
#[derive(Debug)]
pub(super) struct Body {
    rest: Rest,
    /// True until a byte of the body has passed.
    pub(super) untouched: bool,
    /// True if the framing is a guess, because the request of this response is unknown (after a HEAD, there is no
    /// body). Such a body also ends at a piece that starts a message.
    pub(super) unsure: bool,
}

/// The rest of a body, by the way in which its end is found.
#[derive(Debug)]
enum Rest {
    /// This number of bytes is left.
    Length(u64),
    /// The last chunk ends the body.
    Chunked(Chunked),
    /// The end of the connection ends the body.
    Close,
}

impl Body {
    /// Returns the position before a body; `None` if the body is empty.
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

    /// Skips `length` bytes, at most [`Self::skippable`]. Returns true if the body ends with them.
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

    /// Parses the next bytes. Returns the number of them that belong to the body, and true if the body ends with them.
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
