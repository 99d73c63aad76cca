//! Errors of what people type.

use thiserror::Error;

/// A filter that cannot be understood.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// The field before the colon does not exist.
    #[error("there is no field {field:?} to filter by; the fields are {}", crate::filter::FIELDS.join(", "))]
    Field {
        /// The name that was typed.
        field: String,
    },
    /// The value of a field is not one that the field can have.
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
