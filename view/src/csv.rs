//! Comma-separated values for spreadsheets and scripts, by RFC 4180: the [lines](crate::lines) of snapshots. What is not known is
//! empty.
//!
//! Traced names are made safe, so a name can differ from the JSON's: control characters and those that change the direction of
//! writing become `?`, and a name that a spreadsheet would calculate, since it begins with `=`, `+`, `-` or `@`, has an
//! apostrophe before it. Losses have no line, since they are in no flow: callers show [`crate::losses::in_words`] elsewhere.

use std::io::{self, Write};

use serde::Serialize;
use traffictrace_crd::human;

use crate::{Snapshot, lines};

/// Characters that begin a formula, those of full width included.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Writes snapshots as CSV.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: csv::Writer<W>,
}

impl<W: Write> Writer<W> {
    /// A writer whose first line has the names of the columns, unless they are not wanted.
    #[must_use]
    pub fn new(out: W, headers: bool) -> Self {
        let out =
            csv::WriterBuilder::new().has_headers(headers).terminator(csv::Terminator::CRLF).from_writer(out);
        Self { out }
    }

    /// Writes the lines of a snapshot's flows, and flushes.
    ///
    /// # Errors
    ///
    /// Those of the writer; [`io::ErrorKind::BrokenPipe`] when the reader has had enough.
    pub fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for mut line in lines::flows(snapshot) {
            line.names().into_iter().for_each(make_safe);
            self.line(&line)?;
        }
        self.out.flush()
    }

    /// Writes the lines of a snapshot's endpoints of HTTP, and flushes. A writer has lines of flows or of endpoints, not of
    /// both.
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn write_endpoints(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for mut line in lines::endpoints(snapshot) {
            line.names().into_iter().for_each(make_safe);
            self.line(&line)?;
        }
        self.out.flush()
    }

    /// Writes one line of another kind. Its texts must be [safe].
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.out.serialize(line).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

/// A traced name that neither moves a cursor nor calculates.
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
