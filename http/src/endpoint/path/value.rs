//! Values in a path, and their placeholders.

use super::{random, secret, shape};

/// Minimum number of hexadecimal digits of a hash. With fewer than [`MIN_SECRET_HASH`], at least two of them must be
/// decimal and one a letter.
const MIN_HASH: usize = 8;

/// Minimum number of hexadecimal digits of a hash that counts as a secret. At least one of them must be a letter.
pub(super) const MIN_SECRET_HASH: usize = 16;

/// Minimum number of decimal digits of a number inside a name that counts as an identifier: four may be a year.
pub(super) const MIN_NUMBER: usize = 5;

/// Minimum number of decimal digits of a number right after letters that counts as an identifier: five are usual in
/// names such as `ed25519`.
const MIN_ATTACHED_NUMBER: usize = 6;

/// The placeholder of a replaced text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// A number or a short random identifier.
    Id,
    /// A UUID.
    Uuid,
    /// Hexadecimal digits.
    Hash,
    /// Something that looks like a secret.
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

    /// Returns the text of the placeholder.
    pub(super) fn text(self) -> &'static str {
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

/// Returns the placeholder with which a text begins, as after folding; `None` if it begins with none.
pub(super) fn placeholder_at(text: &[u8]) -> Option<&'static str> {
    Placeholder::ALL.into_iter().map(Placeholder::text).find(|name| text.starts_with(name.as_bytes()))
}

/// A part of a text that may be replaced.
pub(super) struct Found {
    /// Index of the first byte.
    pub from: usize,
    /// Index after the last byte.
    pub to: usize,
    /// The placeholder that replaces the part.
    pub placeholder: Placeholder,
}

/// Returns the placeholder of a segment that is a single value; `None` if it is not one.
pub(super) fn whole(text: &[u8]) -> Option<Placeholder> {
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

/// Returns the first part of a text that a placeholder replaces: a date, or a word of letters and digits for which
/// [`value`] has a placeholder.
pub(super) fn first_value(text: &[u8]) -> Option<Found> {
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

/// Returns the placeholder of a word of letters and digits, and the number of letters at its beginning that stay;
/// `None` if the whole word stays.
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
    } else if digits == trailing && digits >= MIN_ATTACHED_NUMBER {
        Some((word.len() - digits, Placeholder::Id))
    } else if random::is_id(word) {
        Some((0, Placeholder::Id))
    } else {
        None
    }
}

/// Returns whether a text is a hexadecimal number, with or without `0x` before it.
pub(super) fn is_hexadecimal(text: &[u8]) -> bool {
    text.strip_prefix(b"0x").unwrap_or(text).iter().all(u8::is_ascii_hexdigit)
}
