//! What it costs a real server, and the process that reads, when its requests are shown.
//!
//! * [`rates`]: throughput, beside tracing without HTTP and beside nothing.
//! * [`tls`]: throughput of a server that speaks TLS, whose plain text is read.
//! * [`reader`]: CPU of the process that parses, for each 10,000 requests.
//! * [`memory`]: what many open connections take.

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

/// Arguments of what is switched on, by level: tracing alone, and with requests.
const LEVELS: [&[&str]; 2] =
    [&["top", "-o", "json", "--interval", "5s", "--protocol", "TCP"], &["http", "-o", "json", "--summary"]];
/// The level that has tracing alone.
const TRACING: usize = 0;
/// The level that has requests.
const HTTP: usize = 1;

/// What the servers are asked for, with the columns' names.
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

/// Requests that the command counted that was switched off last, and records that it lost.
fn counted(commands: &Commands<'_>) -> Result<(f64, f64)> {
    let line = commands.last_line();
    let ending: Value =
        serde_json::from_str(line).map_err(|_| TestError::unexpected("the last line", line))?;
    match (ending["totals"]["requests"].as_f64(), ending["lost"]["records"].as_f64()) {
        (Some(requests), Some(lost)) => Ok((requests, lost)),
        _ => Err(TestError::unexpected("the last line", line)),
    }
}

/// Fails unless requests are counted at this level: without that, its figures mean nothing.
fn check_counts(commands: &mut Commands<'_>, level: usize, mut crew: Crew) -> Result<()> {
    rounds::to(commands, Some(level), &mut crew)?;
    rounds::to(commands, None, &mut crew)?;
    if counted(commands)?.0 > 0.0 {
        return Ok(());
    }
    Err(TestError::unexpected("the trace", "no request was counted, so its costs mean nothing"))
}
