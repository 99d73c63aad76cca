//! What is loaded from a file, and where to.

use super::{Elf, Range};

/// The largest page of any system.
const LARGEST_PAGE: u64 = 1 << 16;
/// Segments of code up to which they are kept: linkers make one or two.
const MOST_SEGMENTS: usize = 16;

/// A segment that is loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded {
    pub(super) address: u64,
    pub(super) range: Range,
    pub(super) executable: bool,
}

/// The segments of code of a file.
#[derive(Debug, Clone)]
pub(crate) struct CodeSegments(Box<[Loaded]>);

impl CodeSegments {
    /// The address to which the code that is mapped from this offset on is loaded. Mappings begin with a page, also
    /// where the segment does not.
    pub(crate) fn address_at(&self, offset: u64) -> Option<u64> {
        let mut mapped = self.0.iter().filter(|Loaded { range, .. }| {
            (range.offset & !(LARGEST_PAGE - 1)..range.offset.saturating_add(range.length)).contains(&offset)
        });
        // Where two segments share a page, the one that begins before it is the one that is mapped.
        let first = mapped.next()?;
        let loaded = if first.range.offset <= offset { first } else { mapped.next().unwrap_or(first) };
        Some(loaded.address.wrapping_sub(loaded.range.offset).wrapping_add(offset))
    }
}

impl Elf<'_> {
    /// The segments of code.
    pub(crate) fn code_segments(&self) -> CodeSegments {
        CodeSegments(
            self.loaded.iter().filter(|loaded| loaded.executable).take(MOST_SEGMENTS).copied().collect(),
        )
    }

    /// The address to which the code that is mapped from this offset on is loaded.
    pub(crate) fn code_at(&self, offset: u64) -> Option<u64> {
        self.code_segments().address_at(offset)
    }

    /// The offset in the file of what is loaded to an address.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        self.loaded.iter().find_map(|Loaded { address: start, range, .. }| {
            let within = address.checked_sub(*start).filter(|within| *within < range.length)?;
            range.offset.checked_add(within)
        })
    }
}
