//! The output formats of a snapshot.

use std::io::{self, Write as _};

use rustix::termios::tcgetwinsize;
use traffictrace_view::{Snapshot, csv, json, text};

use super::args::{Output, TopArgs};
use crate::host::Printer;

/// Makes a printer to standard output.
pub(super) fn printer(args: &TopArgs) -> Printer {
    let args = args.clone();
    Printer::new(move |snapshot, is_first| print(&args, &snapshot, is_first))
}

/// Prints a snapshot to standard output.
pub(super) fn print(args: &TopArgs, snapshot: &Snapshot, is_first: bool) -> io::Result<()> {
    let mut out = Vec::new();
    match args.output {
        Output::Json => json::write(&mut out, snapshot)?,
        Output::Csv => csv::Writer::new(&mut out, is_first && args.has_headers()).write(snapshot)?,
        Output::Table => {
            let width = tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col.into());
            // An unknown width is reported as 0.
            let options = text::Options { width: width.filter(|width| *width > 0), ..args.table() };
            if !is_first {
                out.push(b'\n');
            }
            out.extend(text::table(snapshot, &options).into_bytes());
        }
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()
}
