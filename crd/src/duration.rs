//! Durations as users write them: `30s`, `10m`, `1h30m`.

use std::fmt;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Maximum length of a duration's text, in characters.
pub(crate) const MAX_LENGTH: usize = 16;
/// Regular expression for the text of a duration. The rules of the schema use the same expression.
pub(crate) const PATTERN: &str = "^([0-9]{1,5}[hms]){1,3}$";

/// Value of `ttlAfterFinished` that keeps a finished trace until somebody deletes it.
pub(crate) const NEVER: &str = "Never";

/// A length of time as text, such as `30s`, `10m` or `1h30m`.
///
/// The text is kept as written, even if it is not valid, so that one bad field does not make a whole object
/// unreadable. [`Duration::get`] parses the text and reports the error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(String);

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {text:?} as a duration: write hours, minutes or seconds, such as 30s, 10m or 1h30m")]
pub struct DurationError {
    text: String,
}

impl Duration {
    /// Makes a duration from a text without checking it; [`Duration::get`] does.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the text into a length of time.
    ///
    /// # Errors
    ///
    /// [`DurationError`] if the text is not one to three numbers of at most five digits, each followed by `h`, `m` or `s`.
    pub fn get(&self) -> Result<StdDuration, DurationError> {
        let fail = || DurationError { text: self.0.clone() };
        let mut seconds: u64 = 0;
        let mut parts = 0;
        let mut rest = self.0.as_str();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=5).contains(&digits) || parts == 3 {
                return Err(fail());
            }
            let (number, tail) = rest.split_at(digits);
            let scale = match tail.bytes().next() {
                Some(b'h') => 3600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(fail()),
            };
            seconds += number.parse::<u64>().map_err(|_| fail())? * scale;
            rest = &tail[1..];
            parts += 1;
        }
        if parts == 0 { Err(fail()) } else { Ok(StdDuration::from_secs(seconds)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_LENGTH })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [
            ("5s", 5),
            ("10m", 600),
            ("1h", 3600),
            ("1h30m", 5400),
            ("1h1m1s", 3661),
            ("0s", 0),
            ("00090s", 90),
        ] {
            assert_eq!(Duration::new(text).get(), Ok(StdDuration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn agrees_with_the_pattern_of_the_schema_on_everything() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for text in [
            "", "5", "s", "5 s", "-5s", "5ms", "1.5h", "5S", "100000s", "99999h", "1h1h1h", "1h1m1s1s",
            "5s ", "5d", "5s\n", "٣s", "10m", "é",
        ] {
            assert_eq!(Duration::new(text).get().is_ok(), pattern.is_match(text), "{text:?}");
        }
    }

    #[test]
    fn the_message_says_what_to_write() {
        let message = Duration::new("ten minutes").get().unwrap_err().to_string();
        assert!(message.contains("ten minutes") && message.contains("10m"), "{message}");
    }
}
