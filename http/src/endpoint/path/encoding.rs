//! Percent-encoding.

use super::segment::MAX_SEGMENT;

/// A segment's bytes with the percent-encoding decoded once.
pub(super) struct Decoded {
    /// The decoded bytes, followed by unused ones.
    bytes: [u8; MAX_SEGMENT],
    /// Number of decoded bytes.
    length: usize,
}

impl Decoded {
    /// Decodes a segment. A `%` without two hexadecimal digits stays. Returns `None` if the decoded segment is longer
    /// than [`MAX_SEGMENT`].
    pub(super) fn new(raw: &[u8]) -> Option<Self> {
        let mut decoded = Self { bytes: [0; MAX_SEGMENT], length: 0 };
        let mut rest = raw;
        while let [first, after @ ..] = rest {
            let (byte, after) = match rest {
                [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => (high << 4 | low, after),
                    _ => (b'%', &rest[1..]),
                },
                _ => (*first, after),
            };
            *decoded.bytes.get_mut(decoded.length)? = byte;
            decoded.length += 1;
            rest = after;
        }
        Some(decoded)
    }

    /// Returns the decoded bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Returns the value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Appends decoded bytes. Those that a path must not contain as they are ([`PLAIN`]) are percent-encoded.
pub(super) fn push(text: &[u8], out: &mut String) {
    push_plain(text, |byte| PLAIN[usize::from(*byte)], out);
}

/// Appends bytes as they were sent. Those that are not printable ASCII are percent-encoded.
pub(super) fn push_raw(text: &[u8], out: &mut String) {
    push_plain(text, u8::is_ascii_graphic, out);
}

/// Appends bytes. Those that are not plain are percent-encoded; `is_plain` must be false for bytes that are not ASCII.
fn push_plain(text: &[u8], is_plain: impl Fn(&u8) -> bool, out: &mut String) {
    for chunk in text.chunk_by(|one, two| is_plain(one) && is_plain(two)) {
        match std::str::from_utf8(chunk) {
            Ok(plain) if chunk.first().is_some_and(&is_plain) => out.push_str(plain),
            _ => chunk.iter().for_each(|byte| push_encoded(*byte, out)),
        }
    }
}

/// True for the bytes that a path may contain as they are, by their value: RFC 3986's `pchar` without `;`, which begins
/// parameters.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        plain[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
            || matches!(byte, b'*' | b'+' | b',' | b'=' | b':' | b'@');
        byte += 1;
    }
    plain
};

/// Appends a byte percent-encoded.
fn push_encoded(byte: u8, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 0xf)]);
}
