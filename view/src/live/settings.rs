//! The settings that a screen starts with.

use std::io::{IsTerminal as _, stdin, stdout};

use crate::{rows::Choice, sort::Order, units::Units};

/// The settings that a screen starts with. Keys change most of them later.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The traced container, process or pods, in words: shown until the first snapshot names its own.
    pub subject: String,
    /// Whether colours are used. No meaning depends on them.
    pub colour: bool,
    /// Whether signs other than ASCII are used.
    pub unicode: bool,
    /// Whether the snapshots are of another time than now. Their own times are the clock then.
    pub is_replay: bool,
    /// The rows that are shown.
    pub choice: Choice,
    /// The text of the filter in `choice`.
    pub filter: String,
    /// The order of the rows.
    pub order: Order,
    /// The units of numbers.
    pub units: Units,
    /// Whether names and addresses are replaced by placeholders.
    pub hide_names: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            subject: String::new(),
            colour: true,
            unicode: true,
            is_replay: false,
            choice: Choice::default(),
            filter: String::new(),
            order: Order::default(),
            units: Units::default(),
            hide_names: false,
        }
    }
}

impl Settings {
    /// The settings that the environment asks for by `NO_COLOR`, `TERM`, `LC_ALL`, `LC_CTYPE` and `LANG`.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let terminal = set("TERM").unwrap_or_default();
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).map(|locale| locale.to_lowercase());
        // Where no locale is set, as in most containers, the terminal is still one of today.
        let is_utf8 = locale.is_none_or(|locale| locale.contains("utf-8") || locale.contains("utf8"));
        // The Linux console has letters of many languages but not these signs.
        let has_signs = !matches!(terminal.as_str(), "linux" | "dumb" | "vt100" | "vt220");
        let colour = set("NO_COLOR").is_none() && terminal != "dumb";
        Self { colour, unicode: is_utf8 && has_signs, ..Self::default() }
    }
}

/// Whether the live screen can be shown: standard input and output are a terminal that can move its cursor.
#[must_use]
pub fn is_possible() -> bool {
    let is_dumb = std::env::var("TERM").is_ok_and(|terminal| terminal == "dumb");
    stdin().is_terminal() && stdout().is_terminal() && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs_and_colours(variables: &[(&str, &str)]) -> (bool, bool) {
        let settings = Settings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        (settings.unicode, settings.colour)
    }

    #[test]
    fn the_environment_tells_what_the_terminal_can_show() {
        assert_eq!(signs_and_colours(&[("TERM", "xterm"), ("LANG", "de_DE.UTF-8")]), (true, true));
        assert_eq!(signs_and_colours(&[("TERM", "linux"), ("LANG", "C.utf8")]), (false, true));
        assert_eq!(
            signs_and_colours(&[("TERM", "xterm"), ("LANG", "C.UTF-8"), ("LC_ALL", "C")]),
            (false, true)
        );
        assert_eq!(signs_and_colours(&[("NO_COLOR", "1"), ("LANG", "C.UTF-8")]), (true, false));
        assert_eq!(signs_and_colours(&[("NO_COLOR", ""), ("LANG", "C.UTF-8")]), (true, true));
        assert_eq!(signs_and_colours(&[]), (true, true));
        assert_eq!(signs_and_colours(&[("TERM", "dumb")]), (false, false));
    }
}
