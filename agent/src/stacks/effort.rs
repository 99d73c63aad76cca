//! Bounds of the time that is spent on processes that make much work, and of the files that are kept open for them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};

/// Time for looking into processes and their files: a share of each second, saved up to a bound. Each look is bounded by
/// itself, and there can be any number of processes.
#[derive(Debug)]
pub(super) struct Effort {
    left: Duration,
    filled: Instant,
}

impl Default for Effort {
    fn default() -> Self {
        Self { left: Self::SAVED, filled: Instant::now() }
    }
}

impl Effort {
    /// Time that is saved: some hundred processes are looked into in it, with their files.
    const SAVED: Duration = Duration::from_secs(2);
    /// One in so many seconds is spent.
    const SHARE: u32 = 4;

    /// Whether there is any.
    pub(super) fn is_left(&mut self) -> bool {
        let now = Instant::now();
        let passed = now.duration_since(self.filled);
        (self.left, self.filled) = ((self.left + passed / Self::SHARE).min(Self::SAVED), now);
        !self.left.is_zero()
    }

    /// Does something, and takes the time.
    pub(super) fn spend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.take(begun.elapsed());
        done
    }

    /// Takes time that was spent.
    pub(super) fn take(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

/// When something of a process is read again: after a pause that is longer where reading again takes long. What is read
/// first says nothing about that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    shortest: Duration,
    read: Option<Instant>,
    next: Instant,
}

impl Pace {
    /// Pauses are so many times as long as what was done between them.
    const RATIO: u32 = 20;

    pub(super) fn new(shortest: Duration) -> Self {
        Self { shortest, read: None, next: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// When it was read last.
    pub(super) fn read(&self) -> Option<Instant> {
        self.read
    }

    /// Does it.
    pub(super) fn keep<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        let now = Instant::now();
        let long = self.read.map_or(Duration::ZERO, |_| (now - begun) * Self::RATIO);
        let pause = self.shortest.max(long);
        (self.read, self.next) = (Some(now), now + pause);
        done
    }
}

/// A number of files that may be open at once.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    taken: Arc<()>,
}

/// Room for one open file, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _taken: Arc<()>,
}

impl Slots {
    /// Room for so many files, but not for more than an eighth of those that this process may open: others are its
    /// connections, and its links to programs in the kernel.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.min(allowed() / 8), taken: Arc::new(()) }
    }

    pub(super) fn left(&self) -> usize {
        self.most.saturating_sub(Arc::strong_count(&self.taken) - 1)
    }

    pub(super) fn take(&self) -> Option<Slot> {
        (self.left() > 0).then(|| Slot { _taken: Arc::clone(&self.taken) })
    }
}

/// Files that this process may open.
fn allowed() -> usize {
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_free_again_when_they_are_dropped() {
        let slots = Slots { most: 2, taken: Arc::new(()) };
        let (first, second) = (slots.take(), slots.take());
        assert!(first.is_some() && second.is_some() && slots.take().is_none());
        drop(first);
        assert_eq!(slots.left(), 1);
        assert!(slots.take().is_some());
        assert!(Slots::new(usize::MAX).most <= allowed() / 8);
    }

    #[test]
    fn time_that_is_spent_comes_back_slowly() {
        let mut effort = Effort::default();
        assert!(effort.is_left());
        effort.left = Duration::from_nanos(1);
        effort.spend(|| std::thread::sleep(Duration::from_millis(1)));
        assert!(effort.left.is_zero());
        effort.filled = Instant::now();
        // A second gives a quarter of it.
        effort.filled -= Duration::from_secs(1);
        assert!(effort.is_left() && effort.left >= Duration::from_millis(250));
        effort.filled -= Duration::from_secs(100);
        assert!(effort.is_left() && effort.left == Effort::SAVED);
    }

    #[test]
    fn what_takes_long_is_read_seldom() {
        let mut pace = Pace::new(Duration::from_millis(1));
        assert!(pace.is_due() && pace.read().is_none());
        pace.keep(|| std::thread::sleep(Duration::from_millis(5)));
        let short = pace.next - pace.read().unwrap();
        pace.keep(|| std::thread::sleep(Duration::from_millis(5)));
        let long = pace.next - pace.read().unwrap();
        assert!(
            short == Duration::from_millis(1) && long >= Duration::from_millis(100),
            "{short:?} {long:?}"
        );
        assert!(!pace.is_due());
    }
}
