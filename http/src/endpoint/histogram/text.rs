//! The compact text form of a histogram, as a string field of a report has it.
//!
//! The text is a sequence of numbers. The first is the maximum in µs. Then each bucket in use has up to two numbers:
//! the number of empty buckets between it and the previous bucket in use (a gap, left out if there are none), and its
//! count. A count is written as an even number (twice the count), a gap as an odd one (twice the number of buckets plus
//! one). A number is written in the alphabet of base64url, five bits a character, the lowest bits first; the sixth bit
//! of a character means that more characters follow. An empty histogram is the empty text. A histogram over four orders
//! of magnitude with thousands of requests takes about 200 characters, and none takes more than [`MAX_TEXT`].

use std::str::FromStr;

use thiserror::Error;

use super::{BUCKETS, Histogram, MAX_COUNT, index_of};

/// Upper bound of the length of a text in bytes: a count of [`MAX_COUNT`] takes eleven characters, and there are fewer
/// than 512 buckets.
pub const MAX_TEXT: usize = 6 * 1024;

/// The characters, in the order of their values.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Number of bits of a number in one character.
const BITS: u32 = 5;

/// Bit of a character which means that more characters of the number follow.
const MORE: u64 = 1 << BITS;

/// The reason why a text is not a histogram.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TextError {
    /// The text is longer than that of any histogram.
    #[error("histogram text has {0} bytes, more than {MAX_TEXT}")]
    TooLong(usize),
    /// A character that is not of the alphabet.
    #[error("histogram text has an invalid character at byte {0}")]
    Character(usize),
    /// A number that does not fit into 64 bits.
    #[error("histogram text has a number above 64 bits at byte {0}")]
    Number(usize),
    /// The text ends within a number or after a gap.
    #[error("histogram text ends too early")]
    Truncated,
    /// A count of zero, a gap of zero, or two gaps in a row.
    #[error("histogram text has a count or gap of zero, or two gaps in a row, before byte {0}")]
    Empty(usize),
    /// A bucket beyond the last one.
    #[error("histogram text has a bucket beyond the last one before byte {0}")]
    Bucket(usize),
    /// More durations than a histogram can count.
    #[error("histogram text has more than {MAX_COUNT} durations")]
    Count,
    /// A maximum that is not in the last bucket in use.
    #[error("histogram text has a maximum of {0} µs that is not in its last bucket")]
    Maximum(u64),
}

impl Histogram {
    /// Appends the compact text form to `out`.
    pub fn write_text(&self, out: &mut String) {
        let mut next = 0;
        for (index, count) in self.buckets() {
            if next == 0 {
                write_number(self.max, out);
            }
            if index > next {
                write_number((index - next) as u64 * 2 + 1, out);
            }
            write_number(count * 2, out);
            next = index + 1;
        }
    }

    /// Returns the compact text form.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text);
        text
    }
}

impl FromStr for Histogram {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_TEXT {
            return Err(TextError::TooLong(text.len()));
        }
        let mut histogram = Self::default();
        let mut numbers = Numbers { text: text.as_bytes(), at: 0 };
        let Some(max) = numbers.next()? else {
            return Ok(histogram);
        };
        let (mut index, mut gap, mut count) = (0, false, 0);
        while let Some(number) = numbers.next()? {
            let value = number >> 1;
            let is_gap = number & 1 == 1;
            if value == 0 || is_gap && gap {
                return Err(TextError::Empty(numbers.at));
            }
            gap = is_gap;
            if is_gap {
                index = usize::try_from(value).unwrap_or(usize::MAX).saturating_add(index);
            } else if index >= BUCKETS.len() {
                return Err(TextError::Bucket(numbers.at));
            } else if value > MAX_COUNT - count {
                return Err(TextError::Count);
            } else {
                histogram.add(index, value);
                count += value;
                index += 1;
            }
        }
        if gap || count == 0 {
            return Err(TextError::Truncated);
        }
        if index_of(max) + 1 != index {
            return Err(TextError::Maximum(max));
        }
        histogram.max = max;
        Ok(histogram)
    }
}

/// Appends a number to `out`.
fn write_number(mut number: u64, out: &mut String) {
    loop {
        let more = if number >= MORE { MORE } else { 0 };
        out.push(char::from(ALPHABET[((number % MORE) | more) as usize]));
        number >>= BITS;
        if more == 0 {
            return;
        }
    }
}

/// An iterator over the numbers of a text.
struct Numbers<'a> {
    /// The text.
    text: &'a [u8],
    /// Index of the next number's first byte.
    at: usize,
}

impl Numbers<'_> {
    /// Returns the next number, or `None` at the end of the text.
    fn next(&mut self) -> Result<Option<u64>, TextError> {
        let begin = self.at;
        let mut number = 0;
        for shift in (0..).step_by(BITS as usize) {
            let Some(byte) = self.text.get(self.at) else {
                return if self.at == begin { Ok(None) } else { Err(TextError::Truncated) };
            };
            let digit = value_of(*byte).ok_or(TextError::Character(self.at))?;
            self.at += 1;
            let bits = digit & (MORE - 1);
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
            number |= shifted.ok_or(TextError::Number(begin))?;
            if digit & MORE == 0 {
                break;
            }
        }
        Ok(Some(number))
    }
}

/// Returns the value of a character of [`ALPHABET`].
fn value_of(byte: u8) -> Option<u64> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u64::from(value))
}
