//! Texts for people: beside the output, and inside messages.

use std::io::{self, Write as _};

use traffictrace_crd::human::printable;

use crate::error::CliError;

/// Writes a line to standard error. A terminal that is gone is nobody to be told.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output.
///
/// # Errors
///
/// [`CliError::Output`]; that of a broken pipe means that the reader has had enough.
pub(crate) fn print(text: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}

/// A text of the command line in quotes, without what could move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}
