//! Limits on the memory of profiles.
//!
//! All sessions of a process share [`TOTAL`], so many traces at once take no more memory than a few. Only the parts that a
//! hostile process can enlarge are counted: rows, stacks and the names of their functions.

use std::{mem::size_of, sync::Arc};

use traffictrace_profile::Frame;

use super::add::{SampleKey, Tally};
use crate::stacks::Stack;

/// Approximate maximum memory of the profiles of all sessions of a process, in bytes.
const TOTAL: usize = 32 << 20;
/// Maximum memory of one profile in bytes, however few there are. While a profile is finished and written, it takes several
/// times as much.
pub(super) const LARGEST: usize = 16 << 20;
/// Overhead of an allocation and its entry in a table, in bytes.
const ALLOCATION: usize = 48;
/// Memory of a row in bytes, in a table that is half empty, as after it has grown.
pub(super) const ROW: usize = 2 * (size_of::<SampleKey>() + size_of::<Tally>());

/// Returns the maximum memory of each of `profiles` profiles, in bytes.
pub fn budget_of(profiles: usize) -> usize {
    (TOTAL / profiles.max(1)).min(LARGEST)
}

/// Memory of a stack without its frames, in bytes.
pub(super) fn of_stack(stack: &Stack) -> usize {
    size_of::<Stack>() + ALLOCATION + stack.frames.len() * size_of::<Arc<Frame>>()
}

/// Memory of a frame, in bytes.
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
            // The limit leaves room for a thousand rows in any case.
            assert!(each >= 1000 * ROW, "{profiles}: {each}");
        }
    }
}
