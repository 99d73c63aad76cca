//! Demangled names of functions, safe to print: without control characters, and of limited length.

use std::fmt::{self, Write};

use crate::elf::MOST_TEXT;

/// Maximum length of a name, in bytes.
const MOST_SHOWN: usize = 512;
/// End of a name that was cut.
const CUT: char = '…';
/// Maximum nesting of a C++ name.
const MOST_NESTED: u32 = 128;

/// A text of limited length, since a short symbol can stand for an endless name.
#[derive(Debug, Default)]
struct Bounded {
    text: String,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = (2 * MOST_SHOWN).saturating_sub(self.text.len());
        self.text.push_str(&part[..part.floor_char_boundary(room)]);
        if part.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Returns the name of a C, C++, Rust or Go function from its symbol.
pub(in crate::stacks) fn demangled(symbol: &[u8]) -> String {
    let text = String::from_utf8_lossy(symbol);
    // A symbol that was cut when it was read would be demangled wrongly.
    if symbol.len() >= MOST_TEXT {
        return clean(&text);
    }
    // The suffix marks a part that the compiler split off a function: `name.cold`, `name.isra.0`.
    let (whole, _) = text.split_once('.').unwrap_or((&text, ""));
    let found = rust(&text).or_else(|| cpp(&text)).or_else(|| cpp(whole));
    clean(found.as_deref().unwrap_or(&text))
}

fn rust(symbol: &str) -> Option<String> {
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut to = Bounded::default();
    // `#` leaves out the hash. An error only means that the name was cut at the limit.
    let _ = write!(to, "{name:#}");
    (!to.text.is_empty()).then_some(to.text)
}

fn cpp(symbol: &str) -> Option<String> {
    if !symbol.starts_with("_Z") {
        return None;
    }
    let options = cpp_demangle::ParseOptions::default().recursion_limit(MOST_NESTED);
    let name = cpp_demangle::Symbol::new_with_options(symbol, &options).ok()?;
    let options =
        cpp_demangle::DemangleOptions::new().no_params().no_return_type().recursion_limit(MOST_NESTED);
    let mut to = Bounded::default();
    let written = name.structured_demangle(&mut to, &options);
    let is_cut = to.text.len() >= MOST_SHOWN;
    (written.is_ok() || is_cut).then_some(to.text).filter(|text| !text.is_empty())
}

/// Removes control characters from a name, and cuts it to the maximum length.
pub(in crate::stacks) fn clean(name: &str) -> String {
    let mut shown: String =
        name.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    if shown.len() > MOST_SHOWN {
        shown.truncate(shown.floor_char_boundary(MOST_SHOWN - CUT.len_utf8()));
        shown.push(CUT);
    }
    shown
}

/// Returns false for control characters and for those that change the direction of text, which would spoil the text
/// around them.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_demangled() {
        let cases = [
            ("send", "send"),
            ("net/http.(*conn).serve", "net/http.(*conn).serve"),
            ("main.main.func1", "main.main.func1"),
            ("_ZN4node10StreamBase5WriteEPv", "node::StreamBase::Write"),
            ("_ZN4node10StreamBase5WriteEPv.cold", "node::StreamBase::Write"),
            ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back"),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_Znonsense", "_Znonsense"),
        ];
        for (symbol, name) in cases {
            assert_eq!(demangled(symbol.as_bytes()), name);
        }
    }

    #[test]
    fn names_are_bounded_and_plain() {
        assert_eq!(clean("a\u{1b}[31m\n\u{202e}b"), "a\u{fffd}[31m\u{fffd}\u{fffd}b");
        assert_eq!(clean(&"x".repeat(512)).len(), 512);
        let long = clean(&"é".repeat(400));
        assert!(long.len() <= MOST_SHOWN && long.ends_with("é…"), "{long}");
        assert_eq!(demangled(b"_Z\xff\x00"), "_Z\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_short_symbol_of_an_endless_name_is_cut() {
        // Substitutions (`S_`, `S0_` and so on) repeat earlier parts of the name, so a short symbol can stand for an
        // endless name.
        let symbol = format!("_Z1fI{}E", "St4pairIS_S_E".repeat(70));
        assert!(demangled(symbol.as_bytes()).len() <= MOST_SHOWN);
        let types: String = (0..30).map(|number| format!("1aIS{number}_S{number}_E")).collect();
        assert!(demangled(format!("_Z1fI1aIiiE{types}Evv").as_bytes()).len() <= MOST_SHOWN);
    }

    proptest! {
        #[test]
        fn whatever_a_symbol_is_its_name_is_plain(symbol in proptest::collection::vec(any::<u8>(), 0..200)) {
            for start in [&b""[..], b"_Z", b"_ZN", b"_R"] {
                let name = demangled(&[start, &symbol].concat());
                prop_assert!(name.len() <= MOST_SHOWN && !name.chars().any(char::is_control));
            }
        }

        #[test]
        fn whatever_a_mangled_name_is_it_is_bounded(symbol in "_(ZN?|R)[0-9A-Za-z_]{0,120}") {
            prop_assert!(demangled(symbol.as_bytes()).len() <= MOST_SHOWN);
        }
    }
}
