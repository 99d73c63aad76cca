//! Sizes of the maps: the geometry of the flow table, and the entries that the kernel reserves in LRU maps.

use std::ops::RangeInclusive;

use traffictrace_ebpf::layout::WAYS;

/// Minimum and maximum size of the flow table, in slots of its main sets.
const SLOTS: RangeInclusive<usize> = 16_384..=4_194_304;
/// Number of main sets for each set of the stash. The stash has at least [`LEAST_STASH`] sets.
const MAIN_PER_STASH: usize = 32;
const LEAST_STASH: usize = 64;
/// Number of entries of an LRU map that each CPU keeps free for itself (`LOCAL_FREE_TARGET` in
/// kernel/bpf/bpf_lru_list.c). Since about Linux 6.16 the number is smaller in a small map. Before that, a map without
/// this extra room evicts entries that are in use.
const LRU_RESERVE: u32 = 128;
/// Maximum number of programs that can interrupt or preempt each other on one CPU while they describe an event.
const CELLS_PER_CPU: u32 = 8;

/// Numbers of sets of the flow table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Number of main sets, a power of two.
    pub(super) main_sets: usize,
    /// Number of stash sets, which follow the main ones and hold flows that found no room there.
    pub(super) stash_sets: usize,
}

impl Geometry {
    /// Returns the geometry for a number of simultaneous flows. The number of main sets is rounded up to a power of
    /// two, so that the kernel can choose a set without a division.
    pub(super) fn for_flows(flows: usize) -> Self {
        let main_sets = flows.clamp(*SLOTS.start(), *SLOTS.end()).div_ceil(WAYS).next_power_of_two();
        Self { main_sets, stash_sets: (main_sets / MAIN_PER_STASH).max(LEAST_STASH) }
    }

    /// Number of all sets.
    pub(super) fn sets(self) -> usize {
        self.main_sets + self.stash_sets
    }

    /// Number of all slots.
    pub(super) fn slots(self) -> usize {
        self.sets() * WAYS
    }

    /// Number of slots in main sets. Slot numbers from here on belong to the stash.
    pub(super) fn main_slots(self) -> usize {
        self.main_sets * WAYS
    }

    /// Number of slots in the stash.
    pub(super) fn stash_slots(self) -> usize {
        self.stash_sets * WAYS
    }
}

/// Returns the size of an LRU map that must have room for `entries` on a machine with this number of possible CPUs.
pub(super) fn lru(entries: u32, cpus: usize) -> u32 {
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    entries.saturating_add(cpus.saturating_mul(LRU_RESERVE))
}

/// Returns the number of cells in which programs describe events, on a machine with this number of possible CPUs
/// (`CELLS_PER_CPU` in `cells.h`).
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
