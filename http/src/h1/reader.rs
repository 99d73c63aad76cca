//! One way's position: in a head, in a body, or nowhere.

use std::borrow::Cow;

use memchr::memchr_iter;

use super::chunked::Chunked;
use super::fields::Framing;
use super::{MAX_HEAD, Malformed, head};

/// Number of a head's first bytes by which it is told from other bytes.
const PROBE: usize = 64;

/// Length of an unfinished request line that has all that is kept of one: a method, a host and a path.
const CUT_LINE: usize = 4_096;

/// Kind of the messages of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// Position of a way.
#[derive(Debug)]
pub(super) enum Reader {
    /// Between messages, or in a head.
    Head(Head),
    /// In a body.
    Body(Body),
    /// In a request head that was answered before its end: until a piece starts a message, bytes belong to the request.
    Cut,
    /// At an unknown place, until a piece starts a message.
    Lost,
    /// Behind the last message: nothing is parsed any more.
    Off,
}

impl Reader {
    /// How many of the next bytes may be missing.
    pub(super) fn skippable(&self) -> u64 {
        match self {
            Self::Head(_) | Self::Cut => 0,
            Self::Body(body) => body.skippable(),
            Self::Lost | Self::Off => u64::MAX,
        }
    }

    /// Tells whether a message begins next, beyond doubt.
    pub(super) fn pauses(&self) -> bool {
        matches!(self, Self::Head(head) if head.is_empty() && !head.unsure)
    }

    /// Bytes of memory in use beside the reader's own size.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Head(head) => head.kept.capacity(),
            _ => 0,
        }
    }
}

/// Position between messages or in a head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The head's bytes so far, if it came in several pieces.
    kept: Vec<u8>,
    /// The last bytes, as far as they matter to the end of the head.
    ending: Ending,
    /// Time of the first byte.
    pub(super) began: u64,
    /// The parser had lost its place: whether a message begins here is not sure.
    pub(super) unsure: bool,
    /// The first line has ended.
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
    /// The ending with further bytes of the same line.
    fn and(self, bytes: &[u8]) -> Self {
        match (self, bytes) {
            (ending, []) => ending,
            (Self::LineFeed, b"\r") => Self::LineFeedReturn,
            _ => Self::Line,
        }
    }
}

/// Result of [`Head::take`].
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The head goes on.
    More,
    /// The bytes are no head.
    Invalid,
    /// The head is longer than [`MAX_HEAD`]; these are its first bytes.
    TooLarge(Vec<u8>),
    /// The head is complete.
    Complete(Cow<'a, [u8]>),
}

impl Head {
    /// The position at a place where a message may begin.
    pub(super) fn unsure() -> Self {
        Self { unsure: true, ..Self::default() }
    }

    /// Tells whether no byte of a head has come.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The bytes so far, completed to a head, and their number: if they have all that is kept of a request line.
    pub(super) fn cut(&self) -> Option<(Vec<u8>, usize)> {
        if self.unsure || !(self.line_ended || self.kept.len() >= CUT_LINE) {
            return None;
        }
        let end: &[u8] = if self.line_ended { b"\r\n\r\n" } else { b" HTTP/1.1\r\n\r\n" };
        Some(([&self.kept, end].concat(), self.kept.len()))
    }

    /// Takes the next bytes. Returns how many of them belong to the head, and empty lines before it, and what they make
    /// of it. `check` asks for the first line to be checked as soon as it ends.
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

/// Tells whether bytes may begin a head.
pub(super) fn plausible(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Request => {
            let method = bytes.iter().take(PROBE).position(|&byte| byte == b' ').unwrap_or(bytes.len());
            (1..PROBE).contains(&method) && bytes[..method].iter().all(|&byte| is_token(byte))
        }
        Kind::Response => bytes.iter().zip(b"HTTP/1.").all(|(byte, wanted)| byte == wanted),
    }
}

/// Tells whether a byte may stand in a method (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Position in a body.
#[derive(Debug)]
pub(super) struct Body {
    rest: Rest,
    /// No byte of the body has passed.
    pub(super) untouched: bool,
    /// The framing is a guess, since the request that it depends on is unknown: a piece that starts a message ends it.
    pub(super) unsure: bool,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunked),
    Close,
}

impl Body {
    /// The beginning of a body; none if it is empty.
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

    /// Passes over at most as many bytes as may be missing. Returns whether the body ends with them.
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

    /// Takes the next bytes. Returns how many of them belong to the body, and whether the body ends with them.
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
