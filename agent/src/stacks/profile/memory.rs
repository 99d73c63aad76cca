//! How much memory profiles take, and how much they may take.
//!
//! All sessions of a process share [`TOTAL`], so that many traces at once take no more than a few. What is counted here is
//! what a hostile process can make large: rows, stacks and the names of their functions.

use std::{mem::size_of, sync::Arc};

use traffictrace_profile::Frame;

use super::add::{SampleKey, Tally};
use crate::stacks::Stack;

/// Largest number of bytes that the profiles of all sessions of a process take, about.
const TOTAL: usize = 32 << 20;
/// Largest number of bytes that one profile takes, however few there are: while it is finished and written, it takes several
/// times as much.
pub(super) const LARGEST: usize = 16 << 20;
/// What an allocation and its place in a table take beside their contents.
const ALLOCATION: usize = 48;
/// A row in a table that is half empty, as one is that has just grown.
pub(super) const ROW: usize = 2 * (size_of::<SampleKey>() + size_of::<Tally>());

/// The bytes that each of so many profiles may take.
pub fn budget_of(profiles: usize) -> usize {
    (TOTAL / profiles.max(1)).min(LARGEST)
}

/// The bytes of a stack without its frames.
pub(super) fn of_stack(stack: &Stack) -> usize {
    size_of::<Stack>() + ALLOCATION + stack.frames.len() * size_of::<Arc<Frame>>()
}

/// The bytes of a frame.
pub(super) fn of_frame(frame: &Frame) -> usize {
    size_of::<Frame>() + ALLOCATION + frame.name.len() + frame.module.len()
}

#[cfg(test)]
mod tests {
    use traffictrace_ebpf::layout::SESSIONS;

    use super::*;

    #[test]
    fn all_sessions_together_stay_within_the_total() {
        assert_eq!((budget_of(0), budget_of(1), budget_of(2)), (LARGEST, LARGEST, LARGEST));
        for profiles in 2..=SESSIONS {
            let each = budget_of(profiles);
            assert!(each * profiles <= TOTAL, "{profiles}");
            // A few hundred rows have room in any case.
            assert!(each >= 1000 * ROW, "{profiles}: {each}");
        }
    }
}
