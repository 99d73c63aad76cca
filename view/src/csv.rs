//! Comma-separated values for spreadsheets and scripts, as RFC 4180 defines them: the lines of snapshots
//! ([`crate::lines`]). A value that is not known is an empty field.
//!
//! Traced names are made safe, so a name can differ from the one in JSON: control characters and those that change the direction
//! of writing become `?`, and a name that begins with `=`, `+`, `-` or `@`, which a spreadsheet would evaluate as a formula, gets
//! an apostrophe before it. Losses belong to no flow, so there is no line for them; callers show [`crate::losses::in_words`]
//! elsewhere.

use std::io::{self, Write};

use serde::Serialize;
use traffictrace_crd::human;

use crate::{Snapshot, lines};

/// Characters that begin a formula in spreadsheets, including the full-width forms.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Writes snapshots as CSV.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: csv::Writer<W>,
}

impl<W: Write> Writer<W> {
    /// Makes a writer. If `headers` is true, the first line has the names of the columns.
    #[must_use]
    pub fn new(out: W, headers: bool) -> Self {
        let out =
            csv::WriterBuilder::new().has_headers(headers).terminator(csv::Terminator::CRLF).from_writer(out);
        Self { out }
    }

    /// Writes the lines of a snapshot's flows, and flushes the output.
    ///
    /// # Errors
    ///
    /// Errors of the writer; [`io::ErrorKind::BrokenPipe`] if the reader of a pipe has closed it.
    pub fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for mut line in lines::flows(snapshot) {
            line.names().into_iter().for_each(make_safe);
            self.line(&line)?;
        }
        self.out.flush()
    }

    /// Writes the lines of a snapshot's HTTP endpoints, and flushes the output. Use one writer either for flows or for
    /// endpoints, since their columns differ.
    ///
    /// # Errors
    ///
    /// Those of [`Writer::write`].
    pub fn write_endpoints(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for mut line in lines::endpoints(snapshot) {
            line.names().into_iter().for_each(make_safe);
            self.line(&line)?;
        }
        self.out.flush()
    }

    /// Writes one line of any other type. Its texts must be [safe].
    ///
    /// # Errors
    ///
    /// Those of [`Writer::write`].
    pub fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.out.serialize(line).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

/// Makes a traced name safe: it can neither move a terminal's cursor nor be evaluated as a formula.
#[must_use]
pub fn safe(name: &str) -> String {
    let name = human::printable(name);
    if name.trim_start().starts_with(FORMULA) { format!("'{name}") } else { name.into_owned() }
}

fn make_safe(name: &mut Option<String>) {
    if let Some(name) = name {
        *name = safe(name);
    }
}

#[cfg(test)]
mod tests;
