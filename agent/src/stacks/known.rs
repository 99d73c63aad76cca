//! A cache of copied stacks. Unwinding depends on the registers and on the few words that it reads: if they are equal,
//! so is the stack.

use std::{collections::HashMap, sync::Arc};

use super::{Registers, Stack, cache, modes::Outcome, unwind::Copied};

/// Maximum number of stacks that are cached for a process, and their maximum size in bytes.
const MOST: usize = 512;
const MOST_BYTES: usize = 1 << 20;
/// Maximum number of words that unwinding may have read of a cached stack.
const MOST_WORDS: usize = 512;

/// A stack, and the words that were read to unwind it.
#[derive(Debug)]
struct Seen {
    words: Box<[(u32, u64)]>,
    stack: Arc<Stack>,
    outcome: Outcome,
}

/// The cached stacks of a process.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_registers: HashMap<Registers, Seen>,
    /// Size in bytes of words and frames, including those of replaced entries.
    bytes: usize,
}

impl Known {
    /// Returns the stack of a copy, if it is cached.
    pub(super) fn find(&self, registers: &Registers, copied: Copied<'_>) -> Option<(Arc<Stack>, Outcome)> {
        let seen = self.by_registers.get(registers)?;
        let is_same = |(place, value): &(u32, u64)| {
            copied
                .bytes
                .get(*place as usize..)
                .and_then(<[u8]>::first_chunk)
                .map(|word| u64::from_ne_bytes(*word))
                == Some(*value)
        };
        seen.words.iter().all(is_same).then(|| (Arc::clone(&seen.stack), seen.outcome))
    }

    /// Caches a stack together with the offsets and values of the words that were read up to its root.
    pub(super) fn insert(
        &mut self,
        registers: Registers,
        words: Vec<(u32, u64)>,
        stack: &Arc<Stack>,
        outcome: Outcome,
    ) {
        if words.len() > MOST_WORDS {
            return;
        }
        if self.by_registers.len() >= MOST || self.bytes >= MOST_BYTES {
            self.clear();
        }
        self.bytes += size_of_val(words.as_slice()) + cache::bytes_of_stack(stack);
        self.by_registers.insert(registers, Seen { words: words.into(), stack: Arc::clone(stack), outcome });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + cache::table_bytes::<(Registers, Seen)>(self.by_registers.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::Extent;

    #[test]
    fn a_copy_is_known_while_what_was_read_of_it_is_the_same() {
        let stack = Arc::new(Stack { frames: Vec::new(), extent: Extent::Whole });
        let registers = Registers { instruction: 1, stack: 0x1000, frame: 2, link: 0 };
        let mut bytes = [0_u8; 32];
        bytes[8] = 7;
        let mut known = Known::default();
        known.insert(registers, vec![(8, 7)], &stack, Outcome::Whole);
        let find = |bytes: &[u8]| known.find(&registers, Copied { start: 0x1000, bytes }).is_some();
        assert!(find(&bytes));
        bytes[24] = 1;
        assert!(find(&bytes), "not read");
        bytes[8] = 8;
        assert!(!find(&bytes));
        assert!(!find(&[]));
        let other = Registers { frame: 3, ..registers };
        assert!(known.find(&other, Copied { start: 0x1000, bytes: &bytes }).is_none());
    }

    #[test]
    fn stacks_with_many_words_are_fewer() {
        let mut known = Known::default();
        let stack = Arc::new(Stack { frames: Vec::new(), extent: Extent::Whole });
        let mut most = 0;
        for instruction in 0..2000 {
            let registers = Registers { instruction, ..Registers::default() };
            known.insert(registers, vec![(0, 0); MOST_WORDS], &stack, Outcome::Whole);
            most = most.max(known.bytes());
        }
        assert!((MOST_BYTES..MOST_BYTES + (MOST_BYTES >> 2)).contains(&most), "{most}");
        known.clear();
        assert_eq!(known.bytes(), 0);
    }
}
