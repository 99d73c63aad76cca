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

/// Shortest time between two looks at a process's mappings where something is not in them.
const PAUSE: Duration = Duration::from_millis(200);
/// Time after which the mappings of a busy process are read again in any case: other code may lie where some was.
const STALE: Duration = Duration::from_secs(10);
/// Time after which files that were opened in advance are closed: a process that lives so long is there to open them by.
const KEPT_OPEN: Duration = Duration::from_secs(5);
/// Addresses of a process of which it is remembered whether they may be followed.
const MOST_ADDRESSES: usize = 1 << 13;
/// Files of a process that are opened when it is first seen.
const MOST_OPENED: usize = 64;
/// How often files that found no room are tried again.
const MOST_TRIES: u32 = 3;
/// Files of one process that are looked at, and bytes of their tables: half and three quarters of what all have, so that one
/// process cannot take everything.
const MOST_IMAGES: usize = super::image::MOST_FILES / 2;
const MOST_TABLES: usize = super::image::MOST_BYTES / 4 * 3;

/// A mapping of code, and its file once something of it was on a stack.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) mapping: Mapping,
    looked: bool,
    /// The file, until it is looked at: it is opened at once, since the process may not live long.
    file: Option<(File, Slot)>,
    pub(super) image: Option<Arc<Image>>,
    /// The file's own address of the beginning.
    origin: u64,
}

impl Code {
    fn of(mapping: Mapping) -> Self {
        Self { mapping, looked: false, file: None, image: None, origin: 0 }
    }

    /// Opens the file, if it comes from one.
    fn open(&self, pid: u32) -> Option<io::Result<File>> {
        let Mapping { start, end, backing } = &self.mapping;
        let Backing::File { path, inode, .. } = backing else { return None };
        Some(open_mapped(pid, path, (*start, *end), *inode))
    }

    /// An address of the process as one of the file.
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
    /// Bytes of the tables that the functions at these addresses are followed by; nothing if they may not be.
    sound: HashMap<u64, Option<usize>>,
    /// The code is no longer what it was.
    changed: bool,
    /// Something was looked for where nothing is mapped.
    missed: bool,
    /// Files found no room.
    refused: bool,
    tries: u32,
}

impl CodeMap {
    /// Reads what a process has mapped.
    ///
    /// # Errors
    ///
    /// The system's error, as where there is no permission; [`io::ErrorKind::FileTooLarge`] if it is too much.
    pub(super) fn of(pid: u32, shared: &Shared) -> io::Result<Self> {
        let mut pace = Pace::new(PAUSE);
        let mappings = pace.keep(|| maps::read(pid))?;
        if mappings.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut code: Vec<Code> = mappings.into_iter().map(Code::of).collect();
        // A quarter of what is left, so that other processes find room, too. What is not opened now is when it is needed.
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

    /// The mapping at an address.
    pub(super) fn at(&self, address: u64) -> Option<&Code> {
        let behind = self.code.partition_point(|code| code.mapping.start <= address);
        self.code[..behind].last().filter(|code| address < code.mapping.end)
    }

    /// Bytes of the tables by which the function at an address is unwound, if it may be; its file is read first. Also
    /// whether that is certain, as of [`CodeMap::look_at`].
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

    /// Reads the file at an address, once; and the mappings again, if there is none. What is found then is not certain where
    /// that has to wait: nothing of it may be remembered.
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

    /// Reads the file of a mapping.
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

    /// The files that were looked at.
    fn held(&self) -> Vec<Arc<Image>> {
        let mut held: Vec<Arc<Image>> = self.code.iter().filter_map(|code| code.image.clone()).collect();
        held.sort_unstable_by_key(Arc::as_ptr);
        held.dedup_by(|one, other| Arc::ptr_eq(one, other));
        held
    }

    /// Reads the mappings again, of which those that are new have no file yet.
    fn read_again(&mut self, unwinder: &mut Unwinder) {
        let pid = self.pid;
        let Ok(mappings) = self.pace.keep(|| maps::read(pid)) else { return };
        // A process that has ended has none, and stacks that were taken before.
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
        // What is gone must not be followed: the rest is added again.
        *unwinder = Unwinder::default();
        for code in &self.code {
            if let Some(sections) = code.image.as_ref().and_then(|image| image.sections()) {
                unwinder.add(code.mapping.start, code.mapping.end, code.origin, sections);
            }
        }
        self.sound.clear();
        self.changed = true;
    }

    /// Whether the code changed since the last call: what was known by addresses is void then.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Reads mappings again that may be old, as of a process that was used then, and tries files that found no room again.
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

    /// Forgets what can be found out again.
    pub(super) fn shed(&mut self) {
        self.sound = HashMap::new();
    }

    /// About how many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        /// Of a file that is open, in the kernel.
        const OPEN: usize = 512;
        let files = self.code.iter().filter(|code| code.file.is_some()).count() * OPEN;
        // Paths are shared by neighbours, and counted for each.
        let paths: usize = self.code.iter().map(|code| code.mapping.path_bytes()).sum();
        self.code.capacity() * size_of::<Code>()
            + paths
            + files
            + cache::table_bytes::<(u64, Option<usize>)>(self.sound.capacity())
    }
}

/// Whether something that failed may come to pass later: there is no room, or no file can be opened.
fn is_for_now(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::StorageFull
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN)
        )
}
