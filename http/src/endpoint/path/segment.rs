//! One segment of a path.

use super::encoding::{Decoded, push, push_raw};
use super::value::{
    Found, MIN_NUMBER, MIN_SECRET_HASH, Placeholder, first_value, is_hexadecimal, placeholder_at, whole,
};
use super::{Level, random, secret, shape};

/// Maximum length in bytes of a decoded segment. A longer one is data rather than a name, and becomes `{token}`.
pub(super) const MAX_SEGMENT: usize = 128;

/// Length in bytes below which a text of letters and separators alone is never replaced.
const MIN_FOLDING: usize = random::MIN_SECRET;

/// Writes one segment, with placeholders.
pub(super) struct Segment<'a> {
    /// The parts that are replaced.
    level: Level,
    /// The text that the segment is appended to.
    out: &'a mut String,
    /// True if anything was replaced.
    replaced: bool,
}

impl<'a> Segment<'a> {
    /// Creates a writer that appends to `out`.
    pub(super) fn new(level: Level, out: &'a mut String) -> Self {
        Self { level, out, replaced: false }
    }

    /// Appends the segment `raw`, as it was sent, without its parameters and with placeholders.
    pub(super) fn write(mut self, raw: &str) {
        let parameters = raw.bytes().position(|byte| byte == b';').unwrap_or(raw.len());
        let raw = &raw[..parameters];
        if is_name_alone(raw.as_bytes()) {
            self.out.push_str(raw);
            return;
        }
        let begin = self.out.len();
        if raw.len() <= MAX_SEGMENT && !raw.as_bytes().contains(&b'%') {
            self.decoded(raw.as_bytes());
        } else if let Some(decoded) = Decoded::new(raw.as_bytes()) {
            self.decoded(decoded.bytes());
        } else {
            self.replace(Placeholder::Token);
        }
        if decoded_length(&self.out[begin..]) > MAX_SEGMENT {
            self.out.truncate(begin);
            self.replace(Placeholder::Token);
        }
        if self.level == Level::Redact && !self.replaced {
            self.out.truncate(begin);
            push_raw(raw.as_bytes(), self.out);
        }
    }

    /// Appends a segment whose percent-encoding is decoded.
    fn decoded(&mut self, text: &[u8]) {
        match whole(text) {
            Some(placeholder) if self.level == Level::Fold || placeholder == Placeholder::Token => {
                self.replace(placeholder);
            }
            // A value such as an e-mail address stays if the level is [`Level::Redact`]. Its parts are examined
            // nevertheless, since one of them, such as the user, may be a secret.
            _ => self.pieces(text),
        }
    }

    /// Appends a segment that is not replaced as a whole: runs of name characters (see [`is_name`]), and the characters
    /// between them.
    fn pieces(&mut self, text: &[u8]) {
        let mut at = shape::version(text).unwrap_or_default();
        self.keep(&text[..at]);
        if at == 0
            && let Some(digits) = numeric_stem(text)
        {
            self.emit(Placeholder::Id, &text[..digits]);
            at = digits;
        }
        while let Some(byte) = text.get(at) {
            if *byte == b'{'
                && let Some(name) = placeholder_at(&text[at..])
            {
                self.out.push_str(name);
                at += name.len();
            } else if *byte == b'=' && secret::is_named(&text[..at]) {
                self.keep(b"=");
                self.replace(Placeholder::Token);
                return;
            } else if is_name(*byte) {
                let length = text[at..].iter().take_while(|byte| is_name(**byte)).count();
                if let Some(begin) = credential(&text[at..], length) {
                    self.run(&text[at..at + begin]);
                    self.replace(Placeholder::Token);
                    return;
                }
                self.run(&text[at..at + length]);
                at += length;
            } else {
                self.keep(&[*byte]);
                at += 1;
            }
        }
    }

    /// Appends a run of name characters. UUIDs are replaced first, because they look random.
    fn run(&mut self, mut text: &[u8]) {
        if text.len() < MIN_NUMBER || text.len() < MIN_FOLDING && !text.iter().any(u8::is_ascii_digit) {
            self.keep(text);
            return;
        }
        while let Some(uuid) = (0..text.len().saturating_sub(shape::UUID - 1)).find(|at| {
            (*at == 0 || !text[*at - 1].is_ascii_alphanumeric()) && shape::starts_with_uuid(&text[*at..])
        }) {
            self.words(&text[..uuid]);
            self.emit(Placeholder::Uuid, &text[uuid..uuid + shape::UUID]);
            text = &text[uuid + shape::UUID..];
        }
        self.words(text);
    }

    /// Appends words (letters and digits) with separators between them. A word that is replaced splits the text: the
    /// parts before and after it are examined on their own, as they will be when the folded path is folded once more,
    /// which must change nothing.
    fn words(&mut self, mut text: &[u8]) {
        while !self.token(text) {
            let Some(Found { from, to, placeholder }) = first_value(text) else {
                self.keep(text);
                return;
            };
            if !self.token(&text[..from]) {
                self.keep(&text[..from]);
            }
            self.emit(placeholder, &text[from..to]);
            text = &text[to..];
        }
    }

    /// Appends `{token}` for words that together look random, and keeps the separators around them. Returns false, and
    /// appends nothing, if the words do not look random.
    fn token(&mut self, text: &[u8]) -> bool {
        let is_separator = |byte: &&u8| !byte.is_ascii_alphanumeric();
        let before = text.iter().take_while(is_separator).count();
        let inner = &text[before..];
        let after = inner.iter().rev().take_while(is_separator).count();
        let (inner, after) = inner.split_at(inner.len() - after);
        // Hashes have a placeholder of their own, which [`Self::words`] appends.
        let found = !is_hexadecimal(inner) && random::is_secret(inner);
        if found {
            self.keep(&text[..before + leading_words(inner)]);
            self.replace(Placeholder::Token);
            self.keep(after);
        }
        found
    }

    /// Appends the placeholder of a value, or the value itself if the level keeps it.
    fn emit(&mut self, placeholder: Placeholder, value: &[u8]) {
        let secret = match placeholder {
            Placeholder::Token => true,
            Placeholder::Hash => value.len() >= MIN_SECRET_HASH,
            _ => false,
        };
        if secret || self.level == Level::Fold { self.replace(placeholder) } else { self.keep(value) }
    }

    /// Appends a placeholder.
    fn replace(&mut self, placeholder: Placeholder) {
        self.replaced = true;
        self.out.push_str(placeholder.text());
    }

    /// Appends decoded bytes without a placeholder.
    fn keep(&mut self, text: &[u8]) {
        push(text, self.out);
    }
}

/// Returns whether certainly nothing in a segment can be replaced. This spares most segments the other rules: they have
/// only letters and separators and are shorter than [`MIN_FOLDING`], or they have at most four letters and digits and
/// begin with a letter, such as `v1`.
fn is_name_alone(text: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.');
    if text.len() < MIN_NUMBER {
        text.first().is_none_or(u8::is_ascii_alphabetic) && text.iter().all(u8::is_ascii_alphanumeric)
    } else {
        text.len() < MIN_FOLDING && text.iter().all(is_letter)
    }
}

/// Returns the length in bytes of a percent-encoded text after decoding.
fn decoded_length(text: &str) -> usize {
    text.len() - 2 * text.bytes().filter(|byte| *byte == b'%').count()
}

/// Returns the length of the words at the beginning of a text that looks random, such as `nginx-` of a pod's name or
/// `cus_` of an identifier. Returns 0 if the rest would not look random without them.
fn leading_words(text: &[u8]) -> usize {
    let words =
        text.iter().take_while(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_')).count();
    let words =
        text[..words].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |last| last + 1);
    let (before, rest) = text.split_at(words);
    let is_random = words > 0 && (random::is_secret(rest) || random::is_id(rest));
    if is_random && !random::is_secret(before) && first_value(before).is_none() { words } else { 0 }
}

/// Returns the number of digits at the beginning of a segment, if they are the name of a file (`1343.png`,
/// `1343@2x.png`).
fn numeric_stem(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0 && matches!(text.get(digits), Some(b'.' | b'@'))).then_some(digits)
}

/// Returns the index of a known credential that begins within the first `run` bytes of a text.
fn credential(text: &[u8], run: usize) -> Option<usize> {
    (0..run).find(|at| (*at == 0 || !text[*at - 1].is_ascii_alphanumeric()) && secret::begins(&text[*at..]))
}

/// Returns whether a byte is a name character: one of base64 or base64url.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/')
}
