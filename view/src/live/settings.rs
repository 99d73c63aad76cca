//! The initial settings of a screen.

use std::io::{IsTerminal as _, stdin, stdout};

use crate::{rows::Choice, sort::Order, units::Units};

/// The initial settings of a screen. Keys change most of them later.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Description of the traced container, process or pods, shown until the first snapshot, which has its own.
    pub subject: String,
    /// True if colours are used. Nothing is shown by colour alone.
    pub colour: bool,
    /// True if characters other than ASCII are used.
    pub unicode: bool,
    /// True if the snapshots were recorded earlier. Their times then replace the clock.
    pub is_replay: bool,
    /// The choice of rows.
    pub choice: Choice,
    /// Text of the filter in `choice`.
    pub filter: String,
    /// Order of the rows.
    pub order: Order,
    /// Units of numbers.
    pub units: Units,
    /// True if names and addresses are replaced by placeholders.
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
    /// Reads the settings from the environment variables `NO_COLOR`, `TERM`, `LC_ALL`, `LC_CTYPE` and `LANG`.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let terminal = set("TERM").unwrap_or_default();
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).map(|locale| locale.to_lowercase());
        // Most containers have no locale, but terminals of today show UTF-8 all the same.
        let is_utf8 = locale.is_none_or(|locale| locale.contains("utf-8") || locale.contains("utf8"));
        // The Linux console shows letters of many languages, but not the signs that the screen uses.
        let has_signs = !matches!(terminal.as_str(), "linux" | "dumb" | "vt100" | "vt220");
        let colour = set("NO_COLOR").is_none() && terminal != "dumb";
        Self { colour, unicode: is_utf8 && has_signs, ..Self::default() }
    }
}

/// Returns true if the live screen can be shown: standard input and output are a terminal that can move its cursor.
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
