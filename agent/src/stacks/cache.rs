//! Caches of one process. Their limits are in bytes as well as in entries, because one long name or deep stack can be
//! as large as many short ones. Any of them can be dropped at any time.

use std::{collections::HashMap, sync::Arc};

use traffictrace_profile::{Frame, FrameKind};

use super::{Extent, Stack, known::Known};

/// Maximum number of addresses whose functions are cached, and maximum bytes of their names.
const MOST_ADDRESSES: usize = 1 << 13;
const MOST_NAMES: usize = 1 << 20;
/// Maximum number of stacks that are cached by their addresses, and their maximum size in bytes.
const MOST_STACKS: usize = 1 << 10;
const MOST_STACK_BYTES: usize = 1 << 20;
/// Overhead of each allocation in bytes.
const ALLOCATION: usize = 16;

/// Cached functions and stacks of a process.
#[derive(Debug, Default)]
pub(super) struct Cache {
    frames: HashMap<u64, Arc<Frame>>,
    /// Bytes of the frames that no other process had when this process cached them.
    names: usize,
    stacks: HashMap<Box<[u64]>, Arc<Stack>>,
    stack_bytes: usize,
    pub(super) known: Known,
}

impl Cache {
    pub(super) fn frame(&self, address: u64) -> Option<&Arc<Frame>> {
        self.frames.get(&address)
    }

    pub(super) fn insert_frame(&mut self, address: u64, frame: &Arc<Frame>) {
        if self.frames.len() >= MOST_ADDRESSES || self.names >= MOST_NAMES {
            (self.frames, self.names) = (HashMap::new(), 0);
        }
        // Two references are the caller's and the one in [`super::frames`]: no other process has this frame.
        if Arc::strong_count(frame) <= 2 {
            self.names += bytes_of(frame);
        }
        self.frames.insert(address, Arc::clone(frame));
    }

    pub(super) fn stack(&self, addresses: &[u64], extent: Extent) -> Option<&Arc<Stack>> {
        self.stacks.get(addresses).filter(|stack| stack.extent == extent)
    }

    pub(super) fn insert_stack(&mut self, addresses: &[u64], stack: &Arc<Stack>) {
        if self.stacks.len() >= MOST_STACKS || self.stack_bytes >= MOST_STACK_BYTES {
            (self.stacks, self.stack_bytes) = (HashMap::new(), 0);
        }
        self.stack_bytes += size_of_val(addresses) + ALLOCATION + bytes_of_stack(stack);
        self.stacks.insert(addresses.into(), Arc::clone(stack));
    }

    /// Drops everything about code that the process generated, since other code may have replaced it.
    pub(super) fn forget_written(&mut self) {
        self.frames.retain(|_, frame| frame.kind != FrameKind::Jit);
        (self.stacks, self.stack_bytes) = (HashMap::new(), 0);
        self.known.clear();
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Approximate size of the caches in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.names
            + table_bytes::<(u64, Arc<Frame>)>(self.frames.capacity())
            + self.stack_bytes
            + table_bytes::<(Box<[u64]>, Arc<Stack>)>(self.stacks.capacity())
            + self.known.bytes()
    }
}

/// Size of a frame in bytes.
pub(super) fn bytes_of(frame: &Frame) -> usize {
    // An `Arc` adds two reference counters. The frame, its name and its module are one allocation each.
    2 * size_of::<usize>()
        + size_of::<Frame>()
        + frame.name.capacity()
        + frame.module.capacity()
        + 3 * ALLOCATION
}

/// Size of a stack in bytes, without its frames, which are shared.
pub(super) fn bytes_of_stack(stack: &Stack) -> usize {
    2 * size_of::<usize>() + size_of::<Stack>() + size_of_val(stack.frames.as_slice()) + 2 * ALLOCATION
}

/// Size in bytes of a hash table of the standard library: one more byte for each entry, and an eighth is empty.
pub(super) fn table_bytes<T>(capacity: usize) -> usize {
    (capacity + capacity / 7) * (size_of::<T>() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: String) -> Arc<Frame> {
        Arc::new(Frame { name, module: String::new(), kind: FrameKind::User })
    }

    #[test]
    fn long_names_and_deep_stacks_take_no_more_than_short_ones() {
        let mut cache = Cache::default();
        let mut most = 0;
        for number in 0..20_000_u64 {
            let frame = frame(format!("{number:512}"));
            cache.insert_frame(number, &frame);
            let addresses: Vec<u64> = (number..number + 512).collect();
            let stack = Stack { frames: vec![frame; 512], extent: Extent::Whole };
            cache.insert_stack(&addresses, &Arc::new(stack));
            most = most.max(cache.bytes());
        }
        assert!((1 << 20..3 << 20).contains(&most), "{most}");
        assert!(cache.frame(19_999).is_some());
        cache.clear();
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_stack_of_another_extent_is_another_one() {
        let mut cache = Cache::default();
        cache.insert_stack(&[1, 2], &Arc::new(Stack { frames: Vec::new(), extent: Extent::Cut }));
        assert!(cache.stack(&[1, 2], Extent::Cut).is_some() && cache.stack(&[1, 2], Extent::Whole).is_none());
    }
}
