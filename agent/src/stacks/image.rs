//! Files of code: their unwinding tables, and the names of their functions. A file is read once, piece by piece. Equal
//! tables, for example in containers of one image, are stored once.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    fs::File,
    hash::BuildHasher as _,
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Weak},
};

use super::{effort::Slots, header, names::Symbols, sound, unwind::Sections};
use crate::elf::{CodeSegments, Elf, FunctionSymbol, GoTable, Range};

/// Maximum number of bytes that are read of one file. It is nearly five times `MOST_OF_FILE`, since symbols that are
/// not functions, and relocations of Go, are read but not kept.
const MOST_READ: u64 = 96 << 20;
/// Maximum size of the tables of one file in bytes, half of the limit for all files. rustc's large library needs 10
/// MiB, Node 5, and libjvm 3. Functions beyond the limit are left out, and are shown as the file's name in brackets. If
/// the unwinding table alone is larger, stacks are followed by frame pointers.
const MOST_OF_FILE: usize = MOST_BYTES / 2;
/// Maximum number of entries of [`Images::useless`].
const MOST_USELESS: usize = 1 << 12;
/// Maximum number of files that are known, each of which is kept open.
pub(super) const MOST_FILES: usize = 256;
/// Maximum size of all tables in bytes.
pub(super) const MOST_BYTES: usize = 40 << 20;

/// Identity of a file and its contents: device, inode, length and change time (seconds and nanoseconds).
type Key = (u64, u64, u64, i64, i64);

/// The part of a file's contents that is kept in memory.
#[derive(Debug)]
struct Tables {
    sections: Option<Sections>,
    functions: Vec<FunctionSymbol>,
}

impl Tables {
    fn bytes(&self) -> usize {
        let sections = self.sections.as_ref().map_or(0, |kept| kept.eh_frame.len() + kept.header.len());
        sections + self.functions.len() * size_of::<FunctionSymbol>()
    }
}

/// A file of code: its tables, and the open file from which names are read.
#[derive(Debug)]
pub(super) struct Image {
    /// Name of the file without its folder.
    pub(super) name: String,
    file: File,
    tables: Arc<Tables>,
    /// Location of the string table with the functions' names.
    names: Range,
    go: Option<GoTable>,
    segments: CodeSegments,
}

impl Image {
    /// Size of the file's tables in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.tables.bytes()
    }

    /// Returns the tables for unwinding the file's functions.
    pub(super) fn sections(&self) -> Option<&Sections> {
        self.tables.sections.as_ref()
    }

    /// Returns true if the file has Go's function table.
    pub(super) fn is_go(&self) -> bool {
        self.go.is_some()
    }

    /// Returns the size in bytes of the unwinding entry of the function at an address of the file, or `None` if the
    /// entry must not be followed (see [`sound`]).
    pub(super) fn sound_at(&self, address: u64) -> Option<usize> {
        self.sections().map_or(Some(0), |sections| {
            let tables = sound::Tables {
                eh_frame: &sections.eh_frame,
                eh_frame_address: sections.eh_frame_address,
                header: &sections.header,
                header_address: sections.header_address,
                text: sections.text,
                got: sections.got,
            };
            tables.sound_at(address)
        })
    }

    /// Returns the name of the function at an address of the file, as it is stored there.
    pub(super) fn function_at(&self, address: u64) -> Option<Vec<u8>> {
        let symbols = Symbols { functions: &self.tables.functions, file: &self.file, names: self.names };
        symbols.name_at(address).or_else(|| self.go.as_ref()?.name_at(&self.file, address))
    }
}

/// The files of all known processes.
#[derive(Debug)]
pub(super) struct Images {
    files: HashMap<Key, Arc<Image>>,
    tables: HashMap<(u64, u64), Weak<Tables>>,
    /// Files that cannot be read as code, as a whole or at an offset. They are tried once, whoever maps them.
    useless: HashSet<(Key, Option<u64>)>,
    /// Set if there was no room for a file, until half of each limit is free again ([`Images::tidy`]).
    refused: bool,
    most_files: usize,
    /// Hashers with secret keys, so that no file can be made to look like another one.
    hashers: (RandomState, RandomState),
}

impl Default for Images {
    fn default() -> Self {
        Self {
            files: HashMap::new(),
            tables: HashMap::new(),
            useless: HashSet::new(),
            refused: false,
            most_files: Slots::new(MOST_FILES).left(),
            hashers: Default::default(),
        }
    }
}

impl Images {
    /// Loads a file that a process has mapped from `offset` on; `path` is its path there. Also returns the ELF virtual
    /// address at which the mapping begins.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be read; [`io::ErrorKind::InvalidData`] if it has no code at `offset`;
    /// [`io::ErrorKind::StorageFull`] if there is no room for it until others are dropped.
    pub(super) fn load(&mut self, file: File, path: &Path, offset: u64) -> io::Result<(Arc<Image>, u64)> {
        let metadata = file.metadata()?;
        let key = (metadata.dev(), metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
        let nowhere = || io::Error::new(io::ErrorKind::InvalidData, "no code lies there");
        if let Some(known) = self.files.get(&key) {
            let origin = known.segments.address_at(offset).ok_or_else(nowhere)?;
            return Ok((Arc::clone(known), origin));
        }
        if [None, Some(offset)].iter().any(|offset| self.useless.contains(&(key, *offset))) {
            return Err(nowhere());
        }
        let (origin, tables, names, go, segments) = {
            let elf = Elf::read_within(&file, MOST_READ).inspect_err(|error| {
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                    self.remember_useless((key, None));
                }
            })?;
            let segments = elf.code_segments();
            let Some(origin) = segments.address_at(offset) else {
                self.remember_useless((key, Some(offset)));
                return Err(nowhere());
            };
            let plan = Plan::of(&elf);
            if self.files.len() >= self.most_files || self.bytes() + plan.bytes() > MOST_BYTES {
                self.refused = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let sections = if plan.sections > 0 { sections_of(&elf) } else { None };
            let (functions, names) =
                elf.functions(plan.functions).unwrap_or((Vec::new(), Range { offset: 0, length: 0 }));
            let go = GoTable::of(&elf);
            (origin, Tables { sections, functions }, names, go, segments)
        };
        let tables = self.shared(tables);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.strip_suffix(" (deleted)").map_or_else(|| name.clone(), str::to_owned);
        let image = Arc::new(Image { name, file, tables, names, go, segments });
        self.files.insert(key, Arc::clone(&image));
        Ok((image, origin))
    }

    fn remember_useless(&mut self, file: (Key, Option<u64>)) {
        if self.useless.len() >= MOST_USELESS {
            self.useless.clear();
        }
        self.useless.insert(file);
    }

    /// Returns the equal tables of another file if there are any, and otherwise `tables`.
    fn shared(&mut self, tables: Tables) -> Arc<Tables> {
        let sections = tables.sections.as_ref();
        let contents = (
            sections.map(|sections| {
                let addresses =
                    [sections.eh_frame_address, sections.header_address, sections.text, sections.got];
                (&sections.eh_frame, &sections.header, addresses)
            }),
            &tables.functions,
        );
        let key = (self.hashers.0.hash_one(contents), self.hashers.1.hash_one(contents));
        if let Some(known) = self.tables.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let tables = Arc::new(tables);
        self.tables.insert(key, Arc::downgrade(&tables));
        tables
    }

    /// Drops the files that no process uses any more. Returns true if there is room for others.
    pub(super) fn tidy(&mut self) -> bool {
        self.files.retain(|_, image| Arc::strong_count(image) > 1);
        self.tables.retain(|_, tables| tables.strong_count() > 0);
        // After a refusal, there is room again only once half of each limit is free, which is enough for any file.
        self.refused &= self.files.len() > self.most_files / 2 || self.bytes() > MOST_BYTES / 2;
        !self.refused
    }

    /// Approximate size in bytes, mostly of tables.
    pub(super) fn bytes(&self) -> usize {
        /// Size of a file's record, and of the open file in the kernel.
        const FILE: usize = size_of::<Image>() + 1024;
        let useless = super::cache::table_bytes::<(Key, Option<u64>)>(self.useless.capacity());
        self.files.len() * FILE + useless + self.table_bytes()
    }

    fn table_bytes(&self) -> usize {
        self.tables.values().filter_map(Weak::upgrade).map(|tables| tables.bytes()).sum()
    }
}

/// Amount of a file's tables that is kept in memory, at most `MOST_OF_FILE` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// Size of the unwinding tables in bytes; 0 if there are none, or they are too large.
    sections: usize,
    /// Maximum number of functions.
    functions: usize,
}

impl Plan {
    fn of(elf: &Elf<'_>) -> Self {
        let length =
            |name: &str| elf.section(name).map(|range| usize::try_from(range.length).unwrap_or(usize::MAX));
        let frames = length(".eh_frame").unwrap_or(0);
        // An index that [`header::of`] makes has 16 bytes for each entry, and an entry of `.eh_frame` has at least 16
        // bytes.
        let sections = frames.saturating_add(length(".eh_frame_hdr").unwrap_or(frames));
        let sections = if sections <= MOST_OF_FILE { sections } else { 0 };
        let most = (MOST_OF_FILE - sections) / size_of::<FunctionSymbol>();
        Self { sections, functions: elf.most_functions().min(most) }
    }

    fn bytes(self) -> usize {
        self.sections + self.functions * size_of::<FunctionSymbol>()
    }
}

/// Reads the tables for unwinding functions; `None` if there are none.
fn sections_of(elf: &Elf<'_>) -> Option<Sections> {
    let frames = elf.placed(".eh_frame")?;
    let address = |name: &str| elf.placed(name).map_or(0, |placed| placed.address);
    let (text, got) = (address(".text"), address(".got"));
    let eh_frame = elf.bytes(frames.range).ok()?;
    let (header, header_address) = match elf.placed(".eh_frame_hdr") {
        Some(header) => (elf.bytes(header.range).ok()?, header.address),
        // The index is missing, for example in statically linked programs.
        None => (header::of(&eh_frame, frames.address, text, got), frames.address),
    };
    Some(Sections {
        eh_frame: eh_frame.into(),
        eh_frame_address: frames.address,
        header: header.into(),
        header_address,
        text,
        got,
    })
}

#[cfg(test)]
mod tests;
