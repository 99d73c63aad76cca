//! The segments of a file that are loaded, and their addresses.

use super::{Elf, Range};

/// Size in bytes of the largest page of any supported system.
const LARGEST_PAGE: u64 = 1 << 16;
/// Maximum number of code segments of a file that are kept. Linkers make one or two.
const MOST_SEGMENTS: usize = 16;

/// A segment that is loaded from a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded {
    pub(super) address: u64,
    pub(super) range: Range,
    pub(super) executable: bool,
}

/// The executable segments of a file.
#[derive(Debug, Clone)]
pub(crate) struct CodeSegments(Box<[Loaded]>);

impl CodeSegments {
    /// Returns the virtual address, as the file gives it, of the byte at the file offset `offset` with which a mapping
    /// begins. A mapping begins at a page boundary, even if its segment does not.
    pub(crate) fn address_at(&self, offset: u64) -> Option<u64> {
        let mut mapped = self.0.iter().filter(|Loaded { range, .. }| {
            (range.offset & !(LARGEST_PAGE - 1)..range.offset.saturating_add(range.length)).contains(&offset)
        });
        // If two segments share a page of the file, the mapping is of the segment that begins at or before the offset.
        let first = mapped.next()?;
        let loaded = if first.range.offset <= offset { first } else { mapped.next().unwrap_or(first) };
        Some(loaded.address.wrapping_sub(loaded.range.offset).wrapping_add(offset))
    }
}

impl Elf<'_> {
    /// Returns the code segments.
    pub(crate) fn code_segments(&self) -> CodeSegments {
        CodeSegments(
            self.loaded.iter().filter(|loaded| loaded.executable).take(MOST_SEGMENTS).copied().collect(),
        )
    }

    /// Returns the virtual address, as the file gives it, of the code at the file offset of a mapping.
    pub(crate) fn code_at(&self, offset: u64) -> Option<u64> {
        self.code_segments().address_at(offset)
    }

    /// Returns the file offset of the byte at a virtual address, as the file gives it; `None` if no segment has it.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        self.loaded.iter().find_map(|Loaded { address: start, range, .. }| {
            let within = address.checked_sub(*start).filter(|within| *within < range.length)?;
            range.offset.checked_add(within)
        })
    }
}
