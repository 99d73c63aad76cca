//! The channel between a process of a case and its child.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    process::ExitStatus,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

use super::{
    error::{CaseError, Done},
    tally::ProcessCount,
};

/// A child process that has not been waited for.
#[derive(Debug)]
#[must_use = "its count is collected by Stage::join"]
pub struct Child {
    /// Process id of the child.
    pub pid: Pid,
    channel: BufReader<UnixStream>,
}

/// A child's end of the channel.
#[derive(Debug)]
pub struct Channel(UnixStream);

/// A report of a child to its parent, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    counts: Vec<ProcessCount>,
    /// True if the child waits for the parent's answer.
    waits: bool,
    failure: Option<String>,
    unsupported: bool,
}

/// The outcome of a child that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Counts of the child and of its own children.
    pub counts: Vec<ProcessCount>,
    /// The error that ended the child, if any.
    pub failure: Option<CaseError>,
}

impl Channel {
    /// Wraps the child's end of the channel; [`Child::new`] has the other end.
    pub fn new(parent: UnixStream) -> Self {
        Self(parent)
    }

    /// Reports counts and waits until the parent lets the child go on.
    ///
    /// # Errors
    ///
    /// Fails when the parent has ended.
    pub fn wait(&mut self, counts: Vec<ProcessCount>) -> Done {
        self.tell(&Report { counts, waits: true, failure: None, unsupported: false })?;
        Ok(self.0.read_exact(&mut [0])?)
    }

    /// Reports the final counts, and the error that ended the child, if any.
    ///
    /// # Errors
    ///
    /// Fails when the parent has ended.
    pub fn end(&mut self, counts: Vec<ProcessCount>, failure: Option<CaseError>) -> Done {
        let unsupported = matches!(failure, Some(CaseError::Unsupported(_)));
        let failure = failure.map(|error| error.to_string());
        self.tell(&Report { counts, waits: false, failure, unsupported })
    }

    fn tell(&mut self, report: &Report) -> Done {
        let mut line =
            serde_json::to_vec(report).map_err(|error| CaseError::unexpected(error.to_string()))?;
        line.push(b'\n');
        Ok(self.0.write_all(&line)?)
    }
}

impl Child {
    /// Wraps a process that was just forked, and the parent's end of its channel.
    pub fn new(pid: Pid, channel: UnixStream) -> Self {
        Self { pid, channel: BufReader::new(channel) }
    }

    /// Waits until the child calls [`Channel::wait`]; returns the child's counts so far.
    ///
    /// # Errors
    ///
    /// Fails when the child ends instead.
    pub fn await_waiting(&mut self) -> Done<Vec<ProcessCount>> {
        let report = self.report()?;
        if report.waits {
            return Ok(report.counts);
        }
        let failure = report.failure.unwrap_or_else(|| "it ended where it should wait".to_owned());
        Err(self.failure(failure, report.unsupported))
    }

    /// Lets a child continue that waits for its parent.
    ///
    /// # Errors
    ///
    /// Fails when the child has ended.
    pub fn go_on(&mut self) -> Done {
        Ok(self.channel.get_mut().write_all(&[1])?)
    }

    /// Waits for the end of the child.
    ///
    /// # Errors
    ///
    /// Fails when the child reported no counts.
    pub fn join(mut self) -> Done<Ended> {
        let report = self.report()?;
        waitpid(Some(self.pid), WaitOptions::empty())?;
        let failure = report.failure.map(|why| self.failure(why, report.unsupported));
        Ok(Ended { counts: report.counts, failure })
    }

    /// Waits until the child calls [`Channel::wait`], and kills it inside that call; returns the child's counts.
    ///
    /// # Errors
    ///
    /// Fails when the child ended by itself.
    pub fn kill(mut self) -> Done<Vec<ProcessCount>> {
        let counts = self.await_waiting()?;
        self.kill_now()?;
        Ok(counts)
    }

    /// Kills the child without waiting for a report.
    ///
    /// # Errors
    ///
    /// Fails when the child has been waited for already.
    pub fn kill_now(self) -> Done {
        kill_process(self.pid, Signal::KILL)?;
        waitpid(Some(self.pid), WaitOptions::empty())?;
        Ok(())
    }

    fn report(&mut self) -> Done<Report> {
        let mut line = String::new();
        self.channel.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| {
            let status = waitpid(Some(self.pid), WaitOptions::NOHANG).ok().flatten();
            let status = status.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
            let pid = self.pid;
            CaseError::unexpected(format!("process {pid} handed over no count: {error}, status {status:?}"))
        })
    }

    fn failure(&self, why: String, unsupported: bool) -> CaseError {
        if unsupported {
            CaseError::Unsupported(why)
        } else {
            CaseError::Unexpected(format!("in process {}: {why}", self.pid))
        }
    }
}
