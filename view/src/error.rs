//! Errors in texts that people type and in files that they give.

use std::io;

use thiserror::Error;

/// A filter that cannot be parsed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// The field before the colon does not exist.
    #[error("there is no field {field:?} to filter by; the fields are {}", crate::filter::FIELDS.join(", "))]
    Field {
        /// The name that was typed.
        field: String,
    },
    /// The field cannot have this value.
    #[error("{field}:{value} is not a {expected}")]
    Value {
        /// The field's name.
        field: &'static str,
        /// The text after the colon.
        value: String,
        /// The form that the value must have, such as `port`.
        expected: &'static str,
    },
}

/// An error while reading a recording. Lines are counted from 1.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// Reading the file failed.
    #[error("cannot read line {line} of the recording: {source}")]
    Read {
        /// Number of the line.
        line: u64,
        /// The operating system's error.
        source: io::Error,
    },
    /// The line is longer than any snapshot can be.
    #[error("line {line} of the recording has more than {limit} bytes, so it is no snapshot")]
    TooLong {
        /// Number of the line.
        line: u64,
        /// Maximum length of a line, in bytes.
        limit: usize,
    },
    /// The line is not a snapshot, such as the last line of a recording that was cut off.
    #[error("line {line} of the recording is no snapshot of `traffictrace top -o json`: {source}")]
    Malformed {
        /// Number of the line.
        line: u64,
        /// The parser's error, with its position in the line.
        source: serde_json::Error,
    },
}
