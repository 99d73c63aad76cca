//! Names from untrusted processes, made safe for one line of text.

use std::borrow::Cow;

use traffictrace_crd::human;

/// Maximum length of a name that is shown, in characters. Names of C++ templates can have many kilobytes.
const MAX_SHOWN: usize = 400;

/// Makes a name safe for a frame in folded text or in a picture: without `;`, which separates frames, without characters
/// that move a cursor or that XML does not allow, and not empty.
pub(super) fn frame(name: &str) -> Cow<'_, str> {
    let mut name = human::printable(name);
    // `;` separates frames, and XML 1.0 does not allow the other two characters.
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
