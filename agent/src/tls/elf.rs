//! The parts of an ELF file that are needed here, read piece by piece: executables can have gigabytes of symbols, and the
//! headers may lie.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
};

use memchr::memmem::Finder;
use object::{
    LittleEndian, elf,
    pod::{from_bytes, slice_from_all_bytes},
};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;
/// Length up to which a table or a section is looked through.
const MOST_SCANNED: u64 = 512 << 20;
/// Bytes of one file up to which it is read, however often its headers lead to the same ones.
const MOST_READ: u64 = 2 * MOST_SCANNED;
/// Number of sections and segments up to which a file is looked at.
const MOST_HEADERS: u16 = 4096;
/// Length of a function up to which its code is read.
const MOST_CODE: u64 = 1 << 16;
/// Places of a name in a table of names, up to which they are followed: each may be the end of a longer name.
const MOST_NAMES: usize = 1024;

type Header = elf::FileHeader64<LittleEndian>;
type Segment = elf::ProgramHeader64<LittleEndian>;
type Section = elf::SectionHeader64<LittleEndian>;
type Symbol = elf::Sym64<LittleEndian>;

/// The instruction set of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

/// A symbol's address and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Defined {
    pub(super) address: u64,
    pub(super) size: u64,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A file of which only so much is read.
#[derive(Debug)]
struct Source<'a> {
    file: &'a File,
    /// Bytes that may still be read.
    left: Cell<u64>,
}

impl Source<'_> {
    fn read(&self, range: Range) -> io::Result<Vec<u8>> {
        let Some(left) = self.left.get().checked_sub(range.length) else {
            return Err(invalid("more to read than any file needs"));
        };
        self.left.set(left);
        let mut bytes = vec![0; usize::try_from(range.length).map_err(io::Error::other)?];
        // The file's end is found by reading.
        self.file.read_exact_at(&mut bytes, range.offset)?;
        Ok(bytes)
    }

    fn table<T: object::pod::Pod + Copy>(&self, offset: u64, count: u16) -> io::Result<Vec<T>> {
        if offset == 0 || count > MOST_HEADERS {
            return Ok(Vec::new());
        }
        let bytes = self.read(Range { offset, length: u64::from(count) * size_of::<T>() as u64 })?;
        slice_from_all_bytes::<T>(&bytes).map(<[T]>::to_vec).map_err(|()| invalid("a broken table"))
    }
}

/// An ELF file of 64 bits, little-endian.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    file: Source<'a>,
    pub(super) machine: Machine,
    /// Address, offset and length of what is loaded from the file.
    loaded: Vec<(u64, Range)>,
    sections: Vec<Section>,
    names: Option<usize>,
}

impl<'a> Elf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it is no such file; the system's error if it cannot be read.
    pub(super) fn read(file: &'a File) -> io::Result<Self> {
        let file = Source { file, left: Cell::new(MOST_READ) };
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
        let sections = file.table(header.e_shoff.get(LittleEndian), header.e_shnum.get(LittleEndian))?;
        let loaded = segments
            .iter()
            .filter(|segment| segment.p_type.get(LittleEndian) == elf::PT_LOAD)
            .map(|segment| {
                let range = Range {
                    offset: segment.p_offset.get(LittleEndian),
                    length: segment.p_filesz.get(LittleEndian),
                };
                (segment.p_vaddr.get(LittleEndian), range)
            })
            .collect();
        let names = usize::from(header.e_shstrndx.get(LittleEndian));
        let names = (names < sections.len()).then_some(names);
        Ok(Self { file, machine, loaded, sections, names })
    }

    /// The offset in the file of what is loaded to an address.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.loaded.iter().find_map(|(start, range)| {
            let within = address.checked_sub(*start).filter(|within| *within < range.length)?;
            range.offset.checked_add(within)
        })
    }

    /// The address to which a byte of the file is loaded.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        self.loaded.iter().find_map(|(start, range)| {
            let within = offset.checked_sub(range.offset).filter(|within| *within < range.length)?;
            start.checked_add(within)
        })
    }

    /// A section by its name.
    pub(super) fn section(&self, name: &str) -> Option<Range> {
        let names = range_of(self.sections.get(self.names?)?)?;
        let wanted = [name.as_bytes(), &[0]].concat();
        self.sections.iter().find_map(|section| {
            let at = u64::from(section.sh_name.get(LittleEndian));
            let offset = names.offset.checked_add(at)?;
            let found = self.file.read(Range { offset, length: wanted.len() as u64 }).ok()?;
            (found == wanted).then(|| range_of(section))?
        })
    }

    /// Whether there is a table of symbols beside the one that the linker needs at run time.
    pub(super) fn has_symbols(&self) -> bool {
        self.sections.iter().any(|section| section.sh_type.get(LittleEndian) == elf::SHT_SYMTAB)
    }

    /// The symbols of these names that are defined in the file.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(super) fn symbols(&self, names: &[&'static str]) -> io::Result<BTreeMap<&'static str, Defined>> {
        let mut found = BTreeMap::new();
        // A file has at most one of each kind.
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            if let Some(section) =
                self.sections.iter().find(|section| section.sh_type.get(LittleEndian) == kind)
                && let Some(strings) = self.sections.get(section.sh_link.get(LittleEndian) as usize)
                && let (Some(symbols), Some(strings)) = (range_of(section), range_of(strings))
            {
                self.symbols_of(symbols, strings, names, &mut found)?;
            }
        }
        Ok(found)
    }

    fn symbols_of(
        &self,
        symbols: Range,
        strings: Range,
        names: &[&'static str],
        found: &mut BTreeMap<&'static str, Defined>,
    ) -> io::Result<()> {
        let by_place = self.places_of(strings, names)?;
        if by_place.is_empty() {
            return Ok(());
        }
        self.chunks(symbols, 0, |_, bytes| {
            let whole = bytes.len() / size_of::<Symbol>() * size_of::<Symbol>();
            for symbol in slice_from_all_bytes::<Symbol>(&bytes[..whole]).unwrap_or_default() {
                if symbol.st_shndx.get(LittleEndian) != elf::SHN_UNDEF
                    && symbol.st_value.get(LittleEndian) != 0
                    && let Some(name) = by_place.get(&u64::from(symbol.st_name.get(LittleEndian)))
                {
                    let defined = Defined {
                        address: symbol.st_value.get(LittleEndian),
                        size: symbol.st_size.get(LittleEndian),
                    };
                    found.entry(name).or_insert(defined);
                }
            }
        })
    }

    /// The code of a function; none if it is not in the file, or longer than any function that is looked for.
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

    /// The first bytes of a section, up to `most`.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(super) fn start(&self, section: Range, most: u64) -> io::Result<Vec<u8>> {
        self.file.read(Range { length: section.length.min(most), ..section })
    }

    /// What comes first in a section behind `text` and passes `accepts`, which is given `behind` bytes of it.
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
            if first.is_none() {
                first = finder.find_iter(bytes).find_map(|at| {
                    let rest = &bytes[at + text.len()..];
                    accepts(&rest[..rest.len().min(behind)])
                });
            }
        })?;
        Ok(first)
    }

    /// The names by their places in a table of names, which is read once.
    fn places_of(&self, strings: Range, names: &[&'static str]) -> io::Result<HashMap<u64, &'static str>> {
        let wanted: Vec<Vec<u8>> = names.iter().map(|name| [name.as_bytes(), &[0]].concat()).collect();
        let longest = wanted.iter().map(Vec::len).max().unwrap_or(1);
        let mut finders: Vec<(&'static str, Finder<'_>, usize)> = names
            .iter()
            .zip(&wanted)
            .map(|(name, wanted)| (*name, Finder::new(wanted), MOST_NAMES))
            .collect();
        let mut by_place = HashMap::new();
        self.chunks(strings, longest - 1, |start, bytes| {
            for (name, finder, left) in &mut finders {
                for at in finder.find_iter(bytes) {
                    if *left == 0 {
                        break;
                    }
                    // What lies where two pieces overlap is found twice.
                    if by_place.insert(start + at as u64, *name).is_none() {
                        *left -= 1;
                    }
                }
            }
        })?;
        Ok(by_place)
    }

    /// Calls `sink` with a section, piece by piece, and where each begins in it. Pieces have `overlap` bytes in common.
    fn chunks(&self, section: Range, overlap: usize, mut sink: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let Range { offset, length } = section;
        let length = length.min(MOST_SCANNED);
        // A multiple of a symbol's size.
        let step = CHUNK / size_of::<Symbol>() * size_of::<Symbol>();
        let mut start = 0;
        while start < length {
            let size = (step + overlap).min(usize::try_from(length - start).unwrap_or(usize::MAX));
            let Some(at) = offset.checked_add(start) else {
                return Err(invalid("a section beyond the file"));
            };
            sink(start, &self.file.read(Range { offset: at, length: size as u64 })?);
            start += step as u64;
        }
        Ok(())
    }
}

fn range_of(section: &Section) -> Option<Range> {
    let range =
        Range { offset: section.sh_offset.get(LittleEndian), length: section.sh_size.get(LittleEndian) };
    (section.sh_type.get(LittleEndian) != elf::SHT_NOBITS).then_some(range)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
