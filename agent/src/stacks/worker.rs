//! The resolver on a thread of its own, since it reads foreign files, which can be slow and must not be trusted.
//! Nothing else waits for it.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{Extent, Mode, Program, Registers, Resolver, Sample, Stack, Taken};

/// Maximum number of bytes of waiting samples.
const MOST_WAITING: usize = 16 << 20;
/// Approximate size of a sample in bytes, without its stack.
const SAMPLE_BYTES: usize = 256;
/// Interval at which the resolver tidies up while it knows any process.
const TIDY: Duration = Duration::from_secs(1);

/// An owned copy of [`Taken`].
#[derive(Debug)]
enum Kept {
    Copy { registers: Registers, bytes: Box<[u8]>, cut: bool },
    Addresses(Box<[u64]>),
    Nothing,
}

/// A sample, and the stacks that are wanted of it.
#[derive(Debug)]
struct Job<T> {
    program: Program,
    tid: u32,
    user: Kept,
    kernel: Box<[u64]>,
    wants: Wants,
    tag: T,
}

#[derive(Debug)]
enum Work<T> {
    Resolve(Job<T>),
    Forget,
}

#[derive(Debug)]
enum Outcome<T> {
    Resolved { stacks: Stacks, bytes: usize, tag: T },
    Modes(Vec<(Program, Mode)>),
}

/// The stacks that are wanted of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// The user-space part alone.
    pub user: bool,
    /// The kernel's part followed by the user-space part.
    pub kernel: bool,
}

/// The wanted stacks of a sample.
#[derive(Debug, Default)]
pub struct Stacks {
    /// The user-space part alone.
    pub user: Option<Arc<Stack>>,
    /// The kernel's part followed by the user-space part.
    pub kernel: Option<Arc<Stack>>,
}

/// Handle of the resolver's thread. Each sample comes back with the tag that it was given.
#[derive(Debug)]
pub struct Worker<T> {
    work: mpsc::Sender<Work<T>>,
    outcomes: mpsc::Receiver<Outcome<T>>,
    /// Number of samples that have not come back, and their size in bytes.
    waiting: usize,
    waiting_bytes: usize,
    /// Set if the last wait timed out and nothing has come back since.
    stuck: bool,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread. When this handle is dropped, the thread resolves the waiting samples and ends.
    ///
    /// # Errors
    ///
    /// The system's error if no further thread can be started.
    pub fn start() -> io::Result<Self> {
        let (work, to_do) = mpsc::channel();
        let (done, outcomes) = mpsc::channel();
        thread::Builder::new().name("stacks".to_owned()).spawn(move || run(&to_do, &done))?;
        Ok(Self { work, outcomes, waiting: 0, waiting_bytes: 0, stuck: false })
    }

    /// Passes a sample to the thread. Returns false if there was no room for it.
    pub fn give(&mut self, sample: &Sample<'_>, wants: Wants, tag: T) -> bool {
        let user = match sample.user {
            Taken::Copy { registers, bytes, cut } => Kept::Copy { registers, bytes: bytes.into(), cut },
            Taken::Addresses(addresses) => Kept::Addresses(addresses.into()),
            Taken::Nothing => Kept::Nothing,
        };
        let job =
            Job { program: sample.program, tid: sample.tid, user, kernel: sample.kernel.into(), wants, tag };
        let bytes = job.bytes();
        if self.waiting_bytes + bytes > MOST_WAITING || self.work.send(Work::Resolve(job)).is_err() {
            return false;
        }
        self.waiting += 1;
        self.waiting_bytes += bytes;
        true
    }

    /// Makes the resolver forget all processes, once the waiting samples are resolved.
    pub fn forget(&mut self) {
        // An error means that the thread has ended, so nothing is known anyway.
        let _ = self.work.send(Work::Forget);
    }

    /// Takes the results: `booked` receives each sample's stacks and tag, and `mode` receives changed modes of
    /// programs. With a `limit`, waits up to that time until all samples have come back.
    pub fn take(
        &mut self,
        limit: Option<Duration>,
        booked: &mut dyn FnMut(Stacks, T),
        mode: &mut dyn FnMut(Program, Mode),
    ) {
        // After a wait that timed out, callers do not wait again until a sample has come back.
        let end = limit.filter(|_| !self.stuck).map(|limit| Instant::now() + limit);
        loop {
            let outcome = match end {
                Some(end) if self.waiting > 0 => {
                    match self.outcomes.recv_timeout(end.saturating_duration_since(Instant::now())) {
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            self.stuck = true;
                            tracing::warn!(
                                waiting = self.waiting,
                                "stacks wait for files that are slow to read"
                            );
                            return;
                        }
                        outcome => outcome.ok(),
                    }
                }
                _ => self.outcomes.try_recv().ok(),
            };
            match outcome {
                Some(Outcome::Resolved { stacks, bytes, tag }) => {
                    self.stuck = false;
                    self.waiting -= 1;
                    self.waiting_bytes -= bytes;
                    booked(stacks, tag);
                }
                Some(Outcome::Modes(modes)) => {
                    modes.into_iter().for_each(|(program, new)| mode(program, new));
                }
                None => return,
            }
        }
    }
}

impl<T> Job<T> {
    fn bytes(&self) -> usize {
        let user = match &self.user {
            Kept::Copy { bytes, .. } => bytes.len(),
            Kept::Addresses(addresses) => size_of_val::<[u64]>(addresses),
            Kept::Nothing => 0,
        };
        SAMPLE_BYTES + user + size_of_val::<[u64]>(&self.kernel)
    }

    /// Returns the sample's stacks, and whether another attempt may resolve one of them better (see
    /// [`Resolver::is_doubtful`]).
    fn resolve(&self, resolver: &mut Resolver) -> (Stacks, bool) {
        let user = match &self.user {
            Kept::Copy { registers, bytes, cut } => Taken::Copy { registers: *registers, bytes, cut: *cut },
            Kept::Addresses(addresses) => Taken::Addresses(addresses),
            Kept::Nothing => Taken::Nothing,
        };
        let mut is_doubtful = false;
        let mut with = |kernel| {
            let stack = resolver.resolve(&Sample { program: self.program, tid: self.tid, user, kernel });
            is_doubtful |= resolver.is_doubtful();
            stack
        };
        let stacks = Stacks {
            user: self.wants.user.then(|| with(&[])),
            kernel: self.wants.kernel.then(|| with(&self.kernel)),
        };
        (stacks, is_doubtful)
    }

    /// Returns the stacks of a sample on which the resolver panicked.
    fn failed(&self) -> Stacks {
        let stack = Arc::new(Stack { frames: Vec::new(), extent: Extent::Missing(FAILED) });
        let of = |wanted: bool| wanted.then(|| Arc::clone(&stack));
        Stacks { user: of(self.wants.user), kernel: of(self.wants.kernel) }
    }
}

/// Reason shown for a sample on which the resolver panicked.
const FAILED: &str = "the stack could not be read";

/// Number of further attempts for a doubtful stack, and the time between them. All attempts together take less time than
/// the end of a trace waits for its samples.
const MORE_LOOKS: u32 = 2;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Maximum bytes of samples that wait for another attempt, since these take room from new samples.
const MOST_DOUBTFUL: usize = MOST_WAITING / 8;

/// A sample that waits for another attempt, because its stack was doubtful.
struct Doubtful<T> {
    job: Job<T>,
    due: Instant,
    more_looks: u32,
}

/// State of the thread.
struct Thread<'a, T> {
    outcomes: &'a mpsc::Sender<Outcome<T>>,
    resolver: Resolver,
    knows_nothing: bool,
    tidied: Instant,
    /// Doubtful samples in the order of their next attempts.
    doubtful: VecDeque<Doubtful<T>>,
    doubtful_bytes: usize,
}

/// Error: the [`Worker`] was dropped, so nobody takes the results.
struct Unwanted;

/// Runs the thread until the handle is dropped.
fn run<T>(work: &mpsc::Receiver<Work<T>>, outcomes: &mpsc::Sender<Outcome<T>>) {
    let mut thread = Thread {
        outcomes,
        resolver: Resolver::new(),
        knows_nothing: true,
        tidied: Instant::now(),
        doubtful: VecDeque::new(),
        doubtful_bytes: 0,
    };
    loop {
        let next = match thread.wait() {
            None => work.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(wait) => work.recv_timeout(wait),
        };
        let next = match next {
            Ok(next) => Some(next),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        if thread.turn(next).is_err() {
            return;
        }
    }
}

impl<T> Thread<'_, T> {
    /// Returns the time until work is due without further samples; `None` if only a further sample brings work.
    fn wait(&self) -> Option<Duration> {
        let tidy = (!self.knows_nothing).then(|| TIDY.saturating_sub(self.tidied.elapsed()));
        let doubtful = self.doubtful.front().map(|next| next.due.saturating_duration_since(Instant::now()));
        tidy.into_iter().chain(doubtful).min()
    }

    fn turn(&mut self, next: Option<Work<T>>) -> Result<(), Unwanted> {
        match next {
            Some(Work::Resolve(job)) => {
                self.knows_nothing = false;
                self.look(job, MORE_LOOKS)?;
            }
            Some(Work::Forget) => {
                while let Some(doubtful) = self.doubtful.pop_front() {
                    self.look_again(Doubtful { more_looks: 0, ..doubtful })?;
                }
                (self.resolver, self.knows_nothing) = (Resolver::new(), true);
                return Ok(());
            }
            None => {}
        }
        while let Some(doubtful) = self.doubtful.pop_front_if(|next| next.due <= Instant::now()) {
            self.look_again(doubtful)?;
        }
        if self.tidied.elapsed() >= TIDY {
            self.resolver.tidy();
            self.tidied = Instant::now();
        }
        let modes = self.resolver.take_modes();
        if modes.is_empty() { Ok(()) } else { self.tell(Outcome::Modes(modes)) }
    }

    fn look_again(&mut self, Doubtful { job, more_looks, .. }: Doubtful<T>) -> Result<(), Unwanted> {
        self.doubtful_bytes -= job.bytes();
        self.look(job, more_looks)
    }

    /// Resolves a sample. A doubtful one is kept for another attempt, if more are allowed.
    fn look(&mut self, job: Job<T>, more_looks: u32) -> Result<(), Unwanted> {
        // Foreign files decide what is read and unwound. A bug there must not affect more than one stack.
        let resolved = catch_unwind(AssertUnwindSafe(|| job.resolve(&mut self.resolver)));
        let (stacks, is_doubtful) = resolved.unwrap_or_else(|_| {
            tracing::error!(pid = job.program.pid, "the resolver panicked on a stack and begins anew");
            self.resolver = Resolver::new();
            (job.failed(), false)
        });
        let bytes = job.bytes();
        if more_looks > 0 && is_doubtful && self.doubtful_bytes + bytes <= MOST_DOUBTFUL {
            let due = Instant::now() + LOOK_AGAIN_AFTER;
            self.doubtful.push_back(Doubtful { job, due, more_looks: more_looks - 1 });
            self.doubtful_bytes += bytes;
            return Ok(());
        }
        self.tell(Outcome::Resolved { stacks, bytes, tag: job.tag })
    }

    fn tell(&self, outcome: Outcome<T>) -> Result<(), Unwanted> {
        self.outcomes.send(outcome).map_err(|_| Unwanted)
    }
}

#[cfg(test)]
mod tests;
