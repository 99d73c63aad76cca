//! The channel between a process of a case and a child of it.

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

/// A child process that has not been waited for yet.
#[derive(Debug)]
#[must_use = "its count is collected by Stage::join"]
pub struct Child {
    /// Its id.
    pub pid: Pid,
    channel: BufReader<UnixStream>,
}

/// A child's end of the channel.
#[derive(Debug)]
pub struct Channel(UnixStream);

/// What a child hands to its parent, a line each.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    counts: Vec<ProcessCount>,
    /// Whether the child goes on when it is told to.
    waits: bool,
    failure: Option<String>,
    unsupported: bool,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// What it and its own children counted.
    pub counts: Vec<ProcessCount>,
    /// What went wrong in it.
    pub failure: Option<CaseError>,
}

impl Channel {
    /// The end that [`Child::new`] has the other one of.
    pub fn new(parent: UnixStream) -> Self {
        Self(parent)
    }

    /// Hands counts over and waits until the parent says to go on.
    ///
    /// # Errors
    ///
    /// When the parent is gone.
    pub fn wait(&mut self, counts: Vec<ProcessCount>) -> Done {
        self.tell(&Report { counts, waits: true, failure: None, unsupported: false })?;
        Ok(self.0.read_exact(&mut [0])?)
    }

    /// Hands the last counts over.
    ///
    /// # Errors
    ///
    /// When the parent is gone.
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
    /// The process that was just made.
    pub fn new(pid: Pid, channel: UnixStream) -> Self {
        Self { pid, channel: BufReader::new(channel) }
    }

    /// Waits until the child waits for its parent; what it counted so far.
    ///
    /// # Errors
    ///
    /// When it ends instead.
    pub fn await_waiting(&mut self) -> Done<Vec<ProcessCount>> {
        let report = self.report()?;
        if report.waits {
            return Ok(report.counts);
        }
        let failure = report.failure.unwrap_or_else(|| "it ended where it should wait".to_owned());
        Err(self.failure(failure, report.unsupported))
    }

    /// Lets a child go on that waits for its parent.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn go_on(&mut self) -> Done {
        Ok(self.channel.get_mut().write_all(&[1])?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it handed over no count.
    pub fn join(mut self) -> Done<Ended> {
        let report = self.report()?;
        waitpid(Some(self.pid), WaitOptions::empty())?;
        let failure = report.failure.map(|why| self.failure(why, report.unsupported));
        Ok(Ended { counts: report.counts, failure })
    }

    /// Kills it where it waits for its parent; what it had counted.
    ///
    /// # Errors
    ///
    /// When it ended by itself.
    pub fn kill(mut self) -> Done<Vec<ProcessCount>> {
        let counts = self.await_waiting()?;
        self.kill_now()?;
        Ok(counts)
    }

    /// Kills it wherever it is.
    ///
    /// # Errors
    ///
    /// When it is gone.
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
