//! Counts since the beginning that know what is new.

use crate::endpoint::{Counts, Totals};

/// What is added up.
pub(super) trait Merge: Default + Clone {
    /// Adds another one.
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

/// Counts before and since the last interval. Something new is counted once only.
#[derive(Debug, Clone, Default)]
pub(super) struct Span<T> {
    /// What was counted before the last interval ended.
    before: T,
    /// What was counted since.
    now: T,
}

impl<T: Merge> Span<T> {
    /// Where something new is counted.
    pub(super) fn now(&mut self) -> &mut T {
        &mut self.now
    }

    /// Where something is counted that is not new.
    pub(super) fn before(&mut self) -> &mut T {
        &mut self.before
    }

    /// What was counted since the beginning.
    pub(super) fn all(&self) -> T {
        let mut all = self.before.clone();
        all.merge(&self.now);
        all
    }

    /// Ends the interval and takes what was counted in it.
    pub(super) fn take(&mut self) -> T {
        let now = std::mem::take(&mut self.now);
        self.before.merge(&now);
        now
    }

    /// Adds another one, old to old and new to new.
    pub(super) fn merge(&mut self, other: &Self) {
        self.before.merge(&other.before);
        self.now.merge(&other.now);
    }
}

impl Span<Counts> {
    /// Number of requests since the beginning.
    pub(super) fn requests(&self) -> u64 {
        self.before.requests().saturating_add(self.now.requests())
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.before.durations.memory() + self.now.durations.memory()
    }
}
