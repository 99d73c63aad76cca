//! Pointers in a file: stored in its sections or, in a position-independent file, as relocations.

use std::{io, ops::ControlFlow};

use object::{LittleEndian, elf, pod::slice_from_all_bytes};

use super::{Elf, Machine, Range};

/// Sections that can have tables of pointers to functions.
const SECTIONS: [&str; 4] = [".rodata", ".data.rel.ro", ".noptrdata", ".data"];
/// The section with the relocations that need no symbols.
const RELOCATIONS: &str = ".rela.dyn";
/// Maximum number of pointers to one address that are collected.
const MOST_POINTERS: usize = 4096;

type Relocation = elf::Rela64<LittleEndian>;

impl Elf<'_> {
    /// Returns the 64-bit word at an address of the file. If the file has a zero there, the value is that of the
    /// relocation for this address.
    pub(crate) fn word_at(&self, address: u64) -> Option<u64> {
        let offset = self.offset_of(address)?;
        let bytes = self.bytes(Range { offset, length: 8 }).ok()?;
        let value = u64::from_le_bytes(*bytes.first_chunk()?);
        if value != 0 {
            return Some(value);
        }
        let mut addend = None;
        self.relocations(|place, value| {
            if place == address {
                addend = Some(value);
            }
        })
        .ok()?;
        addend
    }

    /// Returns the sorted addresses of the pointers to each of the targets, in the order of `targets`; at most
    /// [`MOST_POINTERS`] for each.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(crate) fn pointers_to(&self, targets: &[u64]) -> io::Result<Vec<Vec<u64>>> {
        let mut found = vec![Vec::new(); targets.len()];
        let mut take = |place: u64, value: u64| {
            if let Some(at) = targets.iter().position(|target| *target == value)
                && found[at].len() < MOST_POINTERS
            {
                found[at].push(place);
            }
        };
        for placed in SECTIONS.iter().filter_map(|name| self.placed(name)) {
            self.chunks(placed.range, 0, |start, bytes| {
                for (number, word) in (0..).zip(bytes.as_chunks::<8>().0) {
                    take(placed.address.wrapping_add(start + 8 * number), u64::from_le_bytes(*word));
                }
                ControlFlow::Continue(())
            })?;
        }
        self.relocations(take)?;
        for places in &mut found {
            places.sort_unstable();
            places.dedup();
        }
        Ok(found)
    }

    /// Calls `sink` with the address and the value of each relocation that needs no symbol.
    fn relocations(&self, mut sink: impl FnMut(u64, u64)) -> io::Result<()> {
        let relative = match self.machine {
            Machine::X86_64 => elf::R_X86_64_RELATIVE,
            Machine::Aarch64 => elf::R_AARCH64_RELATIVE,
        };
        let Some(section) = self.section(RELOCATIONS) else { return Ok(()) };
        self.chunks(section, 0, |_, bytes| {
            let whole = bytes.len() / size_of::<Relocation>() * size_of::<Relocation>();
            for relocation in slice_from_all_bytes::<Relocation>(&bytes[..whole]).unwrap_or_default() {
                if relocation.r_type(LittleEndian, false) == relative {
                    let value = relocation.r_addend.get(LittleEndian).cast_unsigned();
                    sink(relocation.r_offset.get(LittleEndian), value);
                }
            }
            ControlFlow::Continue(())
        })
    }
}
