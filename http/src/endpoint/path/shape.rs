//! Shapes of values: numbers, dates, addresses, UUIDs, versions.

use std::net::IpAddr;

/// Length in bytes of a UUID with its hyphens.
pub(super) const UUID: usize = 36;

/// Length in bytes of a date such as `2024-01-31`.
pub(super) const DATE: usize = 10;

/// Maximum number of digits of a group in a version such as `1.2.3`; longer groups are times or build numbers.
const MAX_VERSION_GROUP: usize = 4;

/// Returns whether a text is a number, or several with commas between them.
pub(super) fn is_number(text: &[u8]) -> bool {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let commas = text.contains(&b',');
    let others = text.iter().all(|byte| {
        byte.is_ascii_digit() || matches!(byte, b'-' | b'+') || commas && matches!(byte, b',' | b'.')
    });
    digits > 0 && others && (commas || !text[1..].iter().any(|byte| matches!(byte, b'-' | b'+')))
}

/// Returns whether a text is an IPv4 or IPv6 address.
pub(super) fn is_address(text: &[u8]) -> bool {
    text.len() >= 4 && std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

/// Returns whether a text is an e-mail address. Names of image files with a scale (`logo@2x.png`) and of packages with
/// a version (`left-pad@1.3.0.tgz`) do not count as one.
pub(super) fn is_email(text: &[u8]) -> bool {
    let Some(at) = text.iter().position(|byte| *byte == b'@') else {
        return false;
    };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    let mut labels = domain.split(|byte| *byte == b'.');
    let (first, last) = (labels.next().unwrap_or_default(), domain.rsplit(|byte| *byte == b'.').next());
    let numbers =
        domain.split(|byte| *byte == b'.').filter(|label| label.iter().all(u8::is_ascii_digit)).count();
    let is_scale = first.split_last().is_some_and(|(unit, number)| {
        *unit == b'x' && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
    });
    !local.is_empty()
        && local.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'/' | b':'))
        && domain.contains(&b'.')
        && domain.split(|byte| *byte == b'.').all(is_label)
        && last.is_some_and(|last| last.len() >= 2 && last.iter().all(u8::is_ascii_alphabetic))
        && !is_scale
        && numbers < 2
}

/// Returns whether a text is one label of a domain name.
fn is_label(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte >= 0x80)
}

/// Returns whether a text is a date without its day, a date, or a date with a time of day (ISO 8601).
pub(super) fn is_time(text: &[u8]) -> bool {
    match text {
        [year @ .., b'-', month0, month1] if year.len() == 4 => is_year(year) && is_month(*month0, *month1),
        _ if starts_with_date(text) => {
            matches!(&text[DATE..], [] | [b'T' | b't' | b' ', b'0'..=b'9', ..])
                && text[DATE..].iter().all(|byte| {
                    byte.is_ascii_digit()
                        || matches!(byte, b'T' | b't' | b'Z' | b'z' | b' ' | b':' | b'.' | b'+' | b'-')
                })
        }
        _ => is_compact_time(text),
    }
}

/// Returns whether a text is a time such as `20240131T120000Z`.
fn is_compact_time(text: &[u8]) -> bool {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    matches!(text.len(), 13 | 15)
        && is_year(&text[..4])
        && text
            .iter()
            .enumerate()
            .all(|(index, byte)| if index == 8 { *byte == b'T' } else { byte.is_ascii_digit() })
}

/// Returns whether a text begins with a date such as `2024-01-31`.
pub(super) fn starts_with_date(text: &[u8]) -> bool {
    match text {
        [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, ..] => {
            is_year(&[*y0, *y1, *y2, *y3])
                && is_month(*m0, *m1)
                && matches!(d0, b'0'..=b'3')
                && d1.is_ascii_digit()
        }
        _ => false,
    }
}

/// Returns whether four bytes are a year from 1900 to 2199.
fn is_year(text: &[u8]) -> bool {
    matches!(text, [b'1', b'9', ..] | [b'2', b'0' | b'1', ..]) && text.iter().all(u8::is_ascii_digit)
}

/// Returns whether two digits are a month.
fn is_month(tens: u8, ones: u8) -> bool {
    matches!((tens, ones), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2'))
}

/// Returns whether a text begins with a UUID, and no letter or digit follows.
pub(super) fn starts_with_uuid(text: &[u8]) -> bool {
    text.len() >= UUID
        && text.get(UUID).is_none_or(|byte| !byte.is_ascii_alphanumeric())
        && text[..UUID].iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns the length of the version at the beginning of a text (`v1.31`, `1.2.3`), if there is one.
pub(super) fn version(text: &[u8]) -> Option<usize> {
    let mut at = usize::from(text.first().is_some_and(|byte| matches!(byte, b'v' | b'V')));
    let mut groups = 0;
    loop {
        let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > MAX_VERSION_GROUP {
            return None;
        }
        at += digits;
        groups += 1;
        match &text[at..] {
            [b'.', b'0'..=b'9', ..] => at += 1,
            [] | [b'-' | b'+' | b'.' | b'_' | b'{', ..] => return (groups > 1).then_some(at),
            _ => return None,
        }
    }
}
