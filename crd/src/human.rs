//! Formats for numbers and texts that people read. Machine-readable output never uses them.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Formats a number of bytes with a binary unit and at most four digits: `0 B`, `999 B`, `1.2 GiB`, `1020 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    // A value that would be printed as 1024 is printed in the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // A value that would be printed as 100.0 is printed as 100.
    if value < 99.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Formats a number of bytes per second: `1.2 MiB/s`.
#[must_use]
pub fn bytes_per_second(count: u64) -> String {
    format!("{}/s", bytes(count))
}

/// Formats a whole number with commas between thousands: `1,234`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Makes a text from traffic or from a process safe to print: `?` replaces each character that could move a terminal's
/// cursor or hide part of the line, namely control characters and those that change the direction of writing.
#[must_use]
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.contains(harmful) { text.replace(harmful, "?").into() } else { text.into() }
}

/// Formats a number of things, in the plural unless the number is 1: `1 flow`, `2 flows`.
pub fn number_of(count: impl Into<i128>, thing: &str) -> String {
    let count = count.into();
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_unit_that_reads_best() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (100 * 1024, "100 KiB"),
            (99 * 1024 + 999, "100 KiB"),
            (1023 * 1024, "1023 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
        assert_eq!(bytes_per_second(2 * 1024 * 1024), "2.0 MiB/s");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("\u{1b}[2Jsh\u{202e}x\n"), "?[2Jsh?x?");
        assert_eq!(printable("nginx: ü"), "nginx: ü");
    }
}
