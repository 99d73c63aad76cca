//! Other tools that show which processes use the network.

use std::{fmt, time::Duration};

use rustix::process::Signal;

use super::Switch;
use crate::{
    bench::child,
    support::{Result, TestError, needs, process::Process},
};

/// A tool that is started to switch it on and killed to switch it off.
pub(in crate::bench) struct Tool {
    /// Name of the tool in tables.
    title: &'static str,
    /// Program that must be installed.
    program: &'static str,
    /// Shell command; it ends in `exec`, so that the tool replaces the shell.
    command: &'static str,
    /// Text that the tool prints once it counts.
    ready: &'static str,
    process: Option<Process>,
    on: bool,
}

/// Title, program, command, and the text that shows that the tool counts.
const TOOLS: [(&str, &str, &str, &str); 3] = [
    ("`tcpdump -w /dev/null`", "tcpdump", "exec tcpdump -i lo -w /dev/null 2>&1", "listening on"),
    ("`nethogs`", "nethogs", "exec nethogs -t -a -d 1", "Refreshing"),
    // bpftrace needs tracefs, which is mounted in a namespace of its own if the machine has not mounted it.
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
    /// Returns the tools that are installed and prints the names of the others.
    pub(in crate::bench) fn installed() -> Vec<Self> {
        TOOLS
            .into_iter()
            .filter(|(_, program, ..)| {
                let there = needs::in_path(program).is_some();
                if !there {
                    println!("Not compared, since it is not installed: {program}.");
                }
                there
            })
            .map(|(title, program, command, ready)| Self::new(title, program, command, ready))
            .collect()
    }

    /// A program that does nothing and takes as long to start as the tools. Its cost shows the error of the
    /// measurement.
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
            // SIGKILL, since not all tools react to a milder signal.
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

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title)
    }
}
