//! A runtime's list of its generated code: `/tmp/perf-PID.map` has a line for each function, with address, length and
//! name. Only new lines are read, and names stay in the file.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
};

use crate::{
    elf::text_at,
    foreign::{open_within, root_of},
};

/// Number of bytes in one read.
const CHUNK: usize = 1 << 20;
/// Maximum number of such reads in one [`PerfMap::refresh`], since a hostile process can write all the time.
const MOST_CHUNKS: usize = 2;
/// Maximum number of functions of a process that are kept.
const MOST_FUNCTIONS: usize = 1 << 16;
/// Maximum length of a line, in bytes.
const MOST_LINE: usize = 1 << 14;

/// A generated function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Made {
    end: u64,
    /// Offset of the name in the file.
    name: u64,
}

/// The generated functions of a process.
#[derive(Debug)]
pub(in crate::stacks) struct PerfMap {
    path: PathBuf,
    file: Option<File>,
    /// Offset up to which the file was read.
    read: u64,
    /// Functions by their first address. They do not overlap.
    functions: BTreeMap<u64, Made>,
}

impl PerfMap {
    /// Creates the list of a process, given by its id in its own pid namespace.
    pub(in crate::stacks) fn new(number: u32) -> Self {
        let path = format!("/tmp/perf-{number}.map").into();
        Self { path, file: None, read: 0, functions: BTreeMap::new() }
    }

    /// Approximate size in bytes. The tree's nodes are about two thirds full.
    pub(in crate::stacks) fn bytes(&self) -> usize {
        self.functions.len() * (size_of::<(u64, Made)>() * 3 / 2 + 4)
    }

    /// Returns true if the file is known to exist.
    pub(in crate::stacks) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// Opens the file, so that it can be read after the process has ended.
    pub(in crate::stacks) fn open(&mut self, pid: u32) {
        self.file = self.found(pid).ok();
    }

    fn found(&self, pid: u32) -> io::Result<File> {
        root_of(pid).and_then(|root| open_within(&root, &self.path))
    }

    /// Reads what was written since the last call. Returns true if there was anything.
    pub(in crate::stacks) fn refresh(&mut self, pid: u32) -> bool {
        let opened = self.found(pid).or_else(|error| match &self.file {
            Some(file) => file.try_clone(),
            None => Err(error),
        });
        self.refresh_from(opened).unwrap_or(false)
    }

    fn refresh_from(&mut self, opened: io::Result<File>) -> io::Result<bool> {
        let opened = opened?;
        let metadata = opened.metadata()?;
        let is_same = match &self.file {
            Some(file) => {
                let before = file.metadata()?;
                (before.dev(), before.ino()) == (metadata.dev(), metadata.ino())
                    && metadata.len() >= self.read
            }
            None => false,
        };
        if !is_same {
            self.functions.clear();
            self.read = 0;
        }
        self.file = Some(opened);
        let before = self.read;
        for _ in 0..MOST_CHUNKS {
            if self.read >= metadata.len() || !self.read_chunk()? {
                break;
            }
        }
        Ok(self.read != before)
    }

    /// Reads the next whole lines. Returns false at the end of the file.
    fn read_chunk(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        // There are often only a few new lines, so the buffer is no larger than they are.
        let new = file.metadata()?.len().saturating_sub(self.read);
        let mut bytes = vec![0; usize::try_from(new).unwrap_or(CHUNK).min(CHUNK)];
        let length = file.read_at(&mut bytes, self.read)?;
        let bytes = &bytes[..length];
        let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            // An unfinished line is skipped once it exceeds the maximum.
            self.read += if length > MOST_LINE { length as u64 } else { 0 };
            return Ok(length > MOST_LINE);
        };
        let start = self.read;
        self.read += last as u64 + 1;
        let mut at = 0;
        for line in bytes[..=last].split(|byte| *byte == b'\n') {
            if let Some((address, length, name)) = parse(line) {
                self.insert(
                    address,
                    Made { end: address.saturating_add(length), name: start + (at + name) as u64 },
                );
            }
            at += line.len() + 1;
        }
        Ok(true)
    }

    /// Adds a function, and removes older ones that it overlaps, whose code is gone.
    fn insert(&mut self, address: u64, made: Made) {
        while let Some((older, _)) =
            self.functions.range(..made.end).next_back().filter(|(_, older)| older.end > address)
        {
            let older = *older;
            self.functions.remove(&older);
        }
        if self.functions.len() < MOST_FUNCTIONS {
            self.functions.insert(address, made);
        }
    }

    /// Returns the name of the function at an address.
    pub(in crate::stacks) fn name_at(&self, address: u64) -> Option<Vec<u8>> {
        let (_, made) =
            self.functions.range(..=address).next_back().filter(|(_, made)| address < made.end)?;
        text_at(self.file.as_ref()?, made.name, b'\n')
    }
}

/// Parses a line into address, length in bytes, and offset of the name in the line; `None` if it is malformed.
fn parse(line: &[u8]) -> Option<(u64, u64, usize)> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let (address, length, name) = (fields.next()?, fields.next()?, fields.next()?);
    let number = |field: &[u8]| {
        let text = str::from_utf8(field).ok()?;
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        u64::from_str_radix(digits, 16).ok()
    };
    let (address, length) = (number(address)?, number(length)?);
    let is_whole = length > 0 && !name.is_empty() && line.len() <= MOST_LINE;
    is_whole.then_some((address, length, line.len() - name.len()))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use proptest::prelude::*;

    use super::*;

    fn name(map: &PerfMap, address: u64) -> Option<String> {
        map.name_at(address).map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn new_lines_are_read_and_bad_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        let open = || File::open(&path);
        let mut map = PerfMap::new(1);
        assert!(map.refresh_from(open()).is_err() && map.functions.is_empty());
        fs::write(
            &path,
            "1000 20 JS:~a file:1\nnonsense\n\n0x2000 0x10 b\nzz 10 c\n3000 0 empty\n4000 10 \n5000 10 cu",
        )
        .unwrap();
        assert!(map.refresh_from(open()).unwrap());
        assert_eq!(name(&map, 0x101f).as_deref(), Some("JS:~a file:1"));
        assert_eq!(name(&map, 0x2000).as_deref(), Some("b"));
        assert_eq!(
            (name(&map, 0x1020), name(&map, 0xfff), name(&map, 0x5000), map.functions.len()),
            (None, None, None, 2)
        );
        assert!(!map.refresh_from(open()).unwrap());
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"t\n1010 20 newer\n").unwrap();
        assert!(map.refresh_from(open()).unwrap());
        assert_eq!(name(&map, 0x5000).as_deref(), Some("cut"));
        assert_eq!(name(&map, 0x1010).as_deref(), Some("newer"));
        assert_eq!(name(&map, 0x1000), None, "it was overwritten");
        // A file that became shorter is a new file.
        fs::write(&path, "6000 10 d\n").unwrap();
        assert!(map.refresh_from(open()).unwrap());
        assert_eq!((name(&map, 0x6000).as_deref(), map.functions.len()), (Some("d"), 1));
    }

    #[test]
    fn a_line_without_end_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        fs::write(&path, [vec![b'x'; 3 * CHUNK], b"\n1000 10 a\n".to_vec()].concat()).unwrap();
        let mut map = PerfMap::new(1);
        for _ in 0..4usize.div_ceil(MOST_CHUNKS) {
            assert!(map.refresh_from(File::open(&path)).unwrap());
        }
        assert_eq!(name(&map, 0x1000).as_deref(), Some("a"));
    }

    proptest! {
        #[test]
        fn functions_never_overlap(lines in proptest::collection::vec((0_u64..400, 0_u64..40), 0..60)) {
            let mut map = PerfMap::new(1);
            let mut newest = vec![None; 512];
            for (number, (address, length)) in lines.iter().enumerate() {
                let name = number as u64;
                if *length > 0 {
                    map.insert(*address, Made { end: address + length, name });
                    newest[usize::try_from(*address).unwrap()..][..usize::try_from(*length).unwrap()].fill(Some(name));
                }
            }
            let kept: Vec<(u64, Made)> = map.functions.iter().map(|(start, made)| (*start, *made)).collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0].1.end <= pair[1].0));
            for (start, made) in kept {
                for at in start..made.end {
                    prop_assert_eq!(newest[usize::try_from(at).unwrap()], Some(made.name));
                }
            }
        }

        #[test]
        fn hostile_files_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            let mut map = PerfMap::new(1);
            let _ = map.refresh_from(Ok(file));
            for start in map.functions.keys() {
                let _ = map.name_at(*start);
            }
        }
    }
}
