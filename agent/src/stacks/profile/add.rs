//! Addition of samples by process, direction, thread and stack.

use std::{
    hash::{Hash, Hasher},
    mem,
    sync::Arc,
};

use hashbrown::{HashMap, HashSet};
use traffictrace_profile::{Frame, Way};

use super::memory;
use crate::stacks::{Extent, Stack};

/// Maximum number of rows, including folded ones. Beyond it, the smallest quarter of the stacks is folded: added up by
/// process and direction.
const MAX_ROWS: usize = 16_384;
/// Folded rows, one for each process and direction, are at most one part in this many of the rows that the limits
/// allow.
const FOLDED: usize = 4;
/// Number of fractional bits in a fixed-point number.
pub(super) const FRACTION: u32 = 16;
/// The probability 1 in the unit of [`Profile::add`]'s `chance`, which is 2^-32.
const CERTAIN: u128 = 1 << 32;

/// A process as the flow table identifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Id of the cgroup that owns the process's traffic.
    pub cgroup: u64,
    /// Process id on the host.
    pub pid: u32,
    /// Name of the process, terminated by a zero if it is shorter than 16 bytes.
    pub command: [u8; 16],
}

/// A stack that is compared by its address. That suffices because [`Profile`] stores equal stacks once.
#[derive(Debug, Clone)]
pub(super) struct Unique(pub(super) Arc<Stack>);

impl PartialEq for Unique {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Unique {}

impl Hash for Unique {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The key by which samples are added up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SampleKey {
    pub(super) owner: Owner,
    pub(super) way: Way,
    /// Name of the thread, and its stack; `None` in the row of a process's folded stacks.
    pub(super) stack: Option<([u8; 16], Unique)>,
}

/// Sums over samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Bytes of the calls whose stack was taken.
    pub(super) bytes: u64,
    /// Number of calls whose stack was taken.
    pub(super) calls: u64,
    /// Estimate of the bytes of calls that were not sampled, from the probabilities of those that were, with
    /// [`FRACTION`] fractional bits.
    pub(super) hidden_bytes: u128,
    /// Estimate of the number of calls that were not sampled, with [`FRACTION`] fractional bits.
    pub(super) hidden_calls: u128,
    /// Number of claims, which are samples of threads that move bytes without a call.
    pub(super) claims: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.calls = self.calls.saturating_add(other.calls);
        self.hidden_bytes = self.hidden_bytes.saturating_add(other.hidden_bytes);
        self.hidden_calls = self.hidden_calls.saturating_add(other.hidden_calls);
        self.claims = self.claims.saturating_add(other.claims);
    }

    /// Size by which rows are ranked when the smallest are folded.
    fn size(&self) -> u128 {
        (u128::from(self.bytes) << FRACTION).saturating_add(self.hidden_bytes)
    }
}

/// The samples of a session, added up by [`SampleKey`], within limits of rows and memory.
#[derive(Debug)]
pub struct Profile {
    pub(super) rows: HashMap<SampleKey, Tally>,
    stacks: HashSet<Arc<Stack>>,
    frames: HashSet<Arc<Frame>>,
    /// Approximate memory of the stacks and names, in bytes.
    stack_memory: usize,
    /// Maximum memory of the profile, in bytes.
    budget: usize,
    /// Number of calls whose stack was taken. Claims are not included.
    pub(super) taken: u64,
    /// Number of samples that the kernel programs could not deliver.
    pub(super) lost: u64,
}

impl Default for Profile {
    /// Creates the profile of the only session, which has the largest budget.
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            stacks: HashSet::new(),
            frames: HashSet::new(),
            stack_memory: 0,
            budget: memory::budget_of(1),
            taken: 0,
            lost: 0,
        }
    }
}

impl Profile {
    /// Sets the number of profiles that share the total memory. If this profile now takes more than its share, its
    /// smallest stacks are folded.
    pub fn share_with(&mut self, profiles: usize) {
        self.budget = memory::budget_of(profiles);
        self.fit();
    }

    /// Adds a call whose stack was taken with the probability `chance` / 2^32; 0 means always.
    pub fn add(
        &mut self,
        owner: &Owner,
        thread: &[u8; 16],
        way: Way,
        stack: &Arc<Stack>,
        bytes: u64,
        chance: u32,
    ) {
        self.taken = self.taken.saturating_add(1);
        let chance = if chance == 0 { CERTAIN } else { chance.into() };
        // The product is below 2^(64 + 16 + 32), so it does not overflow.
        let hidden = |amount: u64| (u128::from(amount) << FRACTION) * (CERTAIN - chance) / chance;
        let tally =
            Tally { bytes, calls: 1, hidden_bytes: hidden(bytes), hidden_calls: hidden(1), claims: 0 };
        self.book(owner, thread, way, stack, &tally);
    }

    /// Records that a thread moves bytes in this direction without calls, so their number is not known from the
    /// thread.
    pub fn claim(&mut self, owner: &Owner, thread: &[u8; 16], way: Way, stack: &Arc<Stack>) {
        self.book(owner, thread, way, stack, &Tally { claims: 1, ..Tally::default() });
    }

    /// Adds to the number of samples that the kernel programs could not deliver.
    pub fn lost(&mut self, records: u64) {
        self.lost = self.lost.saturating_add(records);
    }

    /// Number of calls whose stack was taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn book(&mut self, owner: &Owner, thread: &[u8; 16], way: Way, stack: &Arc<Stack>, tally: &Tally) {
        let stack = Unique(self.intern(stack));
        let key = SampleKey { owner: *owner, way, stack: Some((*thread, stack)) };
        self.rows.entry(key).or_default().add(tally);
        self.fit();
    }

    /// Folds stacks until the profile fits its limits.
    fn fit(&mut self) {
        while self.rows.len() > MAX_ROWS || self.is_too_large() && !self.stacks.is_empty() {
            self.fold();
        }
    }

    fn is_too_large(&self) -> bool {
        self.stack_memory + self.rows.len() * memory::ROW > self.budget
    }

    /// Returns the stored stack that equals this one, and stores this one if there is none.
    fn intern(&mut self, stack: &Arc<Stack>) -> Arc<Stack> {
        if let Some(known) = self.stacks.get(stack) {
            return Arc::clone(known);
        }
        let mut names = 0;
        let frames = stack.frames.iter().map(|frame| {
            let known = self.frames.get_or_insert_with(frame, |frame| {
                names += memory::of_frame(frame);
                Arc::clone(frame)
            });
            Arc::clone(known)
        });
        let own = Arc::new(Stack { frames: frames.collect(), extent: stack.extent });
        self.stack_memory += names + memory::of_stack(&own);
        self.stacks.insert(Arc::clone(&own));
        own
    }

    /// Folds the smallest quarter of the stacks into one row for each process and direction. If there are too many such
    /// rows, the smallest are dropped; the ledger still has their bytes, which will be shown without a stack.
    fn fold(&mut self) {
        let is_too_large = self.is_too_large();
        let (mut stacks, mut folded): (Vec<_>, Vec<_>) =
            mem::take(&mut self.rows).into_iter().partition(|(key, _)| key.stack.is_some());
        let quarter = stacks.len().div_ceil(4);
        let (small, large) = smallest(&mut stacks, quarter);
        // A stack that only has the reason why it is missing takes no more memory than a folded row, but says more.
        let is_missing = |key: &SampleKey| {
            key.stack.as_ref().is_some_and(|(_, stack)| matches!(stack.0.extent, Extent::Missing(_)))
        };
        self.rows = large.iter().cloned().collect();
        let mut sums: HashMap<SampleKey, Tally> = folded.drain(..).collect();
        for (key, tally) in small {
            let stack = key.stack.clone().filter(|_| is_missing(key) && !is_too_large);
            sums.entry(SampleKey { stack, ..key.clone() }).or_default().add(tally);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        let excess = sums.len().saturating_sub((self.budget / memory::ROW).min(MAX_ROWS) / FOLDED);
        self.rows.extend(smallest(&mut sums, excess).1.iter().cloned());
        self.forget_unused();
    }

    /// Drops the stacks and names that no row uses any more.
    fn forget_unused(&mut self) {
        self.stacks.clear();
        self.frames.clear();
        self.stack_memory = 0;
        let stacks: Vec<_> = self
            .rows
            .keys()
            .filter_map(|key| key.stack.as_ref())
            .map(|(_, stack)| Arc::clone(&stack.0))
            .collect();
        for stack in stacks {
            if self.stacks.insert(Arc::clone(&stack)) {
                self.stack_memory += memory::of_stack(&stack);
                for frame in &stack.frames {
                    if self.frames.insert(Arc::clone(frame)) {
                        self.stack_memory += memory::of_frame(frame);
                    }
                }
            }
        }
    }
}

type Entry = (SampleKey, Tally);

/// Splits the rows into the `count` smallest ones and the others.
fn smallest(rows: &mut [Entry], count: usize) -> (&[Entry], &[Entry]) {
    if (1..rows.len()).contains(&count) {
        rows.select_nth_unstable_by_key(count, |(_, tally)| tally.size());
    }
    rows.split_at(count.min(rows.len()))
}

#[cfg(test)]
mod tests;
