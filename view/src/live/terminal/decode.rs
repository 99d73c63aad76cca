//! Decodes the bytes of a terminal into keys: characters, and the escape sequences of the keys that the screen uses.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Maximum length of an escape sequence, in bytes. Longer sequences are not keys.
const MAX: usize = 32;

/// The bytes of a key that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes a byte and returns the key that it completes, if any.
    pub(super) fn push(&mut self, byte: u8) -> Option<KeyEvent> {
        // A second Escape shows that the first one was the Escape key.
        if byte == 0x1b && self.bytes == [0x1b] {
            return Some(plain(KeyCode::Esc));
        }
        if byte == 0x1b || self.bytes.len() >= MAX {
            self.bytes.clear();
        }
        self.bytes.push(byte);
        match parse(&self.bytes) {
            Parsed::Part => None,
            Parsed::Key(key) => {
                self.bytes.clear();
                Some(key)
            }
            Parsed::Nothing => {
                self.bytes.clear();
                None
            }
        }
    }

    /// Returns true if the bytes so far are the beginning of a key.
    pub(super) fn is_waiting(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Ends the sequence, because no more bytes came: a lone Escape byte is the Escape key.
    pub(super) fn finish(&mut self) -> Option<KeyEvent> {
        let is_escape = self.bytes == [0x1b];
        self.bytes.clear();
        is_escape.then(|| plain(KeyCode::Esc))
    }
}

enum Parsed {
    Part,
    Key(KeyEvent),
    /// A complete sequence of an unknown key.
    Nothing,
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn parse(bytes: &[u8]) -> Parsed {
    match bytes {
        [] | [0x1b] | [0x1b, b'[' | b'O'] => Parsed::Part,
        // The Linux console puts one more bracket into the sequences of its function keys.
        [0x1b, b'[', b'['] => Parsed::Part,
        [0x1b, b'[', b'[', _] => Parsed::Nothing,
        [0x1b, b'O', end] => named(*end, &[]),
        [0x1b, b'[', parameters @ .., end @ 0x40..=0x7e] => named(*end, parameters),
        [0x1b, b'[', ..] => Parsed::Part,
        [0x1b, rest @ ..] => match parse(rest) {
            Parsed::Key(key) => Parsed::Key(KeyEvent::new(key.code, key.modifiers | KeyModifiers::ALT)),
            other => other,
        },
        [b'\r' | b'\n'] => Parsed::Key(plain(KeyCode::Enter)),
        [b'\t'] => Parsed::Key(plain(KeyCode::Tab)),
        [0x08 | 0x7f] => Parsed::Key(plain(KeyCode::Backspace)),
        [control @ 1..=26] => {
            Parsed::Key(KeyEvent::new(KeyCode::Char(char::from(control - 1 + b'a')), KeyModifiers::CONTROL))
        }
        [0..=0x1f] => Parsed::Nothing,
        text => match std::str::from_utf8(text) {
            Ok(text) => text.chars().next().map_or(Parsed::Nothing, |c| Parsed::Key(plain(KeyCode::Char(c)))),
            Err(error) if error.error_len().is_none() => Parsed::Part,
            Err(_) => Parsed::Nothing,
        },
    }
}

/// Returns the key of an escape sequence from its last byte and its parameters.
fn named(end: u8, parameters: &[u8]) -> Parsed {
    let first = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    let code = match (end, first) {
        (b'A', _) => KeyCode::Up,
        (b'B', _) => KeyCode::Down,
        (b'C', _) => KeyCode::Right,
        (b'D', _) => KeyCode::Left,
        (b'H', _) | (b'~', b"1" | b"7") => KeyCode::Home,
        (b'F', _) | (b'~', b"4" | b"8") => KeyCode::End,
        (b'Z', _) => KeyCode::BackTab,
        (b'M', b"") => KeyCode::Enter,
        (b'~', b"3") => KeyCode::Delete,
        (b'~', b"5") => KeyCode::PageUp,
        (b'~', b"6") => KeyCode::PageDown,
        _ => return Parsed::Nothing,
    };
    Parsed::Key(plain(code))
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<KeyEvent> {
        let mut decoder = Decoder::default();
        let mut keys: Vec<KeyEvent> = bytes.iter().filter_map(|byte| decoder.push(*byte)).collect();
        keys.extend(decoder.finish());
        keys
    }

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        keys(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn keys_of_several_terminals_are_known() {
        assert_eq!(
            codes(b"\x1b[A\x1bOB\x1b[5~\x1b[6;5~"),
            [KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown]
        );
        assert_eq!(
            codes(b"\x1b[1~\x1b[4~\x1b[H\x1bOF"),
            [KeyCode::Home, KeyCode::End, KeyCode::Home, KeyCode::End]
        );
        assert_eq!(codes("qé日".as_bytes()), ['q', 'é', '日'].map(KeyCode::Char));
        assert_eq!(
            codes(b"\r\t\x7f\x1b[Z"),
            [KeyCode::Enter, KeyCode::Tab, KeyCode::Backspace, KeyCode::BackTab]
        );
        assert_eq!(keys(b"\x03"), [KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)]);
        assert_eq!(keys(b"\x1bq"), [KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT)]);
    }

    #[test]
    fn escape_alone_is_a_key_and_unknown_sequences_are_none() {
        assert_eq!(codes(b"\x1b"), [KeyCode::Esc]);
        assert_eq!(codes(b"\x1b\x1b"), [KeyCode::Esc, KeyCode::Esc]);
        assert_eq!(codes(b"\x1b[[Aq"), [KeyCode::Char('q')]);
        assert_eq!(codes(b"\x1b[<35;12;9Mx\x1b[200~y"), [KeyCode::Char('x'), KeyCode::Char('y')]);
        assert_eq!(codes(b"\xff\xfeq"), [KeyCode::Char('q')]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            for byte in bytes {
                decoder.push(byte);
                prop_assert!(decoder.bytes.len() <= MAX);
            }
            decoder.finish();
            prop_assert!(!decoder.is_waiting());
        }
    }
}
