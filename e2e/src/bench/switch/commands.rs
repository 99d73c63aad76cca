//! The product on one host: a command for each level, started to switch it on and interrupted to switch it off.

use std::{ffi::OsStr, fmt, path::Path, time::Duration};

use rustix::process::Signal;

use super::Switch;
use crate::{
    bench::child,
    support::{Result, TestError, needs::Host, process::Process},
};

/// Beginning of the line that says that it traces.
const READY: &str = "Tracing ";

/// Commands of the product that trace one cgroup.
pub(in crate::bench) struct Commands<'a> {
    host: &'a Host,
    cgroup: &'a Path,
    /// Arguments of each level's command, but for the cgroup.
    levels: &'a [&'a [&'a str]],
    process: Option<Process>,
    on: bool,
    /// The last line that it printed.
    last: String,
}

impl<'a> Commands<'a> {
    /// None of them runs yet.
    pub(in crate::bench) fn new(host: &'a Host, cgroup: &'a Path, levels: &'a [&'a [&'a str]]) -> Self {
        Self { host, cgroup, levels, process: None, on: false, last: String::new() }
    }

    /// The process id of the command that runs.
    pub(in crate::bench) fn pid(&self) -> Result<u32> {
        let process = self.process.as_ref();
        Ok(process.ok_or_else(|| TestError::unexpected("the product", "it is switched off"))?.pid())
    }

    /// The last line of the command that was switched off last.
    pub(in crate::bench) fn last_line(&self) -> &str {
        &self.last
    }
}

impl Switch for Commands<'_> {
    fn begin(&mut self, level: Option<usize>) -> Result<()> {
        self.on = level.is_some();
        if let Some(process) = &self.process {
            return process.signal(Signal::INT);
        }
        if let Some(level) = level {
            let mut command = child::command("sh");
            // It says on standard error that it traces.
            command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(&self.host.traffictrace);
            command.args(self.levels[level]).arg(OsStr::new("--cgroup")).arg(self.cgroup);
            self.process = Some(Process::start(&mut command)?);
        }
        Ok(())
    }

    fn done(&mut self) -> Result<bool> {
        let Some(process) = &self.process else { return Ok(!self.on) };
        loop {
            match process.line(Duration::ZERO) {
                Ok(Some(line)) if self.on && line.starts_with(READY) => return Ok(true),
                Ok(Some(line)) => self.last = line,
                Ok(None) if self.on => return Err(TestError::unexpected("the product's end", &self.last)),
                Ok(None) => {
                    // Its output is closed: it is about to be gone, which dropping waits for.
                    self.process = None;
                    return Ok(true);
                }
                Err(TestError::Deadline { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Display for Commands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("traffictrace on a host")
    }
}
