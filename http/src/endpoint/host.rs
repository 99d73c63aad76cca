//! Hosts in a uniform spelling.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::INVALID;

/// Maximum length of a host in bytes: a DNS name has at most 253 characters, and a port with its colon takes six more.
/// A longer host becomes `{invalid}`.
const MAX_HOST: usize = 259;

/// Default ports of HTTP and HTTPS, which are removed from hosts; the empty text stands for no port.
const DEFAULT_PORTS: [&str; 3] = ["", "80", "443"];

/// Converts a host to a uniform spelling: lower case, without the default ports 80 and 443 and without the final dot of
/// a fully qualified name. A text that cannot be a name or an address, with or without a port, becomes [`INVALID`]; an
/// absent host stays empty.
pub fn normalise(host: &str) -> Cow<'_, str> {
    if host.is_empty() {
        return Cow::Borrowed(host);
    }
    match split(host) {
        Some((name, port)) if DEFAULT_PORTS.contains(&port) => lower(name),
        // No final dot was removed between name and port, so the host needs no other text than its own.
        Some((name, port)) if name.len() + 1 + port.len() == host.len() => lower(host),
        Some((name, port)) => Cow::Owned(format!("{}:{port}", lower(name))),
        None => Cow::Borrowed(INVALID),
    }
}

/// Splits a host into its name or address, without a final dot, and its port, which is empty if there was none. Returns
/// `None` if the host is not valid.
fn split(host: &str) -> Option<(&str, &str)> {
    if host.len() > MAX_HOST {
        return None;
    }
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
        return is_port(port).then(|| (&host[..address.len() + 2], port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.trim_end_matches('.');
    let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (valid && !name.is_empty() && is_port(port)).then_some((name, port))
}

/// Returns whether a port is absent or a valid number.
fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
}

/// Returns the text in lower case, borrowed if it already is.
fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_host_are_one() {
        for (given, expected) in [
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("example.com:80", "example.com"),
            ("example.com:443", "example.com"),
            ("example.com:", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:8080", "example.com:8080"),
            ("EXAMPLE.com:8080", "example.com:8080"),
            ("my_service-1", "my_service-1"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("[::1]", "[::1]"),
            ("[FE80::1]:8080", "[fe80::1]:8080"),
            ("[::1]:80", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(normalise(given), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_host_is_invalid() {
        let long = "a".repeat(MAX_HOST + 1);
        for given in [
            "user:secret@example.com",
            "exa mple.com",
            "example.com\r\nX: y",
            "\u{1b}[31mred",
            "example.com:port",
            "example.com:99999",
            "a:1:2",
            "[::1",
            "[::g]",
            "[::1]8080",
            "bücher.example",
            ".",
            ":80",
            "{other}",
            "example.com/path?query",
            &long,
        ] {
            assert_eq!(normalise(given), INVALID, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_stable_printable_host(text in ".{0,300}") {
            let once = normalise(&text).into_owned();
            prop_assert!(once.bytes().all(|byte| byte.is_ascii_graphic()), "{once:?}");
            prop_assert!(once.len() <= MAX_HOST);
            if once != INVALID {
                prop_assert_eq!(normalise(&once), once.as_str());
            }
        }

        #[test]
        fn hosts_are_stable(text in "[A-Za-z0-9.:\\[\\]-]{0,40}") {
            let once = normalise(&text).into_owned();
            if once != INVALID {
                prop_assert_eq!(normalise(&once), once.as_str());
            }
        }
    }
}
