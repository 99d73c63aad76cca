//! Methods: the known ones keep their names, all others are counted as one.

use super::OTHER;

/// Methods that keep their names: those of RFC 9110, PATCH, PRI (of HTTP/2's preface), those of WebDAV (RFC 4918, 3253,
/// 3744, 5323, 4791), QUERY, and PURGE (of caches).
const KNOWN: [&str; 26] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "PATCH",
    "CONNECT",
    "TRACE",
    "QUERY",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "ACL",
    "MKCALENDAR",
    "CHECKOUT",
    "CHECKIN",
    "VERSION-CONTROL",
    "PURGE",
];

/// Returns the name under which a method is counted: its own if the method is a known one, [`OTHER`] if it is not, and
/// an empty text if the method could not be read (see [`crate::Exchange::method`]). Methods are case-sensitive.
pub fn normalise(method: &str) -> &'static str {
    if method.is_empty() {
        return "";
    }
    KNOWN.iter().find(|known| **known == method).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_methods_stay_and_all_others_are_one() {
        for known in KNOWN {
            assert_eq!(normalise(known), known);
        }
        for other in ["FOOBAR", "get", "GET ", "\u{1b}[31m", "GETGETGETGET"] {
            assert_eq!(normalise(other), OTHER, "{other:?}");
        }
        assert_eq!(normalise(""), "");
    }
}
