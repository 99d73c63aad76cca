//! Running `tt-workload` on this machine.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use super::{Result, TestError, needs, process::Process, wait};
use crate::workload::count::{Event, Line};

/// How long a workload may take to answer; its own limit is longer.
const LIMIT: Duration = Duration::from_secs(60);

/// One run of `tt-workload`.
#[derive(Debug)]
pub struct Workload {
    process: Process,
}

impl Workload {
    /// Starts it inside `cgroup`, with the rest of its command line.
    ///
    /// # Errors
    ///
    /// When it is not built or cannot be started.
    pub fn start(cgroup: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_for(Duration::from_secs(120), cgroup, arguments)
    }

    /// As [`Workload::start`], with whole seconds after which it ends by itself.
    ///
    /// # Errors
    ///
    /// When it is not built or cannot be started.
    pub fn start_for(time: Duration, cgroup: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(needs::program("tt-workload")?);
        let seconds = time.as_secs().to_string();
        command.arg("--cgroup").arg(cgroup).args(["--for", &seconds]).args(arguments);
        Ok(Self { process: Process::start(&mut command)? })
    }

    /// Starts a server on a free port of `address` and waits until it listens; the second value is where.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn server(cgroup: &Path, address: &str, arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        let listen = [&["server", "--listen", address], arguments].concat();
        let server = Self::start(cgroup, &listen)?;
        let line = server.event(Event::Listening)?;
        let at =
            line.listening.first().ok_or_else(|| TestError::unexpected("the server's line", "no address"))?;
        Ok((server, *at))
    }

    /// Its process id, as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for its next line, which must be of that kind.
    ///
    /// # Errors
    ///
    /// When it ends, stays silent or tells something else.
    pub fn event(&self, event: Event) -> Result<Line> {
        let text = self.process.line(LIMIT)?;
        let text = text.ok_or_else(|| TestError::unexpected("tt-workload", "it ended"))?;
        let line = parse(&text)?;
        if line.event == event { Ok(line) } else { Err(TestError::unexpected("tt-workload's line", text)) }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Asks a server for its count, while its only client stands still, until it has booked what the client `paused`
    /// with: a server thread may be held up between its last call and its count.
    ///
    /// # Errors
    ///
    /// When the two never agree.
    pub fn snapshot_at(&self, paused: &Line) -> Result<Line> {
        wait::until("the server's count to be the paused client's", LIMIT, || {
            self.process.signal(Signal::USR1)?;
            let line = self.event(Event::Snapshot)?;
            let seen = (line.rx_bytes, line.tx_bytes);
            Ok(if seen == (paused.tx_bytes, paused.rx_bytes) { Ok(line) } else { Err(format!("{seen:?}")) })
        })
    }

    /// Waits until it has done all of its work; the last line of each of its processes.
    ///
    /// # Errors
    ///
    /// When it fails, or does not end in time.
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

    /// Tells it to stop, then as [`Workload::finish`].
    ///
    /// # Errors
    ///
    /// As [`Workload::finish`].
    pub fn stop(self) -> Result<Vec<Line>> {
        self.process.signal(Signal::TERM)?;
        self.finish()
    }
}

fn parse(line: &str) -> Result<Line> {
    serde_json::from_str(line)
        .map_err(|error| TestError::unexpected("a line of tt-workload", format!("{error}: {line}")))
}
