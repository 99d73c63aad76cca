//! Finding the slot of a socket in the way that the kernel does: `table.h` is the original.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use traffictrace_ebpf::layout::{CONNECTION, FREE, Slot};

use super::{Geometry, Table};

/// Number of stash sets in which the kernel looks for room for a flow.
const STASH_TRIES: u32 = 16;

impl Table {
    /// Returns the main slot of a TCP socket by the socket's cookie. The slot may be closed, but not freed.
    pub(in super::super) fn main_slot(&self, cookie: u64) -> Option<&Slot> {
        let hash = hash_of(cookie);
        let tag = hash as u32 | 1 << 31;
        let mask = self.geometry.main_sets as u32 - 1;
        let first = (hash >> 32) as u32 & mask;
        let second = (first ^ ((hash as u32).wrapping_mul(0x5bd1_e995) >> 8 | 1)) & mask;
        // The stash is rarely used, so its sets are searched last, in the order in which the kernel tries them.
        let Geometry { main_sets, stash_sets } = self.geometry;
        let stashed = (hash >> 32) as u32;
        let stash = (0..STASH_TRIES).map(|turn| main_sets + stashed.wrapping_add(turn) as usize % stash_sets);
        let sets = [first as usize, second as usize].into_iter().chain(stash);
        let mut slots = sets.flat_map(|set| {
            let ways = self.tags[set].iter().enumerate().filter(move |(_, taken)| taken.load(Acquire) == tag);
            ways.map(move |(way, _)| &self.slots[set * self.tags[set].len() + way])
        });
        slots.find(|slot| {
            let state = slot.state();
            slot.cookie.load(Relaxed) == cookie && state.phase() != FREE && state.has(CONNECTION)
        })
    }
}

/// Hashes a TCP socket's cookie as the kernel programs do.
fn hash_of(cookie: u64) -> u64 {
    let mut hash = cookie.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 27;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}
