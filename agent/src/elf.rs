//! Reads the parts of ELF files that are needed to find TLS functions and to name stacks. Files are read piece by
//! piece, because executables can have gigabytes of symbols, and their headers are not trusted.

mod go;
mod pointers;
mod segments;
mod source;
mod symbols;

pub(super) use self::{
    go::GoTable,
    segments::CodeSegments,
    source::text_at,
    symbols::{Defined, FunctionSymbol},
};

use std::{fs::File, io, ops::ControlFlow};

use memchr::memmem::Finder;
use object::{LittleEndian, elf, pod::from_bytes};

use self::{
    segments::Loaded,
    source::{Source, invalid},
};

/// Number of bytes by which [`Elf::chunks`] advances through a section, rounded down to whole table entries.
const CHUNK: usize = 1 << 18;
/// Size of a symbol (`Elf64_Sym`) and of a relocation (`Elf64_Rela`), in bytes.
const ENTRY: usize = 24;
/// Maximum number of bytes of a table or section that are searched. The largest known ones belong to a Terraform
/// provider of 674 MiB: 101 MiB of constants and 70 MiB of names. Those of Node have 46 MiB, those of kubectl 11 MiB.
const MOST_SCANNED: u64 = 128 << 20;
/// Maximum number of bytes that are read of one file. Bytes that are read twice count twice, and so do the holes of a
/// sparse file. Stripped of symbols, the Terraform provider above needs 240 MiB, and Node 160 MiB.
const MOST_READ: u64 = 256 << 20;
/// Maximum number of sections, and of segments. Chromium has 38 sections; a program whose linker keeps a section for
/// each function has some thousand.
const MOST_HEADERS: u16 = 4096;
/// Maximum number of bytes of section names that are read. Usual files have some hundred.
const MOST_SECTION_NAMES: u64 = 1 << 16;
/// Maximum length in bytes of a function whose code is read.
const MOST_CODE: u64 = 1 << 16;
/// Maximum length of a text that [`text_at`] reads, such as the name of a function, in bytes.
pub(super) const MOST_TEXT: usize = 1024;

type Header = elf::FileHeader64<LittleEndian>;
type Segment = elf::ProgramHeader64<LittleEndian>;
type Section = elf::SectionHeader64<LittleEndian>;

/// The instruction set of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

/// A range of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A section of a file, and the address to which it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) address: u64,
    pub(super) range: Range,
}

/// A 64-bit little-endian ELF file of a supported [`Machine`].
#[derive(Debug)]
pub(super) struct Elf<'a> {
    file: Source<'a>,
    pub(super) machine: Machine,
    /// The segments that are loaded from the file (PT_LOAD).
    loaded: Vec<Loaded>,
    sections: Vec<Section>,
    /// The table of the sections' names.
    names: Vec<u8>,
}

impl<'a> Elf<'a> {
    /// Reads the headers of a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it is not a 64-bit little-endian ELF file of x86-64 or arm64; the system's
    /// error if it cannot be read.
    pub(super) fn read(file: &'a File) -> io::Result<Self> {
        Self::read_within(file, MOST_READ)
    }

    /// Reads the headers of a file, as [`Elf::read`] does. `most` limits the number of bytes that are read of this
    /// file, now and by later calls.
    ///
    /// # Errors
    ///
    /// Those of [`Elf::read`].
    pub(super) fn read_within(file: &'a File, most: u64) -> io::Result<Self> {
        let file = Source::new(file, most.min(MOST_READ));
        let bytes = file.read(Range { offset: 0, length: size_of::<Header>() as u64 })?;
        let (header, _) = from_bytes::<Header>(&bytes).map_err(|()| invalid("no ELF header"))?;
        let ident = &header.e_ident;
        if ident.magic != elf::ELFMAG || ident.class != elf::ELFCLASS64 || ident.data != elf::ELFDATA2LSB {
            return Err(invalid("not an ELF file of 64 bits"));
        }
        let machine = match header.e_machine.get(LittleEndian) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            _ => return Err(invalid("an unknown instruction set")),
        };
        let segments: Vec<Segment> =
            file.table(header.e_phoff.get(LittleEndian), header.e_phnum.get(LittleEndian))?;
        let sections: Vec<Section> =
            file.table(header.e_shoff.get(LittleEndian), header.e_shnum.get(LittleEndian))?;
        let loaded = segments
            .iter()
            .filter(|segment| segment.p_type.get(LittleEndian) == elf::PT_LOAD)
            .map(|segment| {
                let range = Range {
                    offset: segment.p_offset.get(LittleEndian),
                    length: segment.p_filesz.get(LittleEndian),
                };
                let executable = segment.p_flags.get(LittleEndian) & elf::PF_X != 0;
                Loaded { address: segment.p_vaddr.get(LittleEndian), range, executable }
            })
            .collect();
        let names = sections.get(usize::from(header.e_shstrndx.get(LittleEndian))).and_then(range_of);
        let names = names.map(|names| Range { length: names.length.min(MOST_SECTION_NAMES), ..names });
        // If the names cannot be read, no section can be found.
        let names = names.and_then(|names| file.read(names).ok()).unwrap_or_default();
        Ok(Self { file, machine, loaded, sections, names })
    }

    /// Returns the range in the file of the section with this name; `None` if there is no such section, or it has no
    /// bytes in the file.
    pub(super) fn section(&self, name: &str) -> Option<Range> {
        range_of(self.header_of(name)?)
    }

    /// Returns the section with this name and its address; `None` if there is no such section, or it has no bytes in
    /// the file.
    pub(super) fn placed(&self, name: &str) -> Option<Placed> {
        let section = self.header_of(name)?;
        Some(Placed { address: section.sh_addr.get(LittleEndian), range: range_of(section)? })
    }

    fn header_of(&self, name: &str) -> Option<&Section> {
        let wanted = [name.as_bytes(), &[0]].concat();
        self.sections.iter().find(|section| {
            let at = section.sh_name.get(LittleEndian) as usize;
            self.names.get(at..).is_some_and(|names| names.starts_with(&wanted))
        })
    }

    /// Reads a part of the file.
    ///
    /// # Errors
    ///
    /// The system's error if the file is shorter than the part says, or cannot be read.
    pub(super) fn bytes(&self, range: Range) -> io::Result<Vec<u8>> {
        self.file.read(range)
    }

    /// Reads the code of a function. Returns `None` if the code is not in the file, or longer than [`MOST_CODE`].
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(super) fn code(&self, function: Defined) -> io::Result<Option<Vec<u8>>> {
        let Some(offset) = self.offset_of(function.address).filter(|_| function.size <= MOST_CODE) else {
            return Ok(None);
        };
        self.file.read(Range { offset, length: function.size }).map(Some)
    }

    /// Reads the first bytes of a section, up to `most`.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(super) fn start(&self, section: Range, most: u64) -> io::Result<Vec<u8>> {
        self.file.read(Range { length: section.length.min(most), ..section })
    }

    /// Searches a section for `text`, and passes up to `behind` bytes after each match to `accepts`. Returns the first
    /// result of `accepts` that is not `None`.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(super) fn find<T>(
        &self,
        section: Range,
        text: &str,
        behind: usize,
        accepts: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let finder = Finder::new(text);
        let mut first = None;
        self.chunks(section, text.len() + behind, |_, bytes| {
            first = finder.find_iter(bytes).find_map(|at| {
                let rest = &bytes[at + text.len()..];
                accepts(&rest[..rest.len().min(behind)])
            });
            if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(first)
    }

    /// Reads a section in pieces, at most [`MOST_SCANNED`] bytes, and calls `sink` with each piece and its offset in
    /// the section until `sink` breaks. Neighbouring pieces share `overlap` bytes.
    fn chunks(
        &self,
        section: Range,
        overlap: usize,
        mut sink: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let Range { offset, length } = section;
        let length = length.min(MOST_SCANNED);
        // A multiple of the size of an entry, so that no entry is split.
        let step = CHUNK / ENTRY * ENTRY;
        let mut start = 0;
        while start < length {
            let size = (step + overlap).min(usize::try_from(length - start).unwrap_or(usize::MAX));
            let Some(at) = offset.checked_add(start) else {
                return Err(invalid("a section beyond the file"));
            };
            if sink(start, &self.file.read(Range { offset: at, length: size as u64 })?).is_break() {
                break;
            }
            start += step as u64;
        }
        Ok(())
    }
}

/// Returns the range in the file of a section; `None` if the section has no bytes in the file (SHT_NOBITS).
fn range_of(section: &Section) -> Option<Range> {
    let range =
        Range { offset: section.sh_offset.get(LittleEndian), length: section.sh_size.get(LittleEndian) };
    (section.sh_type.get(LittleEndian) != elf::SHT_NOBITS).then_some(range)
}

#[cfg(test)]
mod tests;
