//! Texts that fit a given width in terminal columns.

use unicode_width::UnicodeWidthChar as _;

use crate::wrap::start_of;
pub(super) use crate::wrap::{width, wrap};

/// Shortens a text to at most `columns` by cutting its middle: the start names the workload, the end distinguishes its
/// replicas.
pub(super) fn fit(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(width(ellipsis)) else { return String::new() };
    let end = room.div_ceil(2);
    format!("{}{ellipsis}{}", start_of(text, room - end), end_of(text, end))
}

fn end_of(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let start = text.char_indices().rev().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    start.map_or(text, |(at, c)| &text[at + c.len_utf8()..])
}

/// Formats a length of time in at most five columns: `9s`, `4:05`, `3h07`, `12d`.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{}h{:02}", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Splits a name in camel case into words: `tableFullEvents` becomes `table full events`.
pub(super) fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_keeps_its_start_and_its_end() {
        assert_eq!(fit("web-7c9f-x2x4l", 14, "…"), "web-7c9f-x2x4l");
        assert_eq!(fit("web-7c9f-x2x4l", 10, "…"), "web-…x2x4l");
        assert_eq!(fit("日本語日本語", 7, "…"), "日…語");
        assert_eq!((fit("abc", 1, "…").as_str(), fit("abc", 0, "…").as_str()), ("…", ""));
    }

    #[test]
    fn spans_and_words_read_well() {
        assert_eq!([-1, 59, 61, 3700, 200_000].map(span), ["0s", "59s", "1:01", "1h01", "2d"]);
        assert_eq!(words("tableFullEvents"), "table full events");
    }

    proptest! {
        #[test]
        fn no_text_is_wider_than_its_room(text in ".{0,40}", columns in 0..30_usize) {
            prop_assert!(width(&fit(&text, columns, "…")) <= columns);
        }
    }
}
