//! Detection of a connection's protocol from the first bytes of a direction.

use crate::h1::is_token;

/// The first bytes that an HTTP/2 client sends (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of an HTTP/2 frame's header in bytes.
const FRAME_HEADER: usize = 9;
/// Maximum payload in bytes of a frame by which HTTP/2 is recognized in the middle of a connection.
const MAX_FRAME: u32 = 1 << 20;
/// Maximum length of a method by which HTTP/1 is recognized.
const MAX_METHOD: usize = 32;

/// Number of first bytes that [`detect`] reads.
pub(super) const PROBE: usize = 64;

/// A verdict on the first bytes of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More bytes are needed.
    More,
    /// A request of HTTP/1.
    Request,
    /// A response of HTTP/1.
    Response,
    /// The preface that an HTTP/2 client sends first.
    Preface,
    /// A SETTINGS frame, which an HTTP/2 server sends first. Other protocols can begin with the same bytes, so the
    /// other direction decides.
    Settings,
    /// A frame of HTTP/2, on a connection that is older than the trace.
    Frame,
    /// None of these.
    Other,
}

/// Returns whether bytes look like the beginning of an HTTP/1 message or of an HTTP/2 frame, for callers that set
/// [`crate::Piece::starts`] themselves.
pub fn begins_message(bytes: &[u8]) -> bool {
    !matches!(
        detect(&bytes[..bytes.len().min(PROBE)], true),
        Verdict::More | Verdict::Settings | Verdict::Other
    )
}

/// Judges the first bytes of a direction or, if `joined`, those of a piece that starts a message on a connection that
/// is older than the trace.
pub(super) fn detect(bytes: &[u8], joined: bool) -> Verdict {
    let blank = bytes.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
    let text = &bytes[blank..];
    if text.is_empty() {
        return if blank < PROBE { Verdict::More } else { Verdict::Other };
    }
    if bytes.starts_with(PREFACE) {
        return Verdict::Preface;
    }
    if joined && is_frame(bytes) {
        return Verdict::Frame;
    }
    if !joined && is_settings(bytes) {
        return if bytes.len() < FRAME_HEADER { Verdict::More } else { Verdict::Settings };
    }
    if text.starts_with(b"HTTP/1.") {
        return Verdict::Response;
    }
    if PREFACE.starts_with(bytes) || b"HTTP/1.".starts_with(text) {
        return Verdict::More;
    }
    request(text)
}

/// Recognizes an HTTP/1 request by a method, a space, and the first byte of a target.
fn request(text: &[u8]) -> Verdict {
    let method = text.iter().take(MAX_METHOD + 1).take_while(|&&byte| is_token(byte)).count();
    if method == 0 || method > MAX_METHOD {
        return Verdict::Other;
    }
    let rest = &text[method..];
    let Some(&end) = rest.first() else { return Verdict::More };
    if end != b' ' {
        return Verdict::Other;
    }
    let connect = text.starts_with(b"CONNECT ");
    match rest.iter().find(|&&byte| byte != b' ') {
        None if text.len() >= PROBE / 2 => Verdict::Other,
        None => Verdict::More,
        Some(b'/' | b'*') => Verdict::Request,
        Some(byte) if byte.is_ascii_alphabetic() || connect && byte.is_ascii_graphic() => Verdict::Request,
        Some(_) => Verdict::Other,
    }
}

/// Returns whether the bytes, as far as they have come, are the header of a SETTINGS frame as a server sends it first:
/// at most 16,383 bytes, no flags, stream 0.
fn is_settings(bytes: &[u8]) -> bool {
    let at = |index: usize, valid: fn(u8) -> bool| bytes.get(index).is_none_or(|&byte| valid(byte));
    at(0, |byte| byte == 0)
        && at(1, |byte| byte < 0x40)
        && bytes.get(1..3).is_none_or(|length| (u32::from(length[0]) * 256 + u32::from(length[1])) % 6 == 0)
        && at(3, |byte| byte == 4)
        && (4..FRAME_HEADER).all(|index| at(index, |byte| byte == 0))
}

/// Returns whether bytes begin with a frame header that HTTP/2 allows (RFC 9113, section 6).
fn is_frame(bytes: &[u8]) -> bool {
    let Some(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]) = bytes.first_chunk::<FRAME_HEADER>() else {
        return false;
    };
    let length = u32::from_be_bytes([0, l0, l1, l2]);
    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
    // Whether the length is valid, the flags that the frame may have, and whether it belongs to a stream (`None`: to a
    // stream or to the connection).
    let (valid_length, valid_flags, of_stream) = match kind {
        0 => (length <= MAX_FRAME, 0x09, Some(true)),
        1 => (length <= MAX_FRAME, 0x2d, Some(true)),
        2 => (length == 5, 0, Some(true)),
        3 => (length == 4, 0, Some(true)),
        4 => (length.is_multiple_of(6) && length <= MAX_FRAME, 0x01, Some(false)),
        5 => (length <= MAX_FRAME, 0x0c, Some(true)),
        6 => (length == 8, 0x01, Some(false)),
        7 => ((8..=MAX_FRAME).contains(&length), 0, Some(false)),
        8 => (length == 4, 0, None),
        9 => (length <= MAX_FRAME, 0x04, Some(true)),
        _ => return false,
    };
    valid_length
        && flags & !valid_flags == 0
        && stream >> 31 == 0
        && of_stream.is_none_or(|of_stream| of_stream == (stream != 0))
}
