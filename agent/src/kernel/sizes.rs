//! Sizes of the maps: the geometry of the flow table, and room for the kernel's reserve in LRU maps.

use std::ops::RangeInclusive;

use traffictrace_ebpf::layout::WAYS;

/// Smallest and largest flow table, in slots of its main sets.
const SLOTS: RangeInclusive<usize> = 16_384..=4_194_304;
/// The stash has one set for so many main sets, but never fewer than [`LEAST_STASH`].
const MAIN_PER_STASH: usize = 32;
const LEAST_STASH: usize = 64;
/// Entries of an LRU map that each CPU keeps free for itself (`LOCAL_FREE_TARGET` in kernel/bpf/bpf_lru_list.c). Since
/// about Linux 6.16 it is fewer in a small map; before that, a map without room for them evicts what is in use.
const LRU_RESERVE: u32 = 128;
/// Programs that can interrupt or preempt each other on one CPU while they describe an event.
const CELLS_PER_CPU: u32 = 8;

/// How many sets the flow table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// A power of two.
    pub(super) main_sets: usize,
    /// The sets after the main ones, for flows that find no room in theirs.
    pub(super) stash_sets: usize,
}

impl Geometry {
    /// The table for so many flows at once. The number of main sets is rounded up to a power of two, by which the
    /// kernel chooses among them without a division.
    pub(super) fn for_flows(flows: usize) -> Self {
        let main_sets = flows.clamp(*SLOTS.start(), *SLOTS.end()).div_ceil(WAYS).next_power_of_two();
        Self { main_sets, stash_sets: (main_sets / MAIN_PER_STASH).max(LEAST_STASH) }
    }

    /// All sets.
    pub(super) fn sets(self) -> usize {
        self.main_sets + self.stash_sets
    }

    /// All slots.
    pub(super) fn slots(self) -> usize {
        self.sets() * WAYS
    }

    /// Slots of the main sets. The slots numbered from here on are the stash.
    pub(super) fn main_slots(self) -> usize {
        self.main_sets * WAYS
    }

    /// Slots of the stash.
    pub(super) fn stash_slots(self) -> usize {
        self.stash_sets * WAYS
    }
}

/// The size of an LRU map that must have room for so many entries on a machine with so many possible CPUs.
pub(super) fn lru(entries: u32, cpus: usize) -> u32 {
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    entries.saturating_add(cpus.saturating_mul(LRU_RESERVE))
}

/// The number of cells in which programs describe events, on a machine with so many possible CPUs (`CELLS_PER_CPU` in
/// `cells.h`).
pub(super) fn cells(cpus: usize) -> u32 {
    u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(CELLS_PER_CPU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_sets_are_a_power_of_two_and_hold_what_was_asked_for() {
        for (flows, main_sets, stash_sets) in [
            (1, 2048, 64),
            (16_384, 2048, 64),
            (16_385, 4096, 128),
            (100_000, 16_384, 512),
            (131_072, 16_384, 512),
            (200_000, 32_768, 1024),
            (4_194_304, 524_288, 16_384),
            (usize::MAX, 524_288, 16_384),
        ] {
            let geometry = Geometry::for_flows(flows);
            assert_eq!(geometry, Geometry { main_sets, stash_sets }, "{flows}");
            assert!(geometry.main_slots() >= flows.min(4_194_304), "{flows}");
            assert_eq!(geometry.slots(), geometry.main_slots() + geometry.stash_slots(), "{flows}");
        }
        assert_eq!(Geometry::for_flows(131_072).stash_slots(), 131_072 / 32);
    }

    #[test]
    fn an_lru_map_has_room_for_its_entries_beside_the_reserve_of_all_cpus() {
        for cpus in [1, 16, 64, 128, 256] {
            for entries in [1024, 4096, 32_768] {
                assert_eq!(lru(entries, cpus) - 128 * cpus as u32, entries, "{cpus} CPUs");
            }
        }
        assert_eq!(lru(1024, 128), 17_408);
        assert_eq!(lru(4096, usize::MAX), u32::MAX);
    }
}
