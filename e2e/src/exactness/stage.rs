//! What a process of a case has at hand: its count, children, cgroups, and what the runner does for it while it runs.

use std::{
    fs,
    io::{self, BufRead as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use super::{
    child::{Channel, Child},
    error::{CaseError, Done},
    leader::{self, Message},
    sys,
    tally::{Bytes, Detail, Flow, ProcessCount, Tally},
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
    /// Counts of children that have ended.
    children: Vec<ProcessCount>,
    /// To the parent, in a child.
    parent: Option<Channel>,
}

impl Stage {
    /// For the leader of a case.
    pub fn new(selected: PathBuf, outside: PathBuf, detail: Detail, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let (tally, children) = (Tally::new(detail), Vec::new());
        Self { tally, random, selected, outside, detail, children, parent: None }
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
        ask_runner(&Message::Ready)?;
        // The time until the trace began was not the case's.
        Ok(sys::end_with_parent(leader::LIMIT)?)
    }

    /// Waits until the product has printed `count` documents more: each comes after one drain or several. For leaders
    /// alone.
    ///
    /// # Errors
    ///
    /// When the runner is gone.
    pub fn await_documents(&self, count: u32) -> Done {
        ask_runner(&Message::AwaitDocuments { count })
    }

    /// Lets the runner compare what this process and its children have counted so far, while their sockets are open:
    /// it waits for a document that shows this, and notes the difference when there is none. Each of `waiting` is in
    /// [`Stage::wait_for_parent`], or is going to be, and goes on afterwards. For leaders alone.
    ///
    /// # Errors
    ///
    /// When the runner or a child is gone.
    pub fn compare(&self, waiting: &mut [&mut Child]) -> Done {
        let mut counts = self.counts()?;
        for child in &mut *waiting {
            counts.extend(child.await_waiting()?);
        }
        ask_runner(&Message::Compare { counts })?;
        waiting.iter_mut().try_for_each(|child| child.go_on())
    }

    /// In a child: hands the counts so far to the parent, and waits until it says to go on.
    ///
    /// # Errors
    ///
    /// When the parent is gone.
    pub fn wait_for_parent(&mut self) -> Done {
        let counts = self.counts()?;
        match &mut self.parent {
            Some(parent) => parent.wait(counts),
            None => Err(CaseError::unexpected("a leader has no parent that it could wait for")),
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
        let (mine, childs) = UnixStream::pair()?;
        let seed = self.random.u64(..);
        if let Some(pid) = sys::fork(cgroup.as_ref())? {
            return Ok(Child::new(pid, mine));
        }
        drop(mine);
        let mut stage = Self::new(self.selected.clone(), self.outside.clone(), self.detail, seed);
        stage.parent = Some(Channel::new(childs));
        let result = work(&mut stage);
        let told = stage.counts().and_then(|counts| match &mut stage.parent {
            Some(parent) => parent.end(counts, result.err()),
            None => Ok(()),
        });
        sys::exit_now(i32::from(told.is_err()))
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
        let ended = child.join()?;
        self.children.extend(ended.counts);
        ended.failure.map_or(Ok(()), Err)
    }

    /// Kills a child that waits for its parent, or is going to, and takes the counts over that it handed to it.
    ///
    /// # Errors
    ///
    /// When it ended by itself.
    pub fn kill(&mut self, child: Child) -> Done {
        self.children.extend(child.kill()?);
        Ok(())
    }

    /// Counts for a child what it cannot count itself.
    ///
    /// # Errors
    ///
    /// As [`Tally::count`].
    pub fn count_for(&mut self, child: Pid, flow: Flow, bytes: &Bytes) -> Done {
        let tally = Tally::new(self.detail);
        tally.add(flow, bytes);
        let pid = child.as_raw_nonzero().get().unsigned_abs();
        self.children.push(ProcessCount { pid, ..tally.count()? });
        Ok(())
    }

    /// The counts of this process, and of its children that have ended.
    ///
    /// # Errors
    ///
    /// As [`Tally::count`].
    pub fn counts(&self) -> Done<Vec<ProcessCount>> {
        let mut counts = self.children.clone();
        counts.push(self.tally.count()?);
        Ok(counts)
    }
}

/// Tells the runner something and waits for its answer.
fn ask_runner(message: &Message) -> Done {
    leader::tell(message)?;
    match io::stdin().lock().read_line(&mut String::new())? {
        0 => Err(CaseError::unexpected("the runner ended before the case")),
        _ => Ok(()),
    }
}

/// The runner's answer.
pub fn answer(to: &mut impl io::Write) -> io::Result<()> {
    to.write_all(b"\n")
}
