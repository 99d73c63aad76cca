//! Small pieces of text that conditions and columns share.

use std::collections::BTreeSet;

/// A text of at most so many characters, cut with an ellipsis.
pub(crate) fn shorten(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let mut short: String = text.chars().take(most.saturating_sub(3)).collect();
    short.push_str("...");
    short
}

/// A text as a sentence with its full stop. Its first letter is left alone: it may be the name of something.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// `n1`, `n1 and n2`, or `n1 and 4 more`: a list of nodes for a sentence.
pub(super) fn named(names: &BTreeSet<String>) -> String {
    first_of(names.iter().map(String::as_str), names.len())
}

/// The same for `count` names, of which at least the first two are given.
pub(super) fn first_of<'a>(mut names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let first = names.next().unwrap_or_default();
    match (count, names.next()) {
        (0 | 1, _) => first.to_owned(),
        (2, Some(second)) => format!("{first} and {second}"),
        (count, _) => format!("{first} and {} more", count - 1),
    }
}

/// `1 node`, `2 nodes`.
pub(super) fn nodes(count: usize) -> String {
    if count == 1 { "1 node".into() } else { format!("{count} nodes") }
}
