//! What a process of a case has at hand: its count, children, cgroups, and the moment when the trace began.

use std::{
    fs,
    io::{self, BufRead as _, Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use rustix::process::{Pid, WaitOptions, waitpid};
use serde::{Deserialize, Serialize};

use super::{
    error::{CaseError, Done},
    leader, sys,
    tally::{Detail, ProcessCount, Tally},
};

/// One process of a case. The leader has the first one; each child gets its own.
#[derive(Debug)]
pub struct Stage {
    /// What this process counted.
    pub tally: Tally,
    /// Amounts that differ from run to run.
    pub random: fastrand::Rng,
    /// The cgroup that is traced.
    pub selected: PathBuf,
    /// One beside it.
    pub outside: PathBuf,
    detail: Detail,
    children: Vec<ProcessCount>,
}

/// A child process that has not been waited for yet.
#[derive(Debug)]
#[must_use = "its count is collected by Stage::join"]
pub struct Child {
    pid: Pid,
    report: OwnedFd,
}

/// What a child hands to its parent.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    counts: Vec<ProcessCount>,
    failure: Option<String>,
    unsupported: bool,
}

impl Stage {
    /// For the leader of a case.
    pub fn new(selected: PathBuf, outside: PathBuf, detail: Detail, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { tally: Tally::new(detail), random, selected, outside, detail, children: Vec::new() }
    }

    /// A number of bytes that no other transfer is likely to have.
    pub fn amount(&mut self) -> usize {
        self.random.usize(20_000..90_000)
    }

    /// Lengths of a few datagrams, small enough together for a socket's default receive buffer.
    pub fn datagrams(&mut self) -> Vec<usize> {
        (0..6).map(|_| self.random.usize(1..1400)).collect()
    }

    /// Moves this process into a cgroup; sockets that it makes from now on belong there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn enter(&self, cgroup: &Path) -> Done {
        if cgroup.as_os_str().is_empty() {
            return Err(CaseError::unsupported("no cgroups of the case's own"));
        }
        Ok(fs::write(cgroup.join("cgroup.procs"), "0")?)
    }

    /// Says that everything that must be older than the trace is there, and waits until the trace has begun.
    ///
    /// # Errors
    ///
    /// When the runner is gone.
    pub fn await_trace(&self) -> Done {
        leader::tell(&leader::Message::Ready)?;
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line)? {
            0 => Err(CaseError::unexpected("the runner ended before the trace began")),
            // The time until the trace began was not the case's.
            _ => Ok(sys::end_with_parent(leader::LIMIT)?),
        }
    }

    /// Runs `work` in a child process, which counts for itself. Must be called while this process has one thread.
    ///
    /// # Errors
    ///
    /// When the process cannot be made.
    pub fn fork(&mut self, work: impl FnOnce(&mut Self) -> Done) -> Done<Child> {
        self.fork_into(None, work)
    }

    /// Likewise; with a cgroup, in a child that is born there.
    ///
    /// # Errors
    ///
    /// When the process cannot be made.
    pub fn fork_into(&mut self, cgroup: Option<&Path>, work: impl FnOnce(&mut Self) -> Done) -> Done<Child> {
        let cgroup = cgroup.map(fs::File::open).transpose()?;
        let (report, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let seed = self.random.u64(..);
        if let Some(pid) = sys::fork(cgroup.as_ref())? {
            return Ok(Child { pid, report });
        }
        let mut stage = Self::new(self.selected.clone(), self.outside.clone(), self.detail, seed);
        let result = work(&mut stage);
        let written =
            stage.report(result.err()).and_then(|text| Ok(fs::File::from(writer).write_all(&text)?));
        sys::exit_now(i32::from(written.is_err()))
    }

    /// Runs `theirs` in a child process while this one does `mine`; the error of either, or of both.
    ///
    /// # Errors
    ///
    /// As said.
    pub fn with_child(
        &mut self,
        theirs: impl FnOnce(&mut Self) -> Done,
        mine: impl FnOnce(&mut Self) -> Done,
    ) -> Done {
        let child = self.fork(theirs)?;
        let mine = mine(self);
        match (mine, self.join(child)) {
            (Err(mine), Err(theirs)) => Err(mine.and(theirs)),
            (mine, theirs) => mine.and(theirs),
        }
    }

    /// Waits for a child and takes its counts over.
    ///
    /// # Errors
    ///
    /// What went wrong in the child.
    pub fn join(&mut self, child: Child) -> Done {
        let Child { pid, report } = child;
        let mut text = Vec::new();
        fs::File::from(report).read_to_end(&mut text)?;
        let status = waitpid(Some(pid), WaitOptions::empty())?;
        let status = status.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        let report: Report = serde_json::from_slice(&text).map_err(|error| {
            CaseError::unexpected(format!("process {pid} handed over no count: {error}, status {status:?}"))
        })?;
        self.children.extend(report.counts);
        match report.failure {
            None => Ok(()),
            Some(why) if report.unsupported => Err(CaseError::Unsupported(why)),
            Some(why) => Err(CaseError::Unexpected(format!("in process {pid}: {why}"))),
        }
    }

    /// The counts of this process and of its children.
    ///
    /// # Errors
    ///
    /// As [`Tally::count`].
    pub fn counts(&mut self) -> Done<Vec<ProcessCount>> {
        let mut counts = std::mem::take(&mut self.children);
        counts.push(self.tally.count()?);
        Ok(counts)
    }

    fn report(&mut self, failure: Option<CaseError>) -> Done<Vec<u8>> {
        let unsupported = matches!(failure, Some(CaseError::Unsupported(_)));
        let failure = failure.map(|error| error.to_string());
        let report = Report { counts: self.counts()?, failure, unsupported };
        serde_json::to_vec(&report).map_err(|error| CaseError::unexpected(error.to_string()))
    }
}
