//! Pointers in a file, either stored directly or as relocations of a position-independent file.

use std::{io, ops::ControlFlow};

use object::{LittleEndian, elf, pod::slice_from_all_bytes};

use super::{Elf, Machine, Range};

/// Sections that can contain pointers to functions.
const SECTIONS: [&str; 4] = [".rodata", ".data.rel.ro", ".noptrdata", ".data"];
/// Section of the relocations that need no symbols.
const RELOCATIONS: &str = ".rela.dyn";
/// Maximum number of pointers to one address that are collected.
const MOST_POINTERS: usize = 4096;

type Relocation = elf::Rela64<LittleEndian>;

impl Elf<'_> {
    /// Returns a 64-bit word at an address. If the file has a zero there, a relocation gives the value.
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

    /// Returns, for each of the targets, the sorted addresses of the pointers to it.
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

    /// Calls `sink` with address and value of each relocation that needs no symbol.
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
