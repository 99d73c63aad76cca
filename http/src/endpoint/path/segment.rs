//! One segment of a path.

use super::encoding::{Decoded, push, push_raw};
use super::{Level, random, secret, shape};

/// Length of a decoded segment in bytes above which it is data rather than a name.
pub(super) const MAX_SEGMENT: usize = 128;

/// Length of a segment below which one of letters and separators alone folds nothing.
const MIN_FOLDING: usize = random::MIN_SECRET;

/// Number of hexadecimal digits from which letters and digits together are a hash.
const MIN_HASH: usize = 8;

/// Number of hexadecimal digits from which a hash is taken for a secret.
const MIN_SECRET_HASH: usize = 16;

/// Number of decimal digits from which a number inside a name is an identifier: four may be a year.
const MIN_NUMBER: usize = 5;

/// What stands for a replaced text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    /// A number or a short random identifier.
    Id,
    /// A UUID.
    Uuid,
    /// Hexadecimal digits.
    Hash,
    /// What looks like a secret.
    Token,
    /// An e-mail address.
    Email,
    /// A date or a time.
    Date,
    /// An IP address.
    Ip,
}

impl Placeholder {
    /// All placeholders.
    const ALL: [Self; 7] = [Self::Id, Self::Uuid, Self::Hash, Self::Token, Self::Email, Self::Date, Self::Ip];

    /// The text that is shown.
    fn text(self) -> &'static str {
        match self {
            Self::Id => "{id}",
            Self::Uuid => "{uuid}",
            Self::Hash => "{hash}",
            Self::Token => "{token}",
            Self::Email => "{email}",
            Self::Date => "{date}",
            Self::Ip => "{ip}",
        }
    }
}

/// Returns the placeholder with which a text begins.
fn placeholder_at(text: &[u8]) -> Option<&'static str> {
    Placeholder::ALL.into_iter().map(Placeholder::text).find(|name| text.starts_with(name.as_bytes()))
}

/// A part of a text that is replaced.
struct Found {
    /// Where it begins.
    from: usize,
    /// Where it ends.
    to: usize,
    /// What stands for it.
    placeholder: Placeholder,
}

/// Writes one segment.
pub(super) struct Segment<'a> {
    /// What is replaced.
    level: Level,
    /// Where the segment is appended.
    out: &'a mut String,
    /// Whether anything was replaced.
    replaced: bool,
}

impl<'a> Segment<'a> {
    /// Begins a segment at the end of `out`.
    pub(super) fn new(level: Level, out: &'a mut String) -> Self {
        Self { level, out, replaced: false }
    }

    /// Appends a segment as it was sent, without its parameters and with placeholders.
    pub(super) fn write(mut self, raw: &str) {
        let raw = raw.split(';').next().unwrap_or_default();
        let is_plain = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.');
        if raw.len() < MIN_FOLDING && raw.as_bytes().iter().all(is_plain) {
            self.out.push_str(raw);
            return;
        }
        let begin = self.out.len();
        match Decoded::new(raw.as_bytes()) {
            Some(decoded) => self.decoded(decoded.bytes()),
            None => self.replace(Placeholder::Token),
        }
        if decoded_length(&self.out[begin..]) > MAX_SEGMENT {
            self.out.truncate(begin);
            self.replace(Placeholder::Token);
        }
        if self.level == Level::Redact && !self.replaced {
            self.out.truncate(begin);
            raw.bytes().for_each(|byte| push_raw(byte, self.out));
        }
    }

    /// Appends a decoded segment.
    fn decoded(&mut self, text: &[u8]) {
        match whole(text) {
            Some(placeholder) => self.emit(placeholder, text),
            None => self.pieces(text),
        }
    }

    /// Appends a segment that is no single value: runs of name characters, and what stands between them.
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
            if let Some(name) = placeholder_at(&text[at..]) {
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

    /// Appends a run of name characters. UUIDs are looked for first, since they look random.
    fn run(&mut self, mut text: &[u8]) {
        while let Some(uuid) = (0..text.len().saturating_sub(shape::UUID - 1)).find(|at| {
            (*at == 0 || !text[*at - 1].is_ascii_alphanumeric()) && shape::starts_with_uuid(&text[*at..])
        }) {
            self.words(&text[..uuid]);
            self.emit(Placeholder::Uuid, &text[uuid..uuid + shape::UUID]);
            text = &text[uuid + shape::UUID..];
        }
        self.words(text);
    }

    /// Appends words with separators between them. What stands before and after a replaced word is looked at again by
    /// itself, so that folding it a second time finds nothing new.
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

    /// Replaces words that look random as a whole, but for the separators around them. Returns whether they do.
    fn token(&mut self, text: &[u8]) -> bool {
        let is_separator = |byte: &&u8| !byte.is_ascii_alphanumeric();
        let before = text.iter().take_while(is_separator).count();
        let inner = &text[before..];
        let after = inner.iter().rev().take_while(is_separator).count();
        let (inner, after) = inner.split_at(inner.len() - after);
        // Hashes have a placeholder of their own.
        let found = !is_hexadecimal(inner) && random::is_secret(inner);
        if found {
            self.keep(&text[..before + leading_words(inner)]);
            self.replace(Placeholder::Token);
            self.keep(after);
        }
        found
    }

    /// Appends a value, or its placeholder if the level replaces it.
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

    /// Appends decoded bytes as they are.
    fn keep(&mut self, text: &[u8]) {
        text.iter().for_each(|byte| push(*byte, self.out));
    }
}

/// Returns the length that a text will have when it is decoded.
fn decoded_length(text: &str) -> usize {
    text.len() - 2 * text.bytes().filter(|byte| *byte == b'%').count()
}

/// Returns the length of the words with which a text that looks random begins, if what follows still does: `nginx-` of
/// a pod's name, `cus_` of an identifier.
fn leading_words(text: &[u8]) -> usize {
    let words =
        text.iter().take_while(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_')).count();
    let words =
        text[..words].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |last| last + 1);
    let (before, rest) = text.split_at(words);
    if (random::is_secret(rest) || random::is_id(rest)) && !random::is_secret(before) { words } else { 0 }
}

/// Returns what stands for a segment that is one value.
fn whole(text: &[u8]) -> Option<Placeholder> {
    let placeholder = if text.is_empty() {
        return None;
    } else if text.contains(&b'@') {
        if secret::is_user_info(text) {
            Placeholder::Token
        } else if shape::is_email(text) && !secret::begins(text) {
            Placeholder::Email
        } else {
            return None;
        }
    } else if !text.iter().any(u8::is_ascii_digit) && !text.contains(&b':') {
        return None;
    } else if shape::is_number(text) {
        Placeholder::Id
    } else if shape::is_time(text) {
        Placeholder::Date
    } else if shape::is_address(text) {
        Placeholder::Ip
    } else {
        return None;
    };
    Some(placeholder)
}

/// Returns the number of digits with which a segment begins, if they are a file's name (`1343.png`, `1343@2x.png`).
fn numeric_stem(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0 && matches!(text.get(digits), Some(b'.' | b'@'))).then_some(digits)
}

/// Returns where in the run of name characters with which a text begins a known credential begins.
fn credential(text: &[u8], run: usize) -> Option<usize> {
    (0..run).find(|at| (*at == 0 || !text[*at - 1].is_ascii_alphanumeric()) && secret::begins(&text[*at..]))
}

/// Returns the first value among words with separators between them.
fn first_value(text: &[u8]) -> Option<Found> {
    let mut from = 0;
    while from < text.len() {
        let length = text[from..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let to = from + length;
        if length >= 4 {
            let word = &text[from..to];
            if shape::starts_with_date(&text[from..])
                && text.get(from + shape::DATE).is_none_or(|byte| !byte.is_ascii_alphanumeric())
            {
                return Some(Found { from, to: from + shape::DATE, placeholder: Placeholder::Date });
            }
            if let Some((letters, placeholder)) = value(word) {
                return Some(Found { from: from + letters, to, placeholder });
            }
        }
        from = to + 1;
    }
    None
}

/// Returns what stands for a word of letters and digits, and the number of letters before it that stay.
fn value(word: &[u8]) -> Option<(usize, Placeholder)> {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let trailing = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == word.len() {
        (digits >= MIN_NUMBER).then_some((0, Placeholder::Id))
    } else if is_hexadecimal(word) && (word.len() >= MIN_SECRET_HASH || word.len() >= MIN_HASH && digits >= 2)
    {
        Some((0, Placeholder::Hash))
    } else if random::is_secret(word) {
        Some((0, Placeholder::Token))
    } else if digits == trailing && digits >= MIN_NUMBER {
        Some((word.len() - digits, Placeholder::Id))
    } else if random::is_id(word) {
        Some((0, Placeholder::Id))
    } else {
        None
    }
}

/// Returns whether a text is a hexadecimal number, with or without `0x` before it.
fn is_hexadecimal(text: &[u8]) -> bool {
    text.strip_prefix(b"0x").unwrap_or(text).iter().all(u8::is_ascii_hexdigit)
}

/// Returns whether a byte belongs to a run of name characters: those of base64 and base64url.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/')
}
