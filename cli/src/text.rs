//! Texts for people: beside the output, and inside messages.

use std::io::{self, Write as _};

use traffictrace_crd::human::printable;

/// Writes a line to standard error. A terminal that is gone is nobody to be told.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A text of the command line in quotes, without what could move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}
