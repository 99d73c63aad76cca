//! A child process that ends with its test, and whose lines can be awaited.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Result, TestError};

/// A running program. When dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Lines of its standard output that nobody had read.
    pub lines: Vec<String>,
    /// Its standard error, whole.
    pub stderr: String,
}

impl Process {
    /// Starts `command`, reading its standard output and standard error.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, |_| {})
    }

    /// As [`Process::start`]; `started` may take the child's standard input.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_with(command: &mut Command, started: impl FnOnce(&mut Child)) -> Result<Self> {
        let name = format!("{:?}", command.get_program());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(TestError::io(format!("start {name}")))?;
        started(&mut child);
        let lines = lines_of(child.stdout.take());
        let errors = child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        Ok(Self { name, child, lines, errors })
    }

    /// Starts `command`, whose lines are those of its standard output and of its standard error, as they come.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_merged(command: &mut Command) -> Result<Self> {
        let name = format!("{:?}", command.get_program());
        let failed = || TestError::io(format!("start {name}"));
        let (reader, writer) = std::io::pipe().map_err(failed())?;
        let second = writer.try_clone().map_err(failed())?;
        let child = command.stdout(writer).stderr(second).spawn().map_err(failed())?;
        // The command holds ends of the pipe, which would never be closed.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { name, child, lines: lines_of(Some(reader)), errors: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output; `None` when there will be none.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn line(&self, limit: Duration) -> Result<Option<String>> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(TestError::Deadline {
                what: format!("a line of {}", self.name),
                limit,
                last: "nothing".to_owned(),
            }),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| TestError::unexpected("a process id", self.child.id()))?;
        kill_process(pid, signal)
            .map_err(|error| TestError::io(format!("signal {}", self.name))(error.into()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end in time; it is killed then.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        let mut lines = Vec::new();
        while let Some(line) = self.line(deadline.saturating_duration_since(Instant::now()))? {
            lines.push(line);
        }
        // Its standard output is closed, so its end is near.
        let status = super::wait::until("the end of a process", Duration::from_secs(10), || {
            let status = self.child.try_wait().map_err(TestError::io(format!("wait for {}", self.name)))?;
            Ok(status.ok_or_else(|| format!("{} runs", self.name)))
        })?;
        let stderr = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Ended { status, lines, stderr })
    }
}

/// The lines that can be read, as they come.
fn lines_of(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(from) = from {
        thread::spawn(move || {
            // Ends with the program, or when nobody listens any more.
            BufReader::new(from).lines().map_while(std::io::Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    lines
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
