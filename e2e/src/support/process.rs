//! A child process that ends with its test, and whose output can be awaited line by line.

use std::{
    io::{BufRead as _, BufReader, PipeReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Result, TestError};

/// A running program. It is killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit status of the program.
    pub status: ExitStatus,
    /// Lines of standard output that had not been read.
    pub lines: Vec<String>,
    /// The whole standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `command` and captures its standard output and standard error.
    ///
    /// # Errors
    ///
    /// Fails when the command cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, |_| {})
    }

    /// Starts `command` as [`Process::start`] does, and passes the child to `started`, which may take its standard
    /// input.
    ///
    /// # Errors
    ///
    /// Fails when the command cannot be started.
    pub fn start_with(command: &mut Command, started: impl FnOnce(&mut Child)) -> Result<Self> {
        let name = format!("{:?}", command.get_program());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(TestError::io(format!("start {name}")))?;
        started(&mut child);
        let lines = lines_of(child.stdout.take());
        let errors = text_of(child.stderr.take());
        Ok(Self { name, child, lines, errors })
    }

    /// Starts `command`; its lines are those of standard output and standard error, in the order in which they come.
    ///
    /// # Errors
    ///
    /// Fails when the command cannot be started.
    pub fn start_merged(command: &mut Command) -> Result<Self> {
        let name = format!("{:?}", command.get_program());
        let failed = || TestError::io(format!("start {name}"));
        let (reader, writer) = std::io::pipe().map_err(failed())?;
        let second = writer.try_clone().map_err(failed())?;
        let child = command.stdout(writer).stderr(second).spawn().map_err(failed())?;
        // The command holds ends of the pipe, which must be dropped so that the pipe can be closed.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { name, child, lines: lines_of(Some(reader)), errors: None })
    }

    /// Starts `command` with a pipe as standard output; returns the reading end of the pipe, from which nothing is
    /// read.
    ///
    /// # Errors
    ///
    /// Fails when the command cannot be started.
    pub fn start_unread(command: &mut Command) -> Result<(Self, PipeReader)> {
        let name = format!("{:?}", command.get_program());
        let failed = || TestError::io(format!("start {name}"));
        let (reader, writer) = std::io::pipe().map_err(failed())?;
        let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().map_err(failed())?;
        // The command holds an end of the pipe, which must be dropped so that the pipe can be closed.
        command.stdout(Stdio::null());
        let (lines, errors) = (lines_of(None::<PipeReader>), text_of(child.stderr.take()));
        Ok((Self { name, child, lines, errors }, reader))
    }

    /// Returns whether the process has ended.
    ///
    /// # Errors
    ///
    /// Fails when waitpid(2) does.
    pub fn has_ended(&mut self) -> Result<bool> {
        let status = self.child.try_wait().map_err(TestError::io(format!("wait for {}", self.name)))?;
        Ok(status.is_some())
    }

    /// Id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line of standard output; `None` after the end of the output.
    ///
    /// # Errors
    ///
    /// Fails when no line comes in time.
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
    /// Fails when the process has already ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| TestError::unexpected("a process id", self.child.id()))?;
        kill_process(pid, signal)
            .map_err(|error| TestError::io(format!("signal {}", self.name))(error.into()))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    ///
    /// Fails when the process does not end in time; it is killed then.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        let mut lines = Vec::new();
        while let Some(line) = self.line(deadline.saturating_duration_since(Instant::now()))? {
            lines.push(line);
        }
        // Standard output is closed, so the process is about to end.
        let status = super::wait::until("the end of a process", Duration::from_secs(10), || {
            let status = self.child.try_wait().map_err(TestError::io(format!("wait for {}", self.name)))?;
            Ok(status.ok_or_else(|| format!("{} runs", self.name)))
        })?;
        let stderr = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Ended { status, lines, stderr })
    }
}

/// Reads lines in a thread; returns the channel that delivers them.
fn lines_of(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(from) = from {
        thread::spawn(move || {
            // The thread ends with the program, or when the receiver is dropped.
            BufReader::new(from).lines().map_while(std::io::Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    lines
}

/// Starts a thread that reads to the end; returns the thread, whose result is the text.
fn text_of(from: Option<impl Read + Send + 'static>) -> Option<JoinHandle<String>> {
    let mut from = from?;
    Some(thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
