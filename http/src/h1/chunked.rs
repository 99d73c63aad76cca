//! The chunked transfer coding (RFC 9112, section 7.1), parsed only to find the end of a body.

use super::Malformed;

/// Position within a chunked body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunked(State);

#[derive(Debug, Clone, Copy)]
enum State {
    /// In the hexadecimal size of a chunk, after `digits` digits with this value.
    Size { value: u64, digits: u32 },
    /// After the size of a chunk (`value`), before the end of its line.
    Extension { value: u64 },
    /// In the data of a chunk, with this number of bytes left.
    Data(u64),
    /// After the data of a chunk, before the end of the line.
    DataEnd,
    /// In the trailer section; `blank` if the line has no byte yet.
    Trailer { blank: bool },
}

const BEFORE_SIZE: State = State::Size { value: 0, digits: 0 };

impl Chunked {
    /// Returns the position before the first chunk.
    pub(super) fn new() -> Self {
        Self(BEFORE_SIZE)
    }

    /// Returns the number of next bytes that are data of a chunk.
    pub(super) fn skippable(&self) -> u64 {
        match self.0 {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// Skips `length` bytes, at most [`Self::skippable`].
    pub(super) fn skip(&mut self, length: u64) {
        if let State::Data(left) = self.0 {
            self.0 = after_data(left.saturating_sub(length));
        }
    }

    /// Parses the next bytes. Returns the number of them that belong to the body, and true if the body ends with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            if let State::Data(left) = self.0 {
                let length = left.min((bytes.len() - used) as u64);
                self.skip(length);
                used += usize::try_from(length).unwrap_or(usize::MAX);
                continue;
            }
            used += 1;
            self.0 = match (self.0, byte) {
                (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                    let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                    let value = value.checked_mul(16).ok_or(Malformed)? | u64::from(digit);
                    State::Size { value, digits: digits.saturating_add(1) }
                }
                (State::Size { digits: 0, .. }, _) => return Err(Malformed),
                (State::Size { value, .. } | State::Extension { value }, b'\n') => after_size(value),
                (State::Size { value, .. }, b'\r' | b';' | b' ' | b'\t') => State::Extension { value },
                (State::Size { .. }, _) => return Err(Malformed),
                (State::Extension { value }, _) => State::Extension { value },
                (State::DataEnd, b'\r') => State::DataEnd,
                (State::DataEnd, b'\n') => BEFORE_SIZE,
                (State::DataEnd | State::Data(_), _) => return Err(Malformed),
                (State::Trailer { blank: true }, b'\n') => return Ok((used, true)),
                (State::Trailer { .. }, b'\n') => State::Trailer { blank: true },
                (State::Trailer { blank }, b'\r') => State::Trailer { blank },
                (State::Trailer { .. }, _) => State::Trailer { blank: false },
            };
        }
        Ok((used, false))
    }
}

fn after_size(value: u64) -> State {
    if value == 0 { State::Trailer { blank: true } } else { State::Data(value) }
}

fn after_data(left: u64) -> State {
    if left == 0 { State::DataEnd } else { State::Data(left) }
}
