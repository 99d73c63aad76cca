//! The code that a process has mapped, and the files that it comes from.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    cache,
    effort::{Pace, Slot},
    image::Image,
    maps::{self, Backing, Mapping},
    process::Shared,
    unwind::Unwinder,
};
use crate::foreign::open_mapped;

/// Minimum time between two reads of a process's mappings if an address is not in them.
const PAUSE: Duration = Duration::from_millis(200);
/// Time after which the mappings of a busy process are read again in any case, since code may have been replaced.
const STALE: Duration = Duration::from_secs(10);
/// Time after which files that were opened in advance are closed. A process that has lived this long will probably
/// still live when its files are needed.
const KEPT_OPEN: Duration = Duration::from_secs(5);
/// Maximum number of entries of [`CodeMap::sound`].
const MOST_ADDRESSES: usize = 1 << 13;
/// Maximum number of files that are opened when a process is first seen.
const MOST_OPENED: usize = 64;
/// Maximum number of further attempts to load files for which there was no room.
const MOST_TRIES: u32 = 3;
/// Maximum number of files of one process that are examined, and maximum bytes of their tables: half and three quarters
/// of the limits for all processes.
const MOST_IMAGES: usize = super::image::MOST_FILES / 2;
const MOST_TABLES: usize = super::image::MOST_BYTES / 4 * 3;

/// A mapping of code, and its file once one of its addresses was on a stack.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) mapping: Mapping,
    looked: bool,
    /// The open file, until it is examined. It is opened early, since the process may not live long.
    file: Option<(File, Slot)>,
    pub(super) image: Option<Arc<Image>>,
    /// ELF virtual address, as in the file's program headers, at which the mapping begins.
    origin: u64,
}

impl Code {
    fn of(mapping: Mapping) -> Self {
        Self { mapping, looked: false, file: None, image: None, origin: 0 }
    }

    /// Opens the file of the mapping, if it has one.
    fn open(&self, pid: u32) -> Option<io::Result<File>> {
        let Mapping { start, end, backing } = &self.mapping;
        let Backing::File { path, inode, .. } = backing else { return None };
        Some(open_mapped(pid, path, (*start, *end), *inode))
    }

    /// Converts an address of the process into an address of the file.
    pub(super) fn within(&self, address: u64) -> u64 {
        self.origin.wrapping_add(address.wrapping_sub(self.mapping.start))
    }
}

/// The code of one process.
#[derive(Debug)]
pub(super) struct CodeMap {
    pid: u32,
    code: Vec<Code>,
    begun: Instant,
    pace: Pace,
    /// For each address, the size in bytes of its function's unwinding entry (0 without an entry), or `None` if
    /// unwinding must stop there (see [`super::sound`]).
    sound: HashMap<u64, Option<usize>>,
    /// Set if the code has changed since the last [`Self::take_changed`].
    changed: bool,
    /// Set if an address was looked up that is not mapped, so that [`Self::tidy`] reads the mappings again.
    missed: bool,
    /// Set if there was no room for a file, so that [`Self::tidy`] tries again.
    refused: bool,
    tries: u32,
}

impl CodeMap {
    /// Reads the mappings of a process.
    ///
    /// # Errors
    ///
    /// The system's error, for example without permission; [`io::ErrorKind::FileTooLarge`] if there are too many.
    pub(super) fn of(pid: u32, shared: &Shared) -> io::Result<Self> {
        let mut pace = Pace::new(PAUSE);
        let mappings = pace.keep(|| maps::read(pid))?;
        if mappings.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut code: Vec<Code> = mappings.into_iter().map(Code::of).collect();
        // Only a quarter of the remaining room is used, so that other processes find room, too. Other files are opened
        // when they are needed.
        for code in code.iter_mut().take(MOST_OPENED.min(shared.unread.left() / 4)) {
            code.file = code.open(pid).and_then(Result::ok).zip(shared.unread.take());
        }
        Ok(Self {
            pid,
            code,
            begun: Instant::now(),
            pace,
            sound: HashMap::new(),
            changed: false,
            missed: false,
            refused: false,
            tries: 0,
        })
    }

    /// Returns the mapping at an address.
    pub(super) fn at(&self, address: u64) -> Option<&Code> {
        let behind = self.code.partition_point(|code| code.mapping.start <= address);
        self.code[..behind].last().filter(|code| address < code.mapping.end)
    }

    /// Returns the size in bytes of the unwinding entry of the function at an address, or `None` if unwinding must stop
    /// there. The function's file is loaded first. The flag is false if loading had to wait (see [`CodeMap::look_at`]).
    pub(super) fn may_follow(
        &mut self,
        unwinder: &mut Unwinder,
        shared: &mut Shared,
        address: u64,
    ) -> (Option<usize>, bool) {
        if let Some(sound) = self.sound.get(&address) {
            return (*sound, true);
        }
        let is_certain = self.look_at(unwinder, shared, address);
        let code = self.at(address);
        let image = code.and_then(|code| Some((code.image.as_ref()?, code.within(address))));
        let sound = image.map_or(Some(0), |(image, within)| image.sound_at(within));
        if is_certain {
            if self.sound.len() >= MOST_ADDRESSES {
                self.sound.clear();
            }
            self.sound.insert(address, sound);
        }
        (sound, is_certain)
    }

    /// Loads the file at an address if necessary, and reads the mappings again if none contains the address. Returns
    /// false if loading or reading has to wait, for the time budget or the minimum pause. The caller must then not
    /// cache what it finds at the address.
    pub(super) fn look_at(&mut self, unwinder: &mut Unwinder, shared: &mut Shared, address: u64) -> bool {
        if self.at(address).is_none() {
            self.missed = true;
            if !self.pace.is_due() || !shared.effort.is_left() {
                return false;
            }
            shared.effort.spend(|| self.read_again(unwinder));
        }
        let behind = self.code.partition_point(|code| code.mapping.start <= address);
        let Some(number) = behind.checked_sub(1) else { return true };
        let code = &self.code[number];
        if address >= code.mapping.end || code.looked {
            return true;
        }
        if !shared.effort.is_left() {
            return false;
        }
        let Shared { effort, images, .. } = shared;
        effort.spend(|| self.load(number, unwinder, images));
        true
    }

    /// Loads the file of a mapping.
    fn load(&mut self, number: usize, unwinder: &mut Unwinder, images: &mut super::image::Images) {
        let held = self.held();
        let code = &mut self.code[number];
        code.looked = true;
        let opened = match code.file.take() {
            Some((file, _)) => Ok(file),
            None => match code.open(self.pid) {
                Some(opened) => opened,
                None => return,
            },
        };
        let Mapping { start, end, backing: Backing::File { path, offset, .. } } = &code.mapping else {
            return;
        };
        match opened.and_then(|file| images.load(file, path, *offset)) {
            Ok((image, origin)) => {
                let is_new = !held.iter().any(|held| Arc::ptr_eq(held, &image));
                let tables: usize = held.iter().map(|image| image.bytes()).sum();
                if is_new && (held.len() >= MOST_IMAGES || tables + image.bytes() > MOST_TABLES) {
                    return;
                }
                if let Some(sections) = image.sections() {
                    unwinder.add(*start, *end, origin, sections);
                }
                (code.image, code.origin) = (Some(image), origin);
            }
            Err(error) => self.refused |= is_for_now(&error),
        }
    }

    /// Returns the files that were loaded, each once.
    fn held(&self) -> Vec<Arc<Image>> {
        let mut held: Vec<Arc<Image>> = self.code.iter().filter_map(|code| code.image.clone()).collect();
        held.sort_unstable_by_key(Arc::as_ptr);
        held.dedup_by(|one, other| Arc::ptr_eq(one, other));
        held
    }

    /// Reads the mappings again. New mappings have no open file yet.
    fn read_again(&mut self, unwinder: &mut Unwinder) {
        let pid = self.pid;
        let Ok(mappings) = self.pace.keep(|| maps::read(pid)) else { return };
        // A process that has ended has no mappings, but stacks that were taken before may still arrive.
        if mappings.is_empty() || mappings.iter().eq(self.code.iter().map(|code| &code.mapping)) {
            return;
        }
        let mut before: HashMap<u64, Code> =
            self.code.drain(..).map(|code| (code.mapping.start, code)).collect();
        let kept = mappings.into_iter().map(|mapping| {
            let known = before.remove(&mapping.start).filter(|code| code.mapping == mapping);
            known.unwrap_or_else(|| Code::of(mapping))
        });
        self.code = kept.collect();
        // Removed mappings must not be followed, so the unwinder is rebuilt from the remaining ones.
        *unwinder = Unwinder::default();
        for code in &self.code {
            if let Some(sections) = code.image.as_ref().and_then(|image| image.sections()) {
                unwinder.add(code.mapping.start, code.mapping.end, code.origin, sections);
            }
        }
        self.sound.clear();
        self.changed = true;
    }

    /// Returns true if the code has changed since the last call. Everything cached by address is then invalid.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Reads the mappings again if they may be outdated and the process was `used` since the last read. Retries files
    /// for which there was no room.
    pub(super) fn tidy(&mut self, unwinder: &mut Unwinder, shared: &mut Shared, used: Instant) {
        if self.begun.elapsed() > KEPT_OPEN {
            for code in &mut self.code {
                code.file = None;
            }
        }
        let is_stale =
            self.pace.read().is_none_or(|read| used > read && (self.missed || read.elapsed() >= STALE));
        if is_stale && self.pace.is_due() && shared.effort.is_left() {
            self.missed = false;
            shared.effort.spend(|| self.read_again(unwinder));
        }
        if std::mem::take(&mut self.refused) && self.tries < MOST_TRIES {
            self.tries += 1;
            for code in self.code.iter_mut().filter(|code| code.image.is_none()) {
                code.looked = false;
            }
            self.sound.clear();
            self.changed = true;
        }
    }

    /// Drops everything that can be computed again.
    pub(super) fn shed(&mut self) {
        self.sound = HashMap::new();
    }

    /// Approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        /// Size of an open file in the kernel.
        const OPEN: usize = 512;
        let files = self.code.iter().filter(|code| code.file.is_some()).count() * OPEN;
        // The path that neighbouring mappings share is counted for each of them, so the sum is an upper bound.
        let paths: usize = self.code.iter().map(|code| code.mapping.path_bytes()).sum();
        self.code.capacity() * size_of::<Code>()
            + paths
            + files
            + cache::table_bytes::<(u64, Option<usize>)>(self.sound.capacity())
    }
}

/// Returns true if an error may be temporary: there is no room, or no further file can be opened.
fn is_for_now(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::StorageFull
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN)
        )
}
