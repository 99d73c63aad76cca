//! Workers: each makes load for the length of a slice on request.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use clap::ValueEnum as _;

use super::{child, load::Kind};
use crate::support::{Result, TestError};

/// A source of load that is idle between slices.
pub(super) trait Worker {
    /// Begins a slice.
    fn begin(&mut self) -> Result<()>;

    /// Waits for the end of the slice; returns the nanoseconds that one operation took.
    fn end(&mut self) -> Result<f64>;

    /// Runs a whole slice; returns the nanoseconds that one operation took.
    fn slice(&mut self) -> Result<f64> {
        self.begin()?;
        self.end()
    }
}

/// Length of a slice of a load.
const SLICE: Duration = Duration::from_millis(3);
/// Number of operations of the warm-up, which runs twice. The time of the second run tells how many operations fill a
/// slice.
const WARM_UP: u64 = 100;

/// A process that makes one kind of load.
pub(super) struct LoadWorker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Number of operations in a slice.
    operations: u64,
}

impl LoadWorker {
    /// Starts the process in a cgroup, on one processor, and warms it up.
    pub(super) fn start(kind: Kind, cgroup: &Path, cpu: usize) -> Result<Self> {
        let mut worker = Self::start_cold(kind, cgroup, Some(cpu), 0)?;
        worker.work(WARM_UP)?;
        let nanos = worker.work(WARM_UP)? / WARM_UP as f64;
        worker.operations = ((SLICE.as_nanos() as f64 / nanos) as u64).max(1);
        Ok(worker)
    }

    /// Starts the process without making it work; `peers` is for [`Kind::Peers`].
    pub(super) fn start_cold(kind: Kind, cgroup: &Path, cpu: Option<usize>, peers: u32) -> Result<Self> {
        let program = std::env::current_exe().map_err(TestError::io("find this program"))?;
        let name = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut command = child::command(program);
        command.args(["load", &name, "--peers", &peers.to_string(), "--cgroup"]).arg(cgroup);
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(TestError::io("start a load (setpriv of util-linux starts it)"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(TestError::unexpected("a load", "without pipes"));
        };
        let mut worker = Self { child, requests, answers: BufReader::new(answers), operations: 1 };
        let line = worker.answer()?;
        if line != "ready" {
            return Err(TestError::unexpected("the first line of a load", line));
        }
        Ok(worker)
    }

    /// Makes the process do a number of operations; returns the nanoseconds that all of them took.
    pub(super) fn work(&mut self, operations: u64) -> Result<f64> {
        self.ask(operations)?;
        self.took()
    }

    fn ask(&mut self, operations: u64) -> Result<()> {
        writeln!(self.requests, "{operations}").map_err(TestError::io("ask for load"))
    }

    fn took(&mut self) -> Result<f64> {
        let line = self.answer()?;
        line.parse().map_err(|_| TestError::unexpected("the answer of a load", line))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(TestError::io("wait for a load"))?;
        if line.is_empty() {
            return Err(TestError::unexpected("a load", "it ended; its own message is above"));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Worker for LoadWorker {
    fn begin(&mut self) -> Result<()> {
        self.ask(self.operations)
    }

    fn end(&mut self) -> Result<f64> {
        Ok(self.took()? / self.operations as f64)
    }
}

impl Drop for LoadWorker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
