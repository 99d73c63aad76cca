//! Limits on the time that is spent on processes, and on the files that are kept open for them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};

/// Time budget for examining processes and their files: a share of each second, saved up to a maximum. Each examination
/// has its own limits, but the number of processes has none.
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
    /// Maximum saved time, enough to examine some hundred processes with their files.
    const SAVED: Duration = Duration::from_secs(2);
    /// One part in this many of the time may be spent.
    const SHARE: u32 = 4;

    /// Returns true if any time is left.
    pub(super) fn is_left(&mut self) -> bool {
        let now = Instant::now();
        let passed = now.duration_since(self.filled);
        (self.left, self.filled) = ((self.left + passed / Self::SHARE).min(Self::SAVED), now);
        !self.left.is_zero()
    }

    /// Does some work, and subtracts its duration from the budget.
    pub(super) fn spend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.take(begun.elapsed());
        done
    }

    /// Subtracts time that was spent.
    pub(super) fn take(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

/// Decides when a process's mappings, or its list of generated code, are read again: after a pause, which is longer if
/// re-reading takes long. The first read does not count, since it is usually slower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    shortest: Duration,
    read: Option<Instant>,
    next: Instant,
}

impl Pace {
    /// A pause is at least this many times as long as the last re-read.
    const RATIO: u32 = 20;

    pub(super) fn new(shortest: Duration) -> Self {
        Self { shortest, read: None, next: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Returns the time of the last read.
    pub(super) fn read(&self) -> Option<Instant> {
        self.read
    }

    /// Calls `work`, which does the read, and sets the time of the next read.
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

/// A limit on the number of files that are open at once.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    taken: Arc<()>,
}

/// Permission to keep one file open. Dropping the value returns it to [`Slots`].
#[derive(Debug)]
pub(super) struct Slot {
    _taken: Arc<()>,
}

impl Slots {
    /// Creates room for `most` files, but at most for an eighth of the files that this process may open, since it also
    /// needs connections and links to kernel programs.
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

/// Number of files that this process may open.
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
        // One second adds 250 ms.
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
