//! Texts of a given width, in columns of a terminal.

use unicode_width::UnicodeWidthChar;

/// Columns that a text takes, character by character. Terminals do not agree about what joins characters, so nothing does.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// A text in at most `columns`. A longer one loses its middle: the start tells the workload, the end tells which of its
/// many.
pub(super) fn fit(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(width(ellipsis)) else { return String::new() };
    let end = room.div_ceil(2);
    format!("{}{ellipsis}{}", start_of(text, room - end), end_of(text, end))
}

fn start_of(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    end.map_or(text, |(at, _)| &text[..at])
}

fn end_of(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let start = text.char_indices().rev().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    start.map_or(text, |(at, c)| &text[at + c.len_utf8()..])
}

/// A sentence in lines of at most `columns`, broken at spaces where there are any.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word = word;
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        while width(word) > columns {
            // A wide character in a single column can only be passed over.
            let part = start_of(word, columns);
            let part =
                if part.is_empty() { &word[..word.chars().next().map_or(0, char::len_utf8)] } else { part };
            lines.push(part.to_owned());
            word = &word[part.len()..];
        }
        if !line.is_empty() && !word.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// A span of time in at most five columns: `9s`, `4:05`, `3h07`, `12d`.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{}h{:02}", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// The words of a name in camel case: `tableFullEvents` becomes `table full events`.
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
    fn sentences_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
        assert_eq!(wrap("  ", 5), [""; 0]);
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
            // A character of two columns does not fit one.
            prop_assert!(wrap(&text, columns).iter().all(|line| width(line) <= columns.max(2)));
        }
    }
}
