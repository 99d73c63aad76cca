//! Running `tt-workload` on this machine.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use super::{Result, TestError, needs, process::Process, wait};
use crate::workload::count::{Event, Line};

/// Time limit for an answer of a workload, shorter than the workload's own limit.
const LIMIT: Duration = Duration::from_secs(60);

/// One run of `tt-workload`.
#[derive(Debug)]
pub struct Workload {
    process: Process,
}

impl Workload {
    /// Starts the workload inside `cgroup`, with the rest of its command line.
    ///
    /// # Errors
    ///
    /// Fails when the program is not built or cannot be started.
    pub fn start(cgroup: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_for(Duration::from_secs(120), cgroup, arguments)
    }

    /// Starts the workload as [`Workload::start`] does, but the workload ends by itself after `time`, in whole seconds.
    ///
    /// # Errors
    ///
    /// Fails when the program is not built or cannot be started.
    pub fn start_for(time: Duration, cgroup: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(needs::program("tt-workload")?);
        let seconds = time.as_secs().to_string();
        command.arg("--cgroup").arg(cgroup).args(["--for", &seconds]).args(arguments);
        Self::of(&mut command)
    }

    /// Starts a command that runs the workload, for example in a container.
    ///
    /// # Errors
    ///
    /// Fails if the process cannot be started.
    pub fn of(command: &mut Command) -> Result<Self> {
        Ok(Self { process: Process::start(command)? })
    }

    /// Starts a server on a free port of `address` and waits until it listens; returns it with its address.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn server(cgroup: &Path, address: &str, arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        let listen = [&["server", "--listen", address], arguments].concat();
        Self::start(cgroup, &listen)?.listening()
    }

    /// Waits until the server listens. Also returns its address.
    ///
    /// # Errors
    ///
    /// Fails if the server ends before it listens.
    pub fn listening(self) -> Result<(Self, SocketAddr)> {
        let line = self.event(Event::Listening)?;
        let at =
            line.listening.first().ok_or_else(|| TestError::unexpected("the server's line", "no address"))?;
        Ok((self, *at))
    }

    /// Process id of the workload, as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for the workload's next line, which must be of kind `event`.
    ///
    /// # Errors
    ///
    /// Fails when the workload ends, prints nothing in time or prints another event.
    pub fn event(&self, event: Event) -> Result<Line> {
        let text = self.process.line(LIMIT)?;
        let text = text.ok_or_else(|| TestError::unexpected("tt-workload", "it ended"))?;
        let line = parse(&text)?;
        if line.event == event { Ok(line) } else { Err(TestError::unexpected("tt-workload's line", text)) }
    }

    /// Sends a signal to the workload.
    ///
    /// # Errors
    ///
    /// Fails when the workload has already ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Asks this server for its count until the count equals that of its only client, which printed `paused`. It may be
    /// less at first, since a thread counts the result of a call only after the call.
    ///
    /// # Errors
    ///
    /// Fails when the two counts do not become equal in time.
    pub fn snapshot_at(&self, paused: &Line) -> Result<Line> {
        wait::until("the server's count to be the paused client's", LIMIT, || {
            self.process.signal(Signal::USR1)?;
            let line = self.event(Event::Snapshot)?;
            let seen = (line.rx_bytes, line.tx_bytes);
            Ok(if seen == (paused.tx_bytes, paused.rx_bytes) { Ok(line) } else { Err(format!("{seen:?}")) })
        })
    }

    /// Waits until the workload has ended; returns the last line of each of its processes.
    ///
    /// # Errors
    ///
    /// Fails when the workload fails, or does not end in time.
    pub fn finish(self) -> Result<Vec<Line>> {
        let ended = self.process.wait(LIMIT)?;
        let lines = ended.lines.iter().map(|line| parse(line)).collect::<Result<Vec<_>>>()?;
        if !ended.status.success() {
            let failures: Vec<_> = lines.iter().filter_map(|line| line.first_failure.as_deref()).collect();
            let found = format!("{}, {} {failures:?}", ended.status, ended.stderr);
            return Err(TestError::unexpected("the end of tt-workload", found));
        }
        Ok(lines.into_iter().filter(|line| line.event == Event::Done).collect())
    }

    /// Stops the workload, and waits for its end as [`Workload::finish`] does.
    ///
    /// # Errors
    ///
    /// Fails as [`Workload::finish`] does.
    pub fn stop(self) -> Result<Vec<Line>> {
        self.process.signal(Signal::TERM)?;
        self.finish()
    }
}

fn parse(line: &str) -> Result<Line> {
    serde_json::from_str(line)
        .map_err(|error| TestError::unexpected("a line of tt-workload", format!("{error}: {line}")))
}
