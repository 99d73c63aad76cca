//! Credentials that are recognized by their first characters or by the name before them.

/// First characters of credentials with which no ordinary name begins.
const CERTAIN: [&[u8]; 30] = [
    b"sk_live_",
    b"sk_test_",
    b"rk_live_",
    b"rk_test_",
    b"pk_live_",
    b"pk_test_",
    b"whsec_",
    b"ghp_",
    b"gho_",
    b"ghu_",
    b"ghs_",
    b"ghr_",
    b"github_pat_",
    b"glpat-",
    b"gldt-",
    b"glrt-",
    b"xoxb-",
    b"xoxp-",
    b"xoxa-",
    b"xoxr-",
    b"xoxs-",
    b"xapp-",
    b"AIza",
    b"ya29.",
    b"dop_v1_",
    b"shpat_",
    b"sk-ant-",
    b"sk-proj-",
    b"pypi-AgE",
    b"eyJ",
];

/// First characters of credentials with which an ordinary name may begin too: one of the characters after them must be
/// a digit.
const LIKELY: [&[u8]; 5] = [b"sk-", b"npm_", b"hf_", b"hvs.", b"SG."];

/// First characters of the identifiers of AWS access keys. Upper case letters and digits follow.
const AWS: [&[u8]; 2] = [b"AKIA", b"ASIA"];

/// Length in characters of the identifier of an AWS access key.
const AWS_LENGTH: usize = 20;

/// Minimum length in bytes of a credential, including its first characters.
const MIN_LENGTH: usize = 16;

/// Maximum number of bytes of a credential that are examined.
const MAX_LENGTH: usize = 48;

/// Names whose values are secrets. Case, `-` and `_` are ignored in comparisons.
const NAMES: [&[u8]; 20] = [
    b"accesskey",
    b"accesstoken",
    b"apikey",
    b"auth",
    b"authtoken",
    b"clientsecret",
    b"jsessionid",
    b"jwt",
    b"key",
    b"pass",
    b"passwd",
    b"password",
    b"phpsessid",
    b"pwd",
    b"secret",
    b"sessionid",
    b"sid",
    b"sig",
    b"signature",
    b"token",
];

/// Maximum number of bytes before an equals sign that are compared with [`NAMES`].
const MAX_NAME: usize = 24;

/// Returns whether a text begins like a known credential.
pub(super) fn begins(text: &[u8]) -> bool {
    if text.len() < MIN_LENGTH || !is_possible(text[0], text[1]) {
        return false;
    }
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let length = text.iter().take(MAX_LENGTH).take_while(is_part).count();
    if length < MIN_LENGTH {
        return false;
    }
    CERTAIN.iter().any(|prefix| text.starts_with(prefix))
        || LIKELY.iter().any(|prefix| {
            text.strip_prefix(*prefix)
                .is_some_and(|rest| rest[..length - prefix.len()].iter().any(u8::is_ascii_digit))
        })
        || length >= AWS_LENGTH
            && AWS.iter().any(|prefix| text.starts_with(prefix))
            && text[..AWS_LENGTH].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Returns whether a credential may begin with these two bytes. This saves most texts the comparisons.
fn is_possible(first: u8, second: u8) -> bool {
    matches!(
        (first, second),
        (b's', b'k' | b'h')
            | (b'r', b'k')
            | (b'p', b'k' | b'y')
            | (b'w', b'h')
            | (b'g', b'h' | b'i' | b'l')
            | (b'x', b'o' | b'a')
            | (b'A', b'I' | b'K' | b'S')
            | (b'y', b'a')
            | (b'd', b'o')
            | (b'e', b'y')
            | (b'n', b'p')
            | (b'h', b'f' | b'v')
            | (b'S', b'G')
    )
}

/// Returns whether the text before an equals sign ends with a name of [`NAMES`]. The name may be the last word after a
/// separator (`csrf_token`), or contain separators itself (`api_key`).
pub(super) fn is_named(text: &[u8]) -> bool {
    let mut name = [0; MAX_NAME];
    let mut free = MAX_NAME;
    for byte in text.iter().rev().take(MAX_NAME) {
        match byte {
            b'-' | b'_' if NAMES.contains(&&name[free..]) => return true,
            b'-' | b'_' => {}
            byte if byte.is_ascii_alphanumeric() => {
                free -= 1;
                name[free] = byte.to_ascii_lowercase();
            }
            _ => break,
        }
    }
    NAMES.contains(&&name[free..])
}

/// Returns whether a text contains a user with a password, as in `user:password@host`.
pub(super) fn is_user_info(text: &[u8]) -> bool {
    let colon = text.iter().position(|byte| *byte == b':');
    colon.is_some_and(|colon| text[colon..].contains(&b'@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_is_found() {
        for prefix in CERTAIN.iter().chain(&LIKELY).chain(&AWS) {
            let credential = [*prefix, b"ABCDEFGH0123456789"].concat();
            assert!(begins(&credential), "{}", String::from_utf8_lossy(prefix));
        }
    }

    #[test]
    fn names_are_no_credentials() {
        for name in ["sk-learn-documentation", "npm_package_manager", "ASIAPACIFICregion", "hf_", "", "AKIA"]
        {
            assert!(!begins(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_of_secrets_are_found_at_the_end() {
        for (text, expected) in [
            ("token", true),
            ("x&API-Key", true),
            ("access_token", true),
            ("csrf_token", true),
            ("monkey", false),
            ("tokens", false),
            ("token&", false),
            ("", false),
        ] {
            assert_eq!(is_named(text.as_bytes()), expected, "{text}");
        }
    }
}
