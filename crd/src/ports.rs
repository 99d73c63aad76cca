//! Ports as users write them: `443`, `"443"` or `"8000-8100"`.

use std::ops::RangeInclusive;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Regular expression for the text of a port or a range. The schema uses the same expression.
pub(crate) const PATTERN: &str = "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$";

/// A text or number that is neither a port nor a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortRangeError {
    /// The text is neither a number from 1 to 65535 nor two such numbers with `-` between them.
    #[error("cannot read {text:?} as a port: write a number from 1 to 65535 or a range such as 8000-8100")]
    NotAPort {
        /// The text as written.
        text: String,
    },
    /// The range ends before it begins.
    #[error("the port range {text:?} is reversed: write {last}-{first}")]
    Reversed {
        /// The text as written.
        text: String,
        /// First number of the text.
        first: u16,
        /// Last number of the text, smaller than the first.
        last: u16,
    },
}

/// Parses one port or one range of ports.
///
/// # Errors
///
/// [`PortRangeError`], whose message says what to write instead.
pub fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, PortRangeError> {
    let number = |part: &str| match part.parse::<u16>() {
        Ok(port) if port > 0 && part.bytes().all(|b| b.is_ascii_digit()) && !part.starts_with('0') => {
            Ok(port)
        }
        _ => Err(PortRangeError::NotAPort { text: text.to_owned() }),
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last {
        return Err(PortRangeError::Reversed { text: text.to_owned(), first, last });
    }
    Ok(first..=last)
}

/// Parses one item of `spec.ports`, which is a number or a text.
///
/// # Errors
///
/// [`PortRangeError`], whose message says what to write instead.
pub fn parse_port(port: &IntOrString) -> Result<RangeInclusive<u16>, PortRangeError> {
    match port {
        IntOrString::Int(number) => parse_ports(&number.to_string()),
        IntOrString::String(text) => parse_ports(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_numbers_and_ranges() {
        assert_eq!(parse_ports("443"), Ok(443..=443));
        assert_eq!(parse_ports("8000-8100"), Ok(8000..=8100));
        assert_eq!(parse_port(&IntOrString::Int(65535)), Ok(65535..=65535));
    }

    #[test]
    fn refuses_what_is_no_port() {
        for text in ["", "0", "65536", "-1", "80-", "-80", "80-90-100", "http", "+80", "080", " 80"] {
            assert!(matches!(parse_ports(text), Err(PortRangeError::NotAPort { .. })), "{text:?}");
        }
        assert!(parse_port(&IntOrString::Int(-1)).is_err());
    }

    #[test]
    fn a_reversed_range_is_told_how_to_stand() {
        let message = parse_ports("8100-8000").unwrap_err().to_string();
        assert!(message.contains("write 8000-8100"), "{message}");
    }

    proptest! {
        #[test]
        fn every_range_is_read_as_it_is_written(first in 1..=u16::MAX, last in 1..=u16::MAX) {
            let text = format!("{first}-{last}");
            match parse_ports(&text) {
                Ok(range) => prop_assert_eq!(range, first..=last),
                Err(error) => {
                    prop_assert!(first > last);
                    prop_assert_eq!(error, PortRangeError::Reversed { text, first, last });
                }
            }
            prop_assert_eq!(parse_ports(&first.to_string()), Ok(first..=first));
        }

        #[test]
        fn any_other_text_is_refused_by_its_words(text in "\\PC{0,12}|[0-9 +.-]{0,12}") {
            match parse_ports(&text) {
                // Writing the parsed range back gives the same text, so no part of the text was ignored.
                Ok(range) if range.start() == range.end() && !text.contains('-') => {
                    prop_assert_eq!(text, range.start().to_string());
                }
                Ok(range) => prop_assert_eq!(text, format!("{}-{}", range.start(), range.end())),
                Err(error) => {
                    let (message, written) = (error.to_string(), format!("{text:?}"));
                    prop_assert!(message.contains(&written), "{message}");
                }
            }
        }
    }
}
