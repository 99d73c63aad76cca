//! Percent-encoding.

use super::segment::MAX_SEGMENT;

/// A segment's bytes with the percent-encoding decoded once.
pub(super) struct Decoded {
    /// The bytes, from the beginning.
    bytes: [u8; MAX_SEGMENT],
    /// Number of bytes.
    length: usize,
}

impl Decoded {
    /// Decodes a segment. A `%` without two hexadecimal digits stays itself. Returns nothing if the segment is too long.
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

    /// The decoded bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Appends a decoded byte: as it is if a path may hold it, else percent-encoded.
pub(super) fn push(byte: u8, out: &mut String) {
    let plain = byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        );
    if plain { out.push(char::from(byte)) } else { push_encoded(byte, out) }
}

/// Appends a byte as it was sent: percent-encoded only if it is not printable ASCII.
pub(super) fn push_raw(byte: u8, out: &mut String) {
    if byte.is_ascii_graphic() { out.push(char::from(byte)) } else { push_encoded(byte, out) }
}

/// Appends a byte percent-encoded.
fn push_encoded(byte: u8, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 0xf)]);
}
