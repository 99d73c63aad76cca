//! Rows of a report: JSON arrays whose columns the report names once.
//!
//! A row is a JSON array, so that no name can break out of it. A reader goes by the names of the columns, so that an
//! agent may add columns that an older controller does not know.

use serde_json::Value;

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It is not a JSON array.
    #[error("cannot read {kind} {row} of the report: it is not a JSON array: {cause}")]
    NotAnArray {
        /// What the row is: a flow or an endpoint.
        kind: &'static str,
        /// Its place in the list, from 0.
        row: usize,
        /// What the JSON parser says.
        cause: String,
    },
    /// A value that must be there is not, or has another type.
    #[error("cannot read {kind} {row} of the report: {column} is missing or has the wrong type")]
    Column {
        /// What the row is: a flow or an endpoint.
        kind: &'static str,
        /// Its place in the list, from 0.
        row: usize,
        /// The column.
        column: &'static str,
    },
}

/// A kind of row.
pub(crate) trait Row: Sized {
    /// Its name in messages.
    const KIND: &'static str;
    /// The columns as this version writes them.
    const COLUMNS: &'static [&'static str];

    /// Reads the values of a row.
    fn read(values: &Reader<'_>) -> Result<Self, RowError>;
}

/// The names of the columns of a kind of row, as a report carries them.
pub(crate) fn names<R: Row>() -> Vec<String> {
    R::COLUMNS.iter().map(|&name| name.to_owned()).collect()
}

/// Reads rows by the report's own column names. A row that cannot be read is an error of its own and does not stop the
/// others.
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
    /// The value of a column; `null` and a column that the report does not have are both nothing.
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

    /// The value of a column that every row has.
    pub(crate) fn required<T>(
        &self,
        column: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, RowError> {
        self.optional(column, read)?.ok_or(self.wrong(column))
    }

    /// A text.
    pub(crate) fn text(&self, column: &'static str) -> Result<Option<String>, RowError> {
        self.optional(column, |value| value.as_str().map(str::to_owned))
    }

    /// A number that fits a small type.
    pub(crate) fn small<T: TryFrom<u64>>(&self, column: &'static str) -> Result<Option<T>, RowError> {
        self.optional(column, |value| value.as_u64().and_then(|n| T::try_from(n).ok()))
    }

    /// A count; 0 where the report has none.
    pub(crate) fn count(&self, column: &'static str) -> Result<i64, RowError> {
        Ok(self.optional(column, count)?.unwrap_or(0))
    }

    fn wrong(&self, column: &'static str) -> RowError {
        RowError::Column { kind: self.kind, row: self.row, column }
    }
}

/// A count that is not negative.
pub(crate) fn count(value: &Value) -> Option<i64> {
    value.as_i64().filter(|n| *n >= 0)
}

/// A value of a type that has a name in JSON.
pub(crate) fn read_as<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}
