//! The signs of the screen, in Unicode and, for other terminals, in ASCII.

/// The signs that a terminal can show.
#[derive(Debug)]
pub(super) struct Symbols {
    pub(super) ellipsis: &'static str,
    pub(super) selected: &'static str,
    pub(super) closed: &'static str,
    pub(super) opened: &'static str,
    pub(super) falling: &'static str,
    pub(super) rising: &'static str,
    pub(super) to: &'static str,
    pub(super) from: &'static str,
    pub(super) both: &'static str,
    pub(super) separator: &'static str,
    /// Signs for a partly filled cell of a bar, from the smallest part to the whole cell.
    bar: &'static [&'static str],
    /// Characters for the eight levels of a sparkline; `None` if those of [`crate::history`] can be shown.
    levels: Option<[char; 8]>,
    is_ascii: bool,
}

pub(super) static UNICODE: Symbols = Symbols {
    ellipsis: "…",
    selected: "▌",
    closed: "▸",
    opened: "▾",
    falling: "↓",
    rising: "↑",
    to: "→",
    from: "←",
    both: "↔",
    separator: "│",
    bar: &["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"],
    levels: None,
    is_ascii: false,
};

pub(super) static ASCII: Symbols = Symbols {
    ellipsis: "~",
    selected: ">",
    closed: "+",
    opened: "-",
    falling: "v",
    rising: "^",
    to: "->",
    from: "<-",
    both: "<>",
    separator: "|",
    bar: &["#"],
    levels: Some(['_', '_', '.', '.', '-', '=', '*', '#']),
    is_ascii: true,
};

impl Symbols {
    /// Draws a bar for `part` of `whole`, `columns` wide. A part above 0 has at least the smallest sign.
    pub(super) fn bar(&self, part: u64, whole: u64, columns: usize) -> String {
        let steps = self.bar.len();
        let share = if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) };
        let filled = (share * (columns * steps) as f64).round() as usize;
        let filled = if part > 0 { filled.max(1) } else { filled }.min(columns * steps);
        let mut bar = self.bar[steps - 1].repeat(filled / steps);
        if !filled.is_multiple_of(steps) {
            bar.push_str(self.bar[filled % steps - 1]);
        }
        bar
    }

    /// Draws a sparkline with these signs.
    pub(super) fn sparkline(&self, line: String) -> String {
        let Some(levels) = self.levels else { return line };
        line.chars()
            .map(|c| ('▁'..='█').position(|level| level == c).map_or(c, |level| levels[level.min(7)]))
            .collect()
    }

    /// Formats a time such as `30 µs` with these signs.
    pub(super) fn duration(&self, microseconds: u64) -> String {
        let text = crate::units::duration(microseconds);
        if self.is_ascii { text.replace('µ', "u") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_eighths_of_a_column_and_show_the_smallest_part() {
        assert_eq!(UNICODE.bar(1, 2, 5), "██▌");
        assert_eq!(UNICODE.bar(1, u64::MAX, 5), "▏");
        assert_eq!(UNICODE.bar(9, 3, 2), "██");
        assert_eq!((UNICODE.bar(0, 0, 5).as_str(), UNICODE.bar(1, 1, 0).as_str()), ("", ""));
        assert_eq!(ASCII.bar(1, 2, 6), "###");
    }

    #[test]
    fn a_terminal_without_unicode_has_signs_of_its_own() {
        assert_eq!(ASCII.sparkline(" ▁▄█".to_owned()), " _.#");
        assert_eq!(ASCII.duration(30), "30 us");
        let signs = [ASCII.ellipsis, ASCII.selected, ASCII.to, ASCII.both, ASCII.separator];
        assert!(signs.iter().all(|sign| sign.is_ascii()));
    }
}
