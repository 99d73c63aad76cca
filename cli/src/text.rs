//! Texts for people: messages on standard error, and parts of messages.

use std::io::{self, Write as _};

use tokio::task::spawn_blocking;
use traffictrace_crd::human::printable;

use crate::error::CliError;

/// Writes a line to standard error. Errors are ignored: if the terminal is gone, nobody can read them.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output.
///
/// # Errors
///
/// [`CliError::Output`]; a broken pipe means that the reader has closed it.
pub(crate) fn print(text: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}

/// Writes to standard output on another thread, so that a reader that has stopped does not delay the handling of signals.
///
/// # Errors
///
/// Those of [`print()`].
pub(crate) async fn print_aside(text: String) -> Result<(), CliError> {
    let printed = spawn_blocking(move || print(text.as_bytes())).await;
    printed.map_err(|error| CliError::Output(io::Error::other(error)))?
}

/// Quotes a text of the command line, without characters that could move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}
