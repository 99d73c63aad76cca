//! The header fields that are evaluated: `Content-Length` and `Transfer-Encoding`, which frame a message, `Host` and
//! `Upgrade`.

use super::Malformed;

/// The rule that determines the end of a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After a number of bytes.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
    /// By the end of the connection (only for responses).
    Close,
}

/// The `Content-Length` of a message, from all fields of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Length {
    #[default]
    Absent,
    Is(u64),
    Invalid,
}

/// The last transfer coding of a message other than `identity`; only a final `chunked` frames the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    Other,
}

/// The values of the evaluated fields of one head.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// Value of the first `Host` field.
    pub(super) host: Option<&'a [u8]>,
    /// True if `Upgrade` names HTTP/2 (`h2c`).
    pub(super) h2c: bool,
    length: Length,
    coding: Coding,
}

impl<'a> Fields<'a> {
    /// Evaluates one field of the head.
    pub(super) fn add(&mut self, name: &str, value: &'a [u8]) {
        if name.eq_ignore_ascii_case("content-length") {
            for item in items(value) {
                self.add_length(item);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            for item in items(value).filter(|item| !item.is_empty()) {
                self.add_coding(item);
            }
        } else if name.eq_ignore_ascii_case("host") {
            self.host.get_or_insert(value);
        } else if name.eq_ignore_ascii_case("upgrade") {
            self.h2c |= items(value).any(|item| item.eq_ignore_ascii_case(b"h2c"));
        }
    }

    fn add_length(&mut self, item: &[u8]) {
        let digits = !item.is_empty() && item.iter().all(u8::is_ascii_digit);
        let value = str::from_utf8(item).ok().filter(|_| digits).and_then(|item| item.parse().ok());
        self.length = match (self.length, value) {
            (Length::Absent, Some(value)) => Length::Is(value),
            (Length::Is(known), Some(value)) if known == value => Length::Is(known),
            _ => Length::Invalid,
        };
    }

    fn add_coding(&mut self, item: &[u8]) {
        let name = item.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"chunked") {
            self.coding = Coding::Chunked;
        } else if !name.eq_ignore_ascii_case(b"identity") {
            self.coding = Coding::Other;
        }
    }

    /// Returns the framing of a request (RFC 9112, section 6.3).
    pub(super) fn of_request(&self) -> Result<Framing, Malformed> {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Ok(Framing::Chunked),
            (Coding::Other, _) | (_, Length::Invalid) => Err(Malformed),
            (_, Length::Is(length)) => Ok(Framing::Length(length)),
            (_, Length::Absent) => Ok(Framing::Length(0)),
        }
    }

    /// Returns the framing of a response that can have a body (RFC 9112, section 6.3): the caller excludes responses to
    /// HEAD and the codes 1xx, 204 and 304.
    pub(super) fn of_response(&self) -> Result<Framing, Malformed> {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Ok(Framing::Chunked),
            (Coding::Other, _) | (_, Length::Absent) => Ok(Framing::Close),
            (_, Length::Invalid) => Err(Malformed),
            (_, Length::Is(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// Splits a comma-separated list into its items, without the white space around them.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}
