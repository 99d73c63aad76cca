//! Lookup of a Go program's functions in the table of its runtime (`.gopclntab`), which every Go program has, even a
//! stripped one. The table stays in the file and is read as needed.

use std::{fs::File, io, ops::ControlFlow, os::unix::fs::FileExt as _};

use memchr::memmem::Finder;

use super::{Defined, Elf, Placed, Range, source::Window, text_at};

/// Magic numbers at the beginning of the table, named after the Go version that introduced each format.
const GO_1_16: u32 = 0xffff_fffa;
const GO_1_18: u32 = 0xffff_fff0;
const GO_1_20: u32 = 0xffff_fff1;
/// Names of the table's section; position-independent programs have the second one.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Maximum number of functions in a valid table: eight times as many as the largest known program has, of 674 MiB.
const MOST_FUNCTIONS: u64 = 1 << 22;
/// Size in bytes of the table's header.
const HEADER: u64 = 72;
/// Offset of the start address of the code in the runtime's description of the program (`.go.module`), since Go 1.26.
const MODULE_TEXT: u64 = 176;

/// The layout of a program's table of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoTable {
    /// Offset of the table in the file, in bytes.
    start: u64,
    /// Length of the table in bytes.
    length: u64,
    /// Number of functions.
    count: u64,
    /// Address to which the functions' addresses in the table are relative.
    text: u64,
    /// Offset in the table of the functions' names.
    names: u64,
    /// Offset in the table after the names.
    names_end: u64,
    /// Offset in the table of the list of functions. For each function, the list has two words: the function's address,
    /// and the offset of the function's description from the beginning of the list.
    functions: u64,
    /// Size in bytes of a word of that list: 8 for addresses (before Go 1.18), 4 for distances from the beginning of
    /// the code.
    word: u64,
}

impl GoTable {
    /// Finds the table of a program. Returns `None` if there is none, or if its format is unknown.
    pub(crate) fn of(elf: &Elf<'_>) -> Option<Self> {
        Self::read(elf, SECTIONS.iter().find_map(|name| elf.placed(name))?)
    }

    /// Reads the layout of a table from its header.
    pub(super) fn read(elf: &Elf<'_>, table: Placed) -> Option<Self> {
        let header = elf.start(table.range, HEADER).ok()?;
        let word =
            |number: usize| header.get(8 + 8 * number..)?.first_chunk().map(|word| u64::from_le_bytes(*word));
        let magic = u32::from_le_bytes(*header.first_chunk()?);
        // Only programs with 8-byte addresses are supported.
        if header.get(7) != Some(&8) {
            return None;
        }
        // After the header, the table has the names, the file numbers by compilation unit, the files, the program
        // counters, and the functions, in this order. The header has the offset of each of these parts.
        let (text, names, names_end, functions, size) = match magic {
            GO_1_16 => (0, word(2)?, word(3)?, word(6)?, 8),
            GO_1_18 | GO_1_20 => (text_of(elf, table.address)?, word(3)?, word(4)?, word(7)?, 4),
            _ => return None,
        };
        let count = word(0)?;
        let length = table.range.length;
        let fits = names < names_end
            && names_end <= functions
            && functions < length
            && count.min(MOST_FUNCTIONS) * 2 * size < length - functions;
        (count > 0 && count <= MOST_FUNCTIONS && fits).then_some(Self {
            start: table.range.offset,
            length,
            count,
            text,
            names,
            names_end,
            functions,
            word: size,
        })
    }

    /// Returns the name of the function that contains an address. The address is one of the file, not of a process.
    pub(crate) fn name_at(&self, file: &File, address: u64) -> Option<Vec<u8>> {
        let found = self.index_at(file, address)?;
        self.name_of(file, found)
    }

    /// Finds functions by their names. Returns them in the order of `names`, with `None` for those that do not exist.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read; [`io::ErrorKind::InvalidData`] if more than [`super::MOST_READ`]
    /// bytes would have to be read.
    pub(crate) fn functions(&self, elf: &Elf<'_>, names: &[&str]) -> io::Result<Vec<Option<Defined>>> {
        let places = self.places_of(elf, names)?;
        let mut found = vec![None; names.len()];
        let mut left = places.iter().flatten().count();
        // Functions and their descriptions have the same order, so both are read in ascending order, each with its own
        // window.
        let table = Range { offset: self.start, length: self.length };
        let (mut functions, mut descriptions) =
            (Window::new(&elf.file, table), Window::new(&elf.file, table));
        for index in 0..self.count {
            if left == 0 {
                break;
            }
            let at = self.functions + 2 * index * self.word;
            let size = self.word as usize;
            let (entry, description) = (functions.number(at, size)?, functions.number(at + self.word, size)?);
            let next = functions.number(at + 2 * self.word, size)?;
            let description =
                description.and_then(|at| self.functions.checked_add(at)?.checked_add(self.word));
            let (Some(entry), Some(next), Some(description)) = (entry, next, description) else { continue };
            let name = descriptions.number(description, 4)?.and_then(|name| self.names.checked_add(name));
            if let Some(at) = places.iter().position(|wanted| wanted.is_some() && *wanted == name)
                && found[at].is_none()
                && let (Some(address), Some(size)) = (entry.checked_add(self.text), next.checked_sub(entry))
            {
                found[at] = Some(Defined { address, size });
                left -= 1;
            }
        }
        Ok(found)
    }

    /// Returns the offset in the table of each name. The table has each name once, and a zero byte before and after it.
    fn places_of(&self, elf: &Elf<'_>, names: &[&str]) -> io::Result<Vec<Option<u64>>> {
        let wanted: Vec<Vec<u8>> = names.iter().map(|name| [&[0], name.as_bytes(), &[0]].concat()).collect();
        let finders: Vec<Finder<'_>> = wanted.iter().map(Finder::new).collect();
        let longest = wanted.iter().map(Vec::len).max().unwrap_or(1);
        let mut places = vec![None; names.len()];
        let Some(offset) = self.start.checked_add(self.names) else { return Ok(places) };
        let all = Range { offset, length: self.names_end - self.names };
        elf.chunks(all, longest - 1, |start, bytes| {
            for (place, finder) in places.iter_mut().zip(&finders).filter(|(place, _)| place.is_none()) {
                *place = finder.find(bytes).map(|found| self.names + start + found as u64 + 1);
            }
            match places.iter().all(Option::is_some) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(places)
    }

    /// Returns the index of the function that contains an address; `None` before the first function and after the last
    /// one.
    fn index_at(&self, file: &File, address: u64) -> Option<u64> {
        // The word after the last function is the end of the code.
        if address < self.entry(file, 0)? || address >= self.entry(file, self.count)? {
            return None;
        }
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.entry(file, middle)? <= address { low = middle } else { high = middle }
        }
        Some(low)
    }

    /// Returns the address of the function at an index of the list, or the end of the code for the index after the
    /// last.
    fn entry(&self, file: &File, index: u64) -> Option<u64> {
        self.number(file, self.functions + 2 * index * self.word, self.word)?.checked_add(self.text)
    }

    fn name_of(&self, file: &File, index: u64) -> Option<Vec<u8>> {
        text_at(file, self.start.checked_add(self.place_of_name(file, index)?)?, 0)
    }

    /// Returns the offset in the table of the name of the function at an index of the list.
    fn place_of_name(&self, file: &File, index: u64) -> Option<u64> {
        let function = self.number(file, self.functions + (2 * index + 1) * self.word, self.word)?;
        // The description begins with the function's address, followed by the offset of its name.
        let description = self.functions.checked_add(function)?;
        let name = self.names.checked_add(self.number(file, description.checked_add(self.word)?, 4)?)?;
        (name < self.length).then_some(name)
    }

    /// Reads a number of `size` bytes, 4 or 8, at an offset of the table.
    fn number(&self, file: &File, at: u64, size: u64) -> Option<u64> {
        let end = at.checked_add(size)?;
        let mut bytes = [0; 8];
        let bytes_read = bytes.get_mut(..usize::try_from(size).ok()?)?;
        if end > self.length {
            return None;
        }
        file.read_exact_at(bytes_read, self.start.checked_add(at)?).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// Returns the address to which the addresses in a table since Go 1.18 are relative. The header of the table has it or,
/// since Go 1.26, the runtime's description of the program.
fn text_of(elf: &Elf<'_>, table: u64) -> Option<u64> {
    let told = elf.word_at(table.checked_add(24)?).filter(|text| *text != 0);
    let module =
        || elf.word_at(elf.placed(".go.module")?.address.checked_add(MODULE_TEXT)?).filter(|text| *text != 0);
    told.or_else(module)
}

#[cfg(test)]
mod tests;
