//! Other tools that show the users of the network.

use std::{fmt, time::Duration};

use rustix::process::Signal;

use super::Switch;
use crate::{
    bench::child,
    support::{Result, TestError, process::Process},
};

/// A tool that is started to switch it on and killed to switch it off.
pub(in crate::bench) struct Tool {
    /// Its name in tables.
    title: &'static str,
    /// Program that must be installed.
    program: &'static str,
    /// Command for the shell, which it replaces.
    command: &'static str,
    /// Word that it prints once it counts.
    ready: &'static str,
    process: Option<Process>,
    on: bool,
}

/// Title, program, command, and the word that says that it counts.
const TOOLS: [(&str, &str, &str, &str); 3] = [
    ("`tcpdump -w /dev/null`", "tcpdump", "exec tcpdump -i lo -w /dev/null 2>&1", "listening on"),
    ("`nethogs`", "nethogs", "exec nethogs -t -a -d 1", "Refreshing"),
    // Its tracepoints need tracefs, which is mounted for it alone where it is not.
    (
        "`bpftrace`, bytes by process",
        "bpftrace",
        "exec unshare --mount sh -c '
            mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing
            exec bpftrace -e \"BEGIN { printf(\\\"ready\\n\\\"); }
                tracepoint:sock:sock_send_length { @tx[pid, comm] = sum(args->ret); }
                tracepoint:sock:sock_recv_length { @rx[pid, comm] = sum(args->ret); }\" 2>&1'",
        "ready",
    ),
];

impl Tool {
    /// Tools that are installed; prints the names of those that are not.
    pub(in crate::bench) fn installed() -> Vec<Self> {
        TOOLS
            .into_iter()
            .filter(|(_, program, ..)| {
                let there = child::installed(program).is_some();
                if !there {
                    println!("Not compared, since it is not installed: {program}.");
                }
                there
            })
            .map(|(title, program, command, ready)| Self::new(title, program, command, ready))
            .collect()
    }

    /// A program that does nothing and takes as long to start as the others. Its cost is the measurement's own error.
    pub(in crate::bench) fn nothing() -> Self {
        Self::new(
            "control: a program that does nothing",
            "sleep",
            "sleep 0.4; echo ready; exec sleep 1000",
            "ready",
        )
    }

    fn new(title: &'static str, program: &'static str, command: &'static str, ready: &'static str) -> Self {
        Self { title, program, command, ready, process: None, on: false }
    }
}

impl Switch for Tool {
    fn begin(&mut self, level: Option<usize>) -> Result<()> {
        self.on = level.is_some();
        match &self.process {
            // Not all of them heed a milder signal.
            Some(process) => process.signal(Signal::KILL),
            None => {
                self.process = Some(Process::start(child::command("sh").args(["-c", self.command]))?);
                Ok(())
            }
        }
    }

    fn done(&mut self) -> Result<bool> {
        let Some(process) = &self.process else { return Ok(!self.on) };
        loop {
            match process.line(Duration::ZERO) {
                Ok(Some(line)) if self.on && line.contains(self.ready) => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) if self.on => return Err(TestError::unexpected(self.program, "it ended by itself")),
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

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title)
    }
}
