//! A process whose stacks are resolved: its identity, its files of code, and caches about its stacks.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use traffictrace_profile::{Frame, FrameKind};

use super::{
    Extent, Program, Registers, Stack,
    cache::Cache,
    code::CodeMap,
    effort::{Effort, Pace, Slot, Slots},
    frames::Frames,
    identity::{Fate, Identity, inner_number, reason, reason_of},
    image::Images,
    maps::Backing,
    modes::{Modes, Outcome},
    names::{PerfMap, clean, demangled},
    unwind::{self, Copied, End, Unwinder},
};

/// Interval between checks that a process is still the same.
const IDENTITY_PAUSE: Duration = Duration::from_millis(250);
/// Minimum time between two reads of a process's list of generated code, while a function has no name yet.
const PERF_MAP_PAUSE: Duration = Duration::from_millis(20);
/// Maximum bytes of unwinding entries for one stack. `MOST_FRAMES` (512) functions usually have 25 KiB together.
const MOST_FOLLOWED: usize = 64 << 10;
/// Maximum number of files, of all processes, that are opened before a stack leads into them.
const MOST_UNREAD: usize = 512;
/// Maximum number of open lists of generated code, of all processes.
const MOST_PERF_MAPS: usize = 256;
/// Maximum number of entries of [`Process::roots`].
const MOST_ROOTS: usize = 64;
/// Names of functions with which threads begin, used until a whole copy has shown one of the process's own
/// ([`Process::roots`]).
const ROOTS: [&str; 8] =
    ["_start", "clone", "__clone", "clone3", "__clone3", "start_thread", "thread_start", "runtime.goexit"];
/// The C library's functions that call `main`. A chain of frame pointers that ends at one of them is complete: only
/// `_start` lies further out.
const MAIN: [&str; 2] = ["__libc_start_main", "__libc_start_call_main"];

/// State that processes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) images: Images,
    pub(super) frames: Frames,
    pub(super) effort: Effort,
    /// Room for files that are open and were not read yet.
    pub(super) unread: Slots,
    perf_maps: Slots,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            images: Images::default(),
            frames: Frames::default(),
            effort: Effort::default(),
            unread: Slots::new(MOST_UNREAD),
            perf_maps: Slots::new(MOST_PERF_MAPS),
        }
    }
}

/// A process whose stacks are resolved.
#[derive(Debug)]
pub(super) struct Process {
    /// The process id, or that of one of its threads if the first thread has ended.
    pid: u32,
    /// The program that the process executed when it was examined.
    pub(super) program: Program,
    identity: Identity,
    checked: Instant,
    /// Time of the last sample.
    pub(super) used: Instant,
    code: CodeMap,
    unwinder: Unwinder,
    cache: Cache,
    /// Outermost addresses of whole copied stacks. A chain of frame pointers that ends at one of them is complete.
    roots: HashSet<u64>,
    pub(super) modes: Modes,
    /// The process's list of generated code, if there is room for its file.
    perf_map: Option<(PerfMap, Slot)>,
    perf_map_pace: Pace,
    /// Set if a file or list that the current stack needs could not be read yet, so that a later attempt may give more
    /// names.
    is_doubtful: bool,
}

impl Process {
    /// Examines a process, given by its id or that of one of its threads.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be examined, in a few words.
    pub(super) fn look(pid: u32, program: Program, shared: &Shared) -> Result<Self, &'static str> {
        let identity = Identity::of(pid).map_err(|error| reason(&error))?;
        let code = CodeMap::of(pid, shared).map_err(|error| reason_of(&error))?;
        let now = Instant::now();
        let perf_map = shared.perf_maps.take().map(|slot| {
            let mut perf_map = PerfMap::new(inner_number(pid).unwrap_or(pid));
            perf_map.open(pid);
            (perf_map, slot)
        });
        Ok(Self {
            pid,
            program,
            identity,
            checked: now,
            used: now,
            code,
            unwinder: Unwinder::default(),
            cache: Cache::default(),
            roots: HashSet::new(),
            modes: Modes::default(),
            perf_map,
            perf_map_pace: Pace::new(PERF_MAP_PAUSE),
            is_doubtful: false,
        })
    }

    /// Returns whether the process lives, has ended, or is another one by now. The system is asked only once per
    /// [`IDENTITY_PAUSE`].
    pub(super) fn fate(&mut self, now: Instant) -> Fate {
        if now.duration_since(self.checked) < IDENTITY_PAUSE {
            return Fate::Lives;
        }
        self.checked = now;
        self.identity.fate(self.pid)
    }

    /// Resolves a copied stack.
    pub(super) fn copied(
        &mut self,
        shared: &mut Shared,
        registers: &Registers,
        bytes: &[u8],
        cut: bool,
    ) -> (Arc<Stack>, Outcome) {
        let copied = Copied { start: registers.stack, bytes };
        if let Some(known) = self.cache.known.find(registers, copied) {
            return known;
        }
        self.is_doubtful = false;
        let Self { unwinder, code, is_doubtful, .. } = self;
        let mut left = MOST_FOLLOWED;
        let walk = unwinder.walk(registers, copied, |unwinder, address| {
            let (sound, is_certain) = code.may_follow(unwinder, shared, address);
            *is_doubtful |= !is_certain;
            let rest = sound.and_then(|bytes| left.checked_sub(bytes));
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        self.forget_changed();
        let is_whole = walk.end == End::Root;
        let extent = if is_whole { Extent::Whole } else { Extent::Cut };
        let stack = self.named(shared, &walk.addresses, extent);
        let outcome = match walk.end {
            End::Root if self.agrees(&walk.addresses, &unwind::by_frame_pointers(registers, copied)) => {
                Outcome::Agreed(walk.addresses.len())
            }
            End::Root => Outcome::Whole,
            End::Beyond if cut => Outcome::Short(bytes.len()),
            End::Beyond | End::Lost => Outcome::Lost,
        };
        if is_whole && !self.is_doubtful {
            if let Some(root) = walk.addresses.last().filter(|_| self.roots.len() < MOST_ROOTS) {
                self.roots.insert(*root);
            }
            self.cache.known.insert(*registers, walk.read, &stack, outcome);
        }
        (stack, outcome)
    }

    /// Resolves a stack of addresses that the kernel found by following frame pointers.
    pub(super) fn addressed(&mut self, shared: &mut Shared, addresses: &[u64]) -> (Arc<Stack>, Outcome) {
        let length = addresses.iter().position(|address| *address == 0).unwrap_or(addresses.len());
        let addresses = &addresses[..length.min(unwind::MOST_FRAMES)];
        let Some(outermost) = addresses.last() else {
            let nothing = Stack { frames: Vec::new(), extent: Extent::Missing("no addresses") };
            return (Arc::new(nothing), Outcome::BrokenChain);
        };
        self.is_doubtful = false;
        let is_whole = match self.roots.is_empty() {
            false => self.roots.contains(outermost),
            true => {
                let name = &self.frame_at(shared, *outermost - u64::from(addresses.len() > 1)).name;
                ROOTS.contains(&name.as_str()) || MAIN.contains(&name.as_str())
            }
        };
        let extent = if is_whole { Extent::Whole } else { Extent::Cut };
        let outcome = if is_whole { Outcome::Chain } else { Outcome::BrokenChain };
        (self.named(shared, addresses, extent), outcome)
    }

    /// Returns true if following frame pointers, as the kernel does, finds the same addresses as the unwinding tables.
    /// In a Go program, the function with the system call has no frame of its own, so its caller may be missing: both
    /// functions belong to the runtime.
    fn agrees(&self, whole: &[u64], by_frame_pointers: &[u64]) -> bool {
        let is_go = || {
            let image = whole.first().and_then(|at| self.code.at(*at)).and_then(|code| code.image.as_ref());
            image.is_some_and(|image| image.is_go())
        };
        let without_caller =
            || whole.first() == by_frame_pointers.first() && whole.get(2..) == by_frame_pointers.get(1..);
        whole == by_frame_pointers || without_caller() && is_go()
    }

    /// Names the functions of a stack. The first address is the current instruction's. The others are return addresses,
    /// which can lie behind their function's end: the byte before belongs to the call.
    fn named(&mut self, shared: &mut Shared, addresses: &[u64], extent: Extent) -> Arc<Stack> {
        if let Some(known) = self.cache.stack(addresses, extent) {
            return Arc::clone(known);
        }
        let mut frames: Vec<Arc<Frame>> = Vec::with_capacity(addresses.len());
        for (number, address) in addresses.iter().enumerate() {
            let frame = self.frame_at(shared, address.wrapping_sub(u64::from(number > 0)));
            // Nameless functions that call each other form one frame, since their number says nothing.
            let again =
                frame.name.starts_with('[') && frames.last().is_some_and(|last| Arc::ptr_eq(last, &frame));
            if !again {
                frames.push(frame);
            }
        }
        frames.shrink_to_fit();
        let stack = Arc::new(Stack { frames, extent });
        if !self.is_doubtful {
            self.cache.insert_stack(addresses, &stack);
        }
        stack
    }

    fn frame_at(&mut self, shared: &mut Shared, address: u64) -> Arc<Frame> {
        if let Some(known) = self.cache.frame(address) {
            return Arc::clone(known);
        }
        let is_certain = self.code.look_at(&mut self.unwinder, shared, address);
        self.is_doubtful |= !is_certain;
        self.forget_changed();
        let made =
            self.code.at(address).is_none_or(|code| code.image.is_none() && code.mapping.backing.is_memory());
        let (frame, is_settled) =
            if made { self.made_at(shared, address) } else { (self.filed_at(address), true) };
        self.is_doubtful |= !is_settled;
        let frame = shared.frames.shared(frame);
        if is_certain && is_settled {
            self.cache.insert_frame(address, &frame);
        }
        frame
    }

    /// Returns the frame at an address in generated code, and whether that is certain. It is uncertain while the
    /// function has no name and the process may have written one since its list was last read.
    fn made_at(&mut self, shared: &mut Shared, address: u64) -> (Frame, bool) {
        let mut name = self.written_at(address);
        let was_read = name.is_none() && self.perf_map_pace.is_due() && self.read_perf_map(shared);
        if was_read {
            name = self.written_at(address);
        }
        let is_settled = name.is_some() || was_read || !self.writes_names();
        let (mapped, is_known) = (self.code.at(address).is_some(), name.is_some());
        let name = match name {
            Some(name) => clean(&String::from_utf8_lossy(&name)),
            None if mapped => "[jit]".to_owned(),
            None => "[unknown]".to_owned(),
        };
        let kind = if mapped || is_known { FrameKind::Jit } else { FrameKind::User };
        (Frame { name, module: String::new(), kind }, is_settled)
    }

    /// Returns true if the process writes a list of its generated code.
    fn writes_names(&self) -> bool {
        self.perf_map.as_ref().is_some_and(|(perf_map, _)| perf_map.is_there())
    }

    /// Returns the name of the generated function at an address, from the list that the process writes.
    fn written_at(&self, address: u64) -> Option<Vec<u8>> {
        self.perf_map.as_ref()?.0.name_at(address)
    }

    /// Returns the frame at an address in a mapped file or the vDSO. Without a name it is called after its module, such
    /// as `[libc.so.6]`.
    fn filed_at(&self, address: u64) -> Frame {
        let kind = FrameKind::User;
        let Some(code) = self.code.at(address) else {
            return Frame { name: "[unknown]".to_owned(), module: String::new(), kind };
        };
        let name = code.image.as_ref().and_then(|image| image.function_at(code.within(address)));
        let module = match (&code.mapping.backing, &code.image) {
            (_, Some(image)) => clean(&image.name),
            (Backing::Vdso, _) => "vdso".to_owned(),
            (Backing::File { path, .. }, _) => clean(&path.file_name().unwrap_or_default().to_string_lossy()),
            (Backing::Written, _) => String::new(),
        };
        let name = name.map_or_else(|| format!("[{module}]"), |name| demangled(&name));
        Frame { name, module, kind }
    }

    /// Reads new lines of the list of generated code, if the time budget allows it. Returns true if the list was read.
    fn read_perf_map(&mut self, shared: &mut Shared) -> bool {
        let Some((perf_map, _)) = self.perf_map.as_mut().filter(|_| shared.effort.is_left()) else {
            return false;
        };
        if shared.effort.spend(|| self.perf_map_pace.keep(|| perf_map.refresh(self.pid))) {
            self.cache.forget_written();
        }
        true
    }

    /// Returns true if another attempt a moment later may resolve the last stack better, because a read had to wait for
    /// the time budget or its minimum pause.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Drops the caches if other code is mapped now.
    fn forget_changed(&mut self) {
        if self.code.take_changed() {
            self.cache.clear();
        }
    }

    /// Fills the caches to their limits.
    #[cfg(test)]
    pub(super) fn fill(&mut self) {
        let frame = Arc::new(Frame { name: "a".repeat(512), module: String::new(), kind: FrameKind::User });
        for address in 0..3000 {
            let stack = Arc::new(Stack { frames: vec![Arc::clone(&frame); 40], extent: Extent::Whole });
            self.cache.insert_frame(address, &Arc::new(Frame::clone(&frame)));
            self.cache.insert_stack(&[address; 40], &stack);
            let registers = Registers { instruction: address, ..Registers::default() };
            self.cache.known.insert(registers, vec![(0, 0); 80], &stack, Outcome::Whole);
        }
    }

    /// Outermost addresses of the process's whole stacks.
    #[cfg(test)]
    pub(super) fn roots(&self) -> &HashSet<u64> {
        &self.roots
    }

    /// Reads new lines of the list of generated code, if the process has such code on its stacks, and updates the
    /// process's mappings.
    pub(super) fn tidy(&mut self, shared: &mut Shared) {
        if self.perf_map_pace.read().is_some() && self.perf_map_pace.is_due() {
            self.read_perf_map(shared);
        }
        self.code.tidy(&mut self.unwinder, shared, self.used);
        self.forget_changed();
    }

    /// Drops everything that can be computed again. The process itself stays known.
    pub(super) fn shed(&mut self) {
        self.cache.clear();
        self.code.shed();
    }

    /// Approximate size in bytes, without the files' tables.
    pub(super) fn bytes(&self) -> usize {
        /// Size of the unwinder's rules and rows.
        const BASE: usize = 48 << 10;
        let perf_map = self.perf_map.as_ref().map_or(0, |(perf_map, _)| perf_map.bytes());
        BASE + size_of::<Self>() + self.cache.bytes() + self.code.bytes() + perf_map
    }
}
