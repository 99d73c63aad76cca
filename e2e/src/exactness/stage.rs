//! The tools of a process of a case: its counts, its children, cgroups, and requests to the runner.

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

/// The state of one process of a case: the leader has one, and each child gets its own.
#[derive(Debug)]
pub struct Stage {
    /// Counts of this process.
    pub tally: Tally,
    /// Source of random amounts, which differ from run to run.
    pub random: fastrand::Rng,
    /// Cgroup that is traced.
    pub selected: PathBuf,
    /// Cgroup that is not traced.
    pub outside: PathBuf,
    detail: Detail,
    /// Counts of children that have ended.
    children: Vec<ProcessCount>,
    /// In a child, the channel to its parent.
    parent: Option<Channel>,
}

impl Stage {
    /// Makes the state of a leader.
    pub fn new(selected: PathBuf, outside: PathBuf, detail: Detail, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let (tally, children) = (Tally::new(detail), Vec::new());
        Self { tally, random, selected, outside, detail, children, parent: None }
    }

    /// Returns a number of bytes that no other transfer is likely to have.
    pub fn amount(&mut self) -> usize {
        self.random.usize(20_000..90_000)
    }

    /// Returns the lengths of six datagrams, which fit together into a socket's default receive buffer.
    pub fn datagrams(&mut self) -> Vec<usize> {
        (0..6).map(|_| self.random.usize(1..1400)).collect()
    }

    /// Moves this process into a cgroup; sockets that it creates from now on belong to that cgroup.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn enter(&self, cgroup: &Path) -> Done {
        if cgroup.as_os_str().is_empty() {
            return Err(CaseError::unsupported("no cgroups of the case's own"));
        }
        Ok(fs::write(cgroup.join("cgroup.procs"), "0")?)
    }

    /// Reports that everything that must be older than the trace exists, and waits until the trace has begun.
    ///
    /// # Errors
    ///
    /// Fails when the runner has ended.
    pub fn await_trace(&self) -> Done {
        ask_runner(&Message::Ready)?;
        // The time limit of the case starts anew, so that the wait for the trace does not use it up.
        Ok(sys::end_with_parent(leader::LIMIT)?)
    }

    /// Waits until `top` has printed `count` more documents, before each of which `top` reads the kernel's counts. Only
    /// for leaders.
    ///
    /// # Errors
    ///
    /// Fails when the runner has ended.
    pub fn await_documents(&self, count: u32) -> Done {
        ask_runner(&Message::AwaitDocuments { count })
    }

    /// Makes the runner compare the counts so far of this process and its children, while their sockets are open: the
    /// runner waits for a document that agrees and records the difference if none comes. Each child in `waiting` calls
    /// [`Stage::wait_for_parent`], and continues afterwards. Only for leaders.
    ///
    /// # Errors
    ///
    /// Fails when the runner or a child has ended.
    pub fn compare(&self, waiting: &mut [&mut Child]) -> Done {
        let mut counts = self.counts()?;
        for child in &mut *waiting {
            counts.extend(child.await_waiting()?);
        }
        ask_runner(&Message::Compare { counts })?;
        waiting.iter_mut().try_for_each(|child| child.go_on())
    }

    /// Reports the counts of a child to its parent, and waits until the parent lets the child continue.
    ///
    /// # Errors
    ///
    /// Fails when the parent has ended.
    pub fn wait_for_parent(&mut self) -> Done {
        let counts = self.counts()?;
        match &mut self.parent {
            Some(parent) => parent.wait(counts),
            None => Err(CaseError::unexpected("a leader has no parent that it could wait for")),
        }
    }

    /// Runs `work` in a child process, which has counts of its own. This process must have a single thread.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be created.
    pub fn fork(&mut self, work: impl FnOnce(&mut Self) -> Done) -> Done<Child> {
        self.fork_into(None, work)
    }

    /// Runs `work` in a child process as [`Stage::fork`] does; the child is created in the cgroup, if one is given.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot be created.
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

    /// Runs `theirs` in a child process while this process runs `mine`.
    ///
    /// # Errors
    ///
    /// Fails with the error of either, or with both combined.
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

    /// Waits for a child and adds its counts to those of this process.
    ///
    /// # Errors
    ///
    /// Fails with the error of the child.
    pub fn join(&mut self, child: Child) -> Done {
        let ended = child.join()?;
        self.children.extend(ended.counts);
        ended.failure.map_or(Ok(()), Err)
    }

    /// Waits until a child calls [`Stage::wait_for_parent`], kills it inside that call, and adds the counts that it
    /// reported there.
    ///
    /// # Errors
    ///
    /// Fails when the child ended by itself.
    pub fn kill(&mut self, child: Child) -> Done {
        self.children.extend(child.kill()?);
        Ok(())
    }

    /// Adds counts for a child that cannot count them itself.
    ///
    /// # Errors
    ///
    /// Fails as [`Tally::count`] does.
    pub fn count_for(&mut self, child: Pid, flow: Flow, bytes: &Bytes) -> Done {
        let tally = Tally::new(self.detail);
        tally.add(flow, bytes);
        let pid = child.as_raw_nonzero().get().unsigned_abs();
        self.children.push(ProcessCount { pid, ..tally.count()? });
        Ok(())
    }

    /// Returns the counts of this process, and of its children that have ended.
    ///
    /// # Errors
    ///
    /// Fails as [`Tally::count`] does.
    pub fn counts(&self) -> Done<Vec<ProcessCount>> {
        let mut counts = self.children.clone();
        counts.push(self.tally.count()?);
        Ok(counts)
    }
}

/// Sends a message to the runner and waits for the answer.
fn ask_runner(message: &Message) -> Done {
    leader::tell(message)?;
    match io::stdin().lock().read_line(&mut String::new())? {
        0 => Err(CaseError::unexpected("the runner ended before the case")),
        _ => Ok(()),
    }
}

/// Sends the runner's answer.
pub fn answer(to: &mut impl io::Write) -> io::Result<()> {
    to.write_all(b"\n")
}
