//! Formats for the texts of a report. The template escapes them.

use jiff::Timestamp;
use traffictrace_crd::human;

/// Maximum length of a name, in characters. The middle of a longer one is cut out.
const MAX_NAME: usize = 96;

/// Makes a traced name safe: without characters that move or hide others, and of bounded length.
pub(super) fn name(name: &str) -> String {
    short(&human::printable(name), MAX_NAME)
}

/// Shortens a text to at most `most` characters by cutting its middle.
pub(super) fn short(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(1);
    let begin = text.chars().take(room - room / 2);
    begin.chain(['…']).chain(text.chars().skip(count - room / 2)).collect()
}

/// Formats a time in UTC, to the second: `2026-11-23 14:06:10 UTC`.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%F %T UTC").to_string()
}

/// Formats a part of a whole in percent with one decimal, without the sign: a number for the width of a bar.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "0".to_owned()
    } else {
        format!("{:.1}", (part as f64 / whole as f64 * 100.0).min(100.0))
    }
}

/// Formats a share for people: `<1%`, `43%`.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    if part > 0 && percent < 1.0 { "<1%".to_owned() } else { format!("{percent:.0}%") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_read_well() {
        assert_eq!(name(&"ab\u{202e}".repeat(500)).chars().count(), MAX_NAME);
        assert_eq!(short("abcdef", 5), "ab…ef");
        assert_eq!(
            (short("abcdef", 1), short("abcdef", 0), short("", 0)),
            ("…".into(), "…".into(), String::new())
        );
        assert_eq!(
            (percent(1, 3), percent(2, 1), percent(1, 0)),
            ("33.3".into(), "100.0".into(), "0".into())
        );
        assert_eq!((share(1, 1000), share(0, 5), share(1, 2)), ("<1%".into(), "0%".into(), "50%".into()));
    }
}
