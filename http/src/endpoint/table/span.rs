//! Counts since the table began, with those of the current interval apart.

use crate::endpoint::{Counts, Totals};

/// Counts that can be added to others of their type.
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

/// Counts since the table began. Each exchange is counted in only one of the two fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Span<T> {
    /// Counts from before the current interval.
    before: T,
    /// Counts of the current interval.
    now: T,
}

impl<T: Merge> Span<T> {
    /// Returns the counts of the current interval, to which the caller adds new exchanges.
    pub(super) fn now(&mut self) -> &mut T {
        &mut self.now
    }

    /// Returns the counts from before the current interval, to which the caller adds exchanges from before a restart.
    pub(super) fn before(&mut self) -> &mut T {
        &mut self.before
    }

    /// Returns the counts since the table began.
    pub(super) fn all(&self) -> T {
        let mut all = self.before.clone();
        all.merge(&self.now);
        all
    }

    /// Ends the current interval and returns its counts.
    pub(super) fn take(&mut self) -> T {
        let now = std::mem::take(&mut self.now);
        self.before.merge(&now);
        now
    }

    /// Adds another span, field by field.
    pub(super) fn merge(&mut self, other: &Self) {
        self.before.merge(&other.before);
        self.now.merge(&other.now);
    }
}

impl Span<Counts> {
    /// Returns the number of requests since the table began.
    pub(super) fn requests(&self) -> u64 {
        self.before.requests().saturating_add(self.now.requests())
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.before.durations.memory() + self.now.durations.memory()
    }
}
