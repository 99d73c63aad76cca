//! Names of hostile processes as texts of one line.

use std::borrow::Cow;

use traffictrace_crd::human;

/// Most characters of a name that are shown; templates of C++ can have names of many kilobytes.
const MAX_SHOWN: usize = 400;

/// A name as one frame of a folded line or of a picture: without `;`, which parts frames, without characters that move a
/// cursor or that XML has not, and not empty.
pub(super) fn frame(name: &str) -> Cow<'_, str> {
    let mut name = human::printable(name);
    // XML 1.0 has no such characters.
    if name.contains([';', '\u{fffe}', '\u{ffff}']) {
        name = name.replace(';', ":").replace(['\u{fffe}', '\u{ffff}'], "?").into();
    }
    if let Some((cut, _)) = name.char_indices().nth(MAX_SHOWN) {
        name = format!("{}…", &name[..cut]).into();
    }
    if name.trim().is_empty() { "?".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_frame() {
        assert_eq!(frame("write"), "write");
        assert_eq!(frame("<[u8; 4] as Read>::read"), "<[u8: 4] as Read>::read");
        assert_eq!(frame("a\nb\u{1b}[2J\u{ffff}"), "a?b?[2J?");
        assert_eq!(frame("  "), "?");
        assert_eq!(frame(&"x".repeat(9999)).chars().count(), MAX_SHOWN + 1);
    }
}
