//! Counts since the beginning, together with those of the current interval.

use crate::endpoint::{Counts, Totals};

/// Counts that can be added.
pub(super) trait Merge: Default + Clone {
    /// Adds other counts.
    fn merge(&mut self, other: &Self);
}

impl Merge for Counts {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }
}

impl Merge for Totals {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }
}

/// Counts from before the current interval, and counts of it. Everything is counted in only one of the two.
#[derive(Debug, Clone, Default)]
pub(super) struct Span<T> {
    /// Counts from before the current interval.
    before: T,
    /// Counts of the current interval.
    now: T,
}

impl<T: Merge> Span<T> {
    /// Returns the counts of the current interval, to add new exchanges.
    pub(super) fn now(&mut self) -> &mut T {
        &mut self.now
    }

    /// Returns the counts from before the current interval, to add older exchanges.
    pub(super) fn before(&mut self) -> &mut T {
        &mut self.before
    }

    /// Returns the counts since the beginning.
    pub(super) fn all(&self) -> T {
        let mut all = self.before.clone();
        all.merge(&self.now);
        all
    }

    /// Ends the interval and returns its counts.
    pub(super) fn take(&mut self) -> T {
        let now = std::mem::take(&mut self.now);
        self.before.merge(&now);
        now
    }

    /// Adds another span: earlier counts to earlier ones, new ones to new ones.
    pub(super) fn merge(&mut self, other: &Self) {
        self.before.merge(&other.before);
        self.now.merge(&other.now);
    }
}

impl Span<Counts> {
    /// Returns the number of requests since the beginning.
    pub(super) fn requests(&self) -> u64 {
        self.before.requests().saturating_add(self.now.requests())
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.before.durations.memory() + self.now.durations.memory()
    }
}
