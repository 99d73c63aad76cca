//! The product on one host: each level is a command that is started to switch it on and interrupted to switch it off.

use std::{ffi::OsStr, fmt, path::Path, time::Duration};

use rustix::process::Signal;

use super::Switch;
use crate::{
    bench::child,
    support::{Result, TestError, needs::Host, process::Process},
};

/// Beginning of the line that the product prints once it traces.
const READY: &str = "Tracing ";

/// Commands of the product that trace one cgroup.
pub(in crate::bench) struct Commands<'a> {
    host: &'a Host,
    cgroup: &'a Path,
    /// Arguments of each level's command, without the cgroup.
    levels: &'a [&'a [&'a str]],
    process: Option<Process>,
    on: bool,
    /// The last line that the command printed.
    last: String,
}

impl<'a> Commands<'a> {
    /// Prepares the commands; none runs yet.
    pub(in crate::bench) fn new(host: &'a Host, cgroup: &'a Path, levels: &'a [&'a [&'a str]]) -> Self {
        Self { host, cgroup, levels, process: None, on: false, last: String::new() }
    }

    /// Process id of the running command.
    pub(in crate::bench) fn pid(&self) -> Result<u32> {
        let process = self.process.as_ref();
        Ok(process.ok_or_else(|| TestError::unexpected("the product", "it is switched off"))?.pid())
    }

    /// Returns the last line that the most recently ended command printed.
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
            // The command reports on standard error that it traces, so both outputs are merged.
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
                    // The process has closed its output and is about to end; dropping the `Process` waits for that.
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
