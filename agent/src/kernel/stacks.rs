//! The programs that take stacks of calls that move bytes. They are an object of their own, loaded while a session asks
//! for stacks.

use std::{
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Btf, Ebpf, Pod,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, RingBuf},
    programs::tp_btf::BtfTracePointLink,
    util::nr_cpus,
};
use traffictrace_ebpf::{
    STACKS_OBJECT, constants,
    layout::stacks::{FRAME_POINTERS, Known, Options, Record},
    maps,
};

use super::{
    HookTier, KernelError, Tracer, load,
    records::{self, hash, ring},
    sizes,
    tier::{STACKS, STACKS_CLAIM},
};
use crate::stacks::{Mode, Program};

/// Number of stacks per second that all CPUs together take by chance once [`BURST`] is used up.
const RATE: u64 = 1500;
/// Minimum share of one CPU in [`RATE`], in stacks per second.
const LEAST_RATE: u64 = 50;
/// Full budget of all CPUs together, in stacks. While a CPU's share lasts, the stack of every call is taken; then calls
/// are sampled at [`RATE`].
const BURST: u64 = 4096;
/// Minimum share of one CPU in [`BURST`], in stacks.
const LEAST_BURST: u64 = 512;
/// Number of processes whose mode is kept. Beyond that, the least recently used one is evicted.
const PROCESSES: u32 = 4096;

/// The loaded programs. Dropping them detaches them.
pub struct StackCapture {
    ebpf: Ebpf,
    btf: Btf,
    ring: RingBuf<MapData>,
    modes: HashMap<MapData, u32, Known>,
    lost: Array<MapData, u64>,
    options: Array<MapData, Options>,
    links: Vec<BtfTracePointLink>,
    /// Value of [`Tracer::twins_attached`] when the links were made. If it has grown, a twin runs behind these
    /// programs.
    behind: u64,
}

impl fmt::Debug for StackCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackCapture").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl StackCapture {
    /// Loads the programs and attaches them behind those that count. No stack is taken before [`Self::set_sessions`].
    /// `ring_bytes` is the size of the ring buffer, a power of two and a multiple of the page size.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if sends and receives are not counted by tracepoints (Linux 6.3), or if the kernel refuses a map
    /// or a program.
    pub fn load(tracer: &mut Tracer, ring_bytes: u32) -> Result<Self, KernelError> {
        if tracer.tier != HookTier::TpBtf {
            return Err(KernelError::NoStacks { tier: tracer.tier });
        }
        let btf = Btf::from_sys_fs().map_err(|source| KernelError::NoBtf { source })?;
        let cpus = nr_cpus().unwrap_or(1);
        let (period, budget) = budget(cpus);
        let mut ebpf = records::load(
            STACKS_OBJECT,
            "stacks",
            &btf,
            &STACKS,
            (maps::STACKS, ring_bytes),
            &[(maps::STACK_MODES, sizes::lru(PROCESSES, cpus))],
            &[(constants::STACK_PERIOD, period), (constants::STACK_BUDGET, budget)],
        )?;
        let failed = |e| KernelError::map("hand over the notes", maps::STACK_NOTES, e);
        let notes = ebpf.map_mut(maps::STACK_NOTES).ok_or(KernelError::Object(maps::STACK_NOTES))?;
        let mut notes = ArrayOfMaps::<_, MapData>::try_from(notes).map_err(failed)?;
        notes.set(0, tracer.note_map()?, 0).map_err(failed)?;
        let mut capture = Self {
            ring: ring(&mut ebpf, maps::STACKS)?,
            modes: hash(&mut ebpf, maps::STACK_MODES)?,
            lost: array(&mut ebpf, maps::STACKS_LOST)?,
            options: array(&mut ebpf, maps::STACK_OPTIONS)?,
            ebpf,
            btf,
            links: Vec::new(),
            behind: 0,
        };
        capture.attach(tracer)?;
        Ok(capture)
    }

    /// Attaches the programs behind all that are already attached, and detaches their earlier links.
    fn attach(&mut self, tracer: &mut Tracer) -> Result<(), KernelError> {
        tracer.note_claims()?;
        let links = STACKS.map(|hook| load::attach_tracepoint(&mut self.ebpf, &self.btf, hook));
        // The earlier links are dropped only after the new ones exist. No stack is taken twice, because the first
        // program that reads a note removes it.
        self.links = links.into_iter().collect::<Result<_, _>>()?;
        self.behind = tracer.twins_attached();
        Ok(())
    }

    /// Attaches the programs anew if a twin (`twins.rs`) was attached after them, so that they run after all programs
    /// that count. Call this after [`Tracer::follow`] and [`Tracer::attach`].
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel refuses to attach them.
    pub fn follow(&mut self, tracer: &mut Tracer) -> Result<(), KernelError> {
        if self.behind == tracer.twins_attached() { Ok(()) } else { self.attach(tracer) }
    }

    /// Takes stacks for the `stacked` sessions from now on, and for no others. Sessions are given as bits. The
    /// `every_call` sessions want the stack of each call at any cost. The `kernel` sessions want the kernel stack
    /// beside the user stack.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if a map cannot be written.
    pub fn set_sessions(
        &mut self,
        tracer: &mut Tracer,
        stacked: u64,
        every_call: u64,
        kernel: u64,
    ) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("say which sessions want what of stacks", maps::STACK_OPTIONS, e);
        self.options.set(0, [every_call, kernel], 0).map_err(failed)?;
        tracer.set_stacked(stacked)
    }

    /// Passes up to `most` waiting records to `sink`, and returns their number.
    pub fn read(&mut self, most: usize, sink: &mut dyn FnMut(&Record<'_>)) -> usize {
        records::read(&mut self.ring, most, &mut |bytes| {
            if let Some(record) = Record::from_bytes(bytes) {
                sink(&record);
            }
        })
    }

    /// Sets how the stacks of a process are taken, as long as it executes this program. [`Mode::Copy8`] removes the
    /// entry: the next stack of the process, or of another one with the same id, counts as its first and wakes user
    /// space.
    pub fn set_mode(&mut self, program: Program, mode: Mode) {
        let number = match mode {
            Mode::Copy8 => {
                // An error means that there was no entry.
                let _ = self.modes.remove(&program.pid);
                return;
            }
            Mode::Copy16 => 1,
            Mode::Copy32 => 2,
            Mode::Copy64 => 3,
            Mode::FramePointers => FRAME_POINTERS,
        };
        // If the entry cannot be added, stacks are taken as before, and the resolver asks again.
        let _ = self.modes.insert(program.pid, [number, program.number], 0);
    }

    /// Number of stacks that found no room in the ring buffer since the programs were loaded.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the map cannot be read.
    pub fn lost(&self) -> Result<u64, KernelError> {
        self.lost.get(&0, 0).map_err(|e| KernelError::map("read what was lost", maps::STACKS_LOST, e))
    }

    /// Descriptor that becomes readable when the ring buffer fills up.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Returns for this number of CPUs the time in which the budget of one CPU grows by one stack, and the time in which it
/// grows from nothing to its maximum, in nanoseconds.
fn budget(cpus: usize) -> (u64, u64) {
    let cpus = cpus.max(1) as u64;
    let period = 1_000_000_000 / (RATE / cpus).max(LEAST_RATE);
    (period, period * (BURST / cpus).max(LEAST_BURST))
}

fn array<V: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<Array<MapData, V>, KernelError> {
    let map = ebpf.take_map(name).ok_or(KernelError::Object(name))?;
    Array::try_from(map).map_err(|e| KernelError::map("open the map", name, e))
}

impl Tracer {
    /// The map in which the programs that count leave their notes for the programs that take stacks.
    fn note_map(&self) -> Result<&MapData, KernelError> {
        match self.ebpf.map(maps::STACK_NOTE) {
            Some(Map::PerCpuArray(data)) => Ok(data),
            _ => Err(KernelError::Object(maps::STACK_NOTE)),
        }
    }

    /// Attaches the program that notes which thread receives bytes that no call reports: its stack is then a claim.
    fn note_claims(&mut self) -> Result<(), KernelError> {
        if self.hooks.claims.is_none() {
            self.hooks.claims = Some(load::attach_tracepoint(&mut self.ebpf, &self.btf, STACKS_CLAIM)?);
        }
        Ok(())
    }

    /// Makes the programs that count leave notes about the calls of these sessions, given as bits, for the programs
    /// that take stacks. With no session nothing is noted, and the program that notes claims is detached.
    pub fn set_stacked(&mut self, sessions: u64) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("say which sessions want stacks", maps::STACKED, e);
        let map = self.ebpf.map_mut(maps::STACKED).ok_or(KernelError::Object(maps::STACKED))?;
        Array::<_, u64>::try_from(map).map_err(failed)?.set(0, sessions, 0).map_err(failed)?;
        if sessions == 0 {
            self.hooks.claims = None;
        }
        Ok(())
    }

    /// Returns how often twins were attached. A twin is attached behind all programs that are on its hook at that time.
    fn twins_attached(&self) -> u64 {
        self.hooks.twins.attached()
    }
}

#[cfg(test)]
mod tests;
