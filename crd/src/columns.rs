//! Rows of a report: JSON arrays whose columns are named once, in the report.
//!
//! A row is a JSON array because JSON escapes every name in it, whatever characters the name has. Readers find a
//! value by the name of its column, so an agent may add columns that an older controller does not know.

use serde_json::Value;

/// An error in reading one row of a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The row is not a JSON array.
    #[error("cannot read {kind} {row} of the report: it is not a JSON array: {cause}")]
    NotAnArray {
        /// Kind of the row: flow or endpoint.
        kind: &'static str,
        /// Index of the row in the report's list, from 0.
        row: usize,
        /// The JSON parser's error.
        cause: String,
    },
    /// A required value is missing, or a value has the wrong type.
    #[error("cannot read {kind} {row} of the report: {column} is missing or has the wrong type")]
    Column {
        /// Kind of the row: flow or endpoint.
        kind: &'static str,
        /// Index of the row in the report's list, from 0.
        row: usize,
        /// Name of the column.
        column: &'static str,
    },
}

/// A kind of row: flow or endpoint.
pub(crate) trait Row: Sized {
    /// Name of the kind in error messages.
    const KIND: &'static str;
    /// Names of the columns, in the order in which this version writes their values.
    const COLUMNS: &'static [&'static str];

    /// Reads the values of a row.
    fn read(values: &Reader<'_>) -> Result<Self, RowError>;
}

/// Names of the columns of one kind of row, as written into a report.
pub(crate) fn names<R: Row>() -> Vec<String> {
    R::COLUMNS.iter().map(|&name| name.to_owned()).collect()
}

/// Reads rows whose values are in the order of `columns`, the report's own column names. A row that cannot be read
/// yields an error, and the rows after it are still read.
pub(crate) fn decode<'a, R: Row + 'a>(
    columns: &'a [String],
    rows: &'a [String],
) -> impl Iterator<Item = Result<R, RowError>> + 'a {
    let places: Vec<Option<usize>> =
        R::COLUMNS.iter().map(|name| columns.iter().position(|column| column == name)).collect();
    rows.iter().enumerate().map(move |(row, text)| {
        let values: Vec<Value> = serde_json::from_str(text).map_err(|e| RowError::NotAnArray {
            kind: R::KIND,
            row,
            cause: e.to_string(),
        })?;
        R::read(&Reader { kind: R::KIND, names: R::COLUMNS, row, places: &places, values: &values })
    })
}

/// One row that is being read.
pub(crate) struct Reader<'a> {
    kind: &'static str,
    names: &'static [&'static str],
    row: usize,
    places: &'a [Option<usize>],
    values: &'a [Value],
}

impl Reader<'_> {
    /// Reads the value of a column; `None` if the value is `null` or the report has no such column.
    pub(crate) fn optional<T>(
        &self,
        column: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, RowError> {
        let place = self.names.iter().position(|&name| name == column).and_then(|at| self.places[at]);
        match place.and_then(|at| self.values.get(at)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or(self.wrong(column)),
        }
    }

    /// Reads the value of a column that every row must have; an error if it is missing.
    pub(crate) fn required<T>(
        &self,
        column: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, RowError> {
        self.optional(column, read)?.ok_or(self.wrong(column))
    }

    /// Reads the text of a column, if there is one.
    pub(crate) fn text(&self, column: &'static str) -> Result<Option<String>, RowError> {
        self.optional(column, |value| value.as_str().map(str::to_owned))
    }

    /// Reads the number of a column, if there is one; an error if the number does not fit `T`.
    pub(crate) fn small<T: TryFrom<u64>>(&self, column: &'static str) -> Result<Option<T>, RowError> {
        self.optional(column, |value| value.as_u64().and_then(|n| T::try_from(n).ok()))
    }

    /// Reads the count of a column; 0 if there is none.
    pub(crate) fn count(&self, column: &'static str) -> Result<i64, RowError> {
        Ok(self.optional(column, count)?.unwrap_or(0))
    }

    fn wrong(&self, column: &'static str) -> RowError {
        RowError::Column { kind: self.kind, row: self.row, column }
    }
}

/// Reads a count: an integer of at least 0.
pub(crate) fn count(value: &Value) -> Option<i64> {
    value.as_i64().filter(|n| *n >= 0)
}

/// Reads a value of any type that serde can deserialise, such as an enum by the name of its variant.
pub(crate) fn read_as<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}
