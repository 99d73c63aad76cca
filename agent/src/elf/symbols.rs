//! The symbol tables of a file.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::ControlFlow,
};

use memchr::memmem::Finder;
use object::{LittleEndian, elf, pod::slice_from_all_bytes};

use super::{Elf, Range, range_of};

/// Maximum number of matches of a name in a string table that are remembered. There can be several, because a name may
/// be the end of longer ones.
const MOST_NAMES: usize = 1024;

type Symbol = elf::Sym64<LittleEndian>;

/// The address and the size in bytes of a defined symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defined {
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// A function in a symbol table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionSymbol {
    pub(crate) address: u64,
    /// Size of the code in bytes; 0 if unknown.
    pub(crate) size: u32,
    /// Offset of the name in the string table.
    pub(crate) name: u32,
}

impl Elf<'_> {
    /// Returns true if the file has the full symbol table (SHT_SYMTAB), which stripping removes.
    pub(crate) fn has_symbols(&self) -> bool {
        self.sections.iter().any(|section| section.sh_type.get(LittleEndian) == elf::SHT_SYMTAB)
    }

    /// Finds the symbols with these names that are defined in the file, in the full symbol table or in the one for
    /// dynamic linking.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(crate) fn symbols(&self, names: &[&'static str]) -> io::Result<BTreeMap<&'static str, Defined>> {
        let mut found = BTreeMap::new();
        // A file has at most one table of each kind.
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            if let Some((symbols, strings)) = self.table_of(kind) {
                self.symbols_of(symbols, strings, names, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Returns the first symbol table of a kind, and its string table.
    fn table_of(&self, kind: u32) -> Option<(Range, Range)> {
        let section = self.sections.iter().find(|section| section.sh_type.get(LittleEndian) == kind)?;
        let strings = self.sections.get(section.sh_link.get(LittleEndian) as usize)?;
        Some((range_of(section)?, range_of(strings)?))
    }

    /// Returns an upper bound of the number of functions that [`Elf::functions`] can find.
    pub(crate) fn most_functions(&self) -> usize {
        let kinds = [elf::SHT_SYMTAB, elf::SHT_DYNSYM];
        let table = kinds.into_iter().find_map(|kind| self.table_of(kind));
        table.map_or(0, |(symbols, _)| {
            usize::try_from(symbols.length).unwrap_or(usize::MAX) / size_of::<Symbol>()
        })
    }

    /// Returns up to `most` functions that are defined in the file, sorted by address, and the part of the file that
    /// has their names. They come from the full symbol table or, without one, from the table for dynamic linking.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read.
    pub(crate) fn functions(&self, most: usize) -> io::Result<(Vec<FunctionSymbol>, Range)> {
        let kinds = [elf::SHT_SYMTAB, elf::SHT_DYNSYM];
        let Some((symbols, strings)) = kinds.into_iter().find_map(|kind| self.table_of(kind)) else {
            return Ok((Vec::new(), Range { offset: 0, length: 0 }));
        };
        let mut functions: Vec<FunctionSymbol> = Vec::new();
        let mut is_cut = false;
        self.chunks(symbols, 0, |_, bytes| {
            let whole = bytes.len() / size_of::<Symbol>() * size_of::<Symbol>();
            for symbol in slice_from_all_bytes::<Symbol>(&bytes[..whole]).unwrap_or_default() {
                let is_function = matches!(symbol.st_info & 0xf, elf::STT_FUNC | elf::STT_GNU_IFUNC);
                if is_function
                    && symbol.st_shndx.get(LittleEndian) != elf::SHN_UNDEF
                    && symbol.st_value.get(LittleEndian) != 0
                {
                    if functions.len() >= most {
                        is_cut = true;
                        return ControlFlow::Break(());
                    }
                    functions.push(FunctionSymbol {
                        address: symbol.st_value.get(LittleEndian),
                        size: u32::try_from(symbol.st_size.get(LittleEndian)).unwrap_or(u32::MAX),
                        name: symbol.st_name.get(LittleEndian),
                    });
                }
            }
            ControlFlow::Continue(())
        })?;
        if is_cut {
            // A function without a size is taken to extend to the next one, which may be missing here.
            functions.retain(|function| function.size > 0);
        }
        functions.sort_unstable();
        functions.shrink_to_fit();
        Ok((functions, strings))
    }

    /// Adds the symbols of one table that have these names to `found`.
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
            ControlFlow::Continue(())
        })
    }

    /// Returns the names by their offsets in a string table, so that symbols can be compared by offset alone.
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
                    // A match within the overlap of two pieces is found twice, and counts once.
                    if by_place.insert(start + at as u64, *name).is_none() {
                        *left -= 1;
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(by_place)
    }
}
