//! The cost of showing HTTP requests, for a real server and for the process that reads them.
//!
//! * [`rates`]: throughput of a server, compared with tracing without HTTP and with no tracing.
//! * [`tls`]: throughput of a server that speaks TLS, while its plain text is read.
//! * [`reader`]: CPU of the process that parses, for each 10,000 requests.
//! * [`memory`]: memory that many open connections take.

mod memory;
mod rates;
mod reader;
mod tls;

use serde_json::Value;

use super::{
    Bench,
    rounds::{self, Crew},
    server::{self, Page},
    stage::Stage,
    switch::Commands,
};
use crate::support::{Result, TestError};

/// Arguments of the command for each level: tracing alone, and with requests.
const LEVELS: [&[&str]; 2] =
    [&["top", "-o", "json", "--interval", "5s", "--protocol", "TCP"], &["http", "-o", "json", "--summary"]];
/// Index of the level that traces without requests.
const TRACING: usize = 0;
/// Index of the level that traces with requests.
const HTTP: usize = 1;

/// The pages that are requested, with the names of their columns.
const PAGES: [(Page, &str); 3] =
    [(Page::Empty, "2 bytes"), (Page::File, "a file of 1 KiB"), (Page::Compressed, "8 KiB compressed")];

pub(super) fn run(bench: &Bench) -> Result<()> {
    if !server::is_installed("http") {
        return Ok(());
    }
    let stage = Stage::new(&bench.host)?;
    rates::run(bench, &stage)?;
    tls::run(bench, &stage)?;
    reader::run(bench, &stage)?;
    memory::run(bench, &stage)
}

/// Returns the number of requests that the last command counted, and the number of records that it lost.
fn counted(commands: &Commands<'_>) -> Result<(f64, f64)> {
    let line = commands.last_line();
    let ending: Value =
        serde_json::from_str(line).map_err(|_| TestError::unexpected("the last line", line))?;
    match (ending["totals"]["requests"].as_f64(), ending["lost"]["records"].as_f64()) {
        (Some(requests), Some(lost)) => Ok((requests, lost)),
        _ => Err(TestError::unexpected("the last line", line)),
    }
}

/// Fails unless requests are counted at this level; without that, its figures would mean nothing.
fn check_counts(commands: &mut Commands<'_>, level: usize, mut crew: Crew) -> Result<()> {
    rounds::to(commands, Some(level), &mut crew)?;
    rounds::to(commands, None, &mut crew)?;
    if counted(commands)?.0 > 0.0 {
        return Ok(());
    }
    Err(TestError::unexpected("the trace", "no request was counted, so its costs mean nothing"))
}
