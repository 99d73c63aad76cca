//! The resolver: from samples to stacks.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use traffictrace_profile::{Frame, FrameKind};

use super::{
    Extent, Mode, Program, Sample, Stack, Taken,
    identity::Fate,
    names::{Kernel, clean},
    process::{Process, Shared},
};

/// Maximum number of processes that are known at once.
const MOST_PROCESSES: usize = 256;
/// Maximum size in bytes of the state of processes, without the tables of their files.
const MOST_BYTES: usize = 20 << 20;
/// Time after which a process without samples may be dropped for another.
const IDLE: Duration = Duration::from_secs(10);
/// Time for which an ended process is kept after its last sample, since samples of it may still arrive.
const LINGER: Duration = Duration::from_secs(2);
/// Number of samples between checks of the limits.
const BOUNDS_EVERY: u32 = 1024;

/// Resolves samples to stacks, while their processes live.
///
/// The resolver reads processes and their files. That needs CAP_SYS_PTRACE if the processes have other users or more
/// capabilities, and the host's process ids. Its memory is limited: 40 MiB of files' tables, 20 MiB of processes'
/// state, 4 MiB of names, and 24 MiB of the kernel's list, which usually takes 5 MiB. Its time for examining what it
/// does not know yet is limited to a quarter of a processor, and its open files to 1024.
#[derive(Debug, Default)]
pub struct Resolver {
    processes: HashMap<u32, Process>,
    shared: Shared,
    kernel: Kernel,
    kernel_frames: HashMap<u64, Arc<Frame>>,
    modes: Vec<(Program, Mode)>,
    samples: u32,
    is_doubtful: bool,
}

impl Resolver {
    /// Creates an empty resolver.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns true if another attempt a moment later may resolve the last stack better, because a read had to wait for
    /// the time budget or its minimum pause.
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Resolves the stack of a sample.
    pub fn resolve(&mut self, sample: &Sample<'_>) -> Arc<Stack> {
        self.samples = self.samples.wrapping_add(1);
        self.is_doubtful = false;
        if self.samples.is_multiple_of(BOUNDS_EVERY) {
            self.keep_bounds();
        }
        let user = match sample.user {
            Taken::Nothing if !sample.kernel.is_empty() => whole(Vec::new()),
            Taken::Nothing => missing("no stack in user space"),
            _ => self.user(sample),
        };
        if sample.kernel.is_empty() {
            return user;
        }
        let kernel = sample.kernel.iter().take_while(|address| **address != 0);
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        for address in kernel {
            let frame = self.kernel_frame(address.wrapping_sub(1));
            let again = frame.name == UNNAMED && frames.last().is_some_and(|last| last.name == UNNAMED);
            if !again {
                frames.push(frame);
            }
        }
        frames.extend(user.frames.iter().cloned());
        let extent = match user.extent {
            Extent::Missing(_) if !frames.is_empty() => Extent::Cut,
            extent => extent,
        };
        Arc::new(Stack { frames, extent })
    }

    fn user(&mut self, sample: &Sample<'_>) -> Arc<Stack> {
        let now = Instant::now();
        let process = match self.processes.entry(sample.program.pid) {
            Entry::Occupied(mut known) => {
                let before = known.get().program;
                // The kernel only increments the number, modulo 2^32, so a smaller one belongs to an earlier program.
                if before.number.wrapping_sub(sample.program.number).cast_signed() > 0 {
                    return missing(EXECUTES_ANOTHER);
                }
                let is_next = before != sample.program;
                if is_next || known.get_mut().fate(now) == Fate::Another {
                    if !is_next {
                        self.modes.push((before, Mode::default()));
                    }
                    match looked(sample, &mut self.shared) {
                        Ok(process) => known.insert(process),
                        Err(reason) => {
                            known.remove();
                            self.is_doubtful = reason == BUSY;
                            return missing(reason);
                        }
                    };
                }
                known.into_mut()
            }
            Entry::Vacant(place) => match looked(sample, &mut self.shared) {
                Ok(process) => place.insert(process),
                Err(reason) => {
                    self.is_doubtful = reason == BUSY;
                    return missing(reason);
                }
            },
        };
        process.used = now;
        let (stack, outcome) = match sample.user {
            Taken::Copy { registers, bytes, cut } => process.copied(&mut self.shared, &registers, bytes, cut),
            Taken::Addresses(addresses) => process.addressed(&mut self.shared, addresses),
            Taken::Nothing => return missing("no stack in user space"),
        };
        self.is_doubtful = process.is_doubtful();
        if let Some(mode) = process.modes.take(outcome) {
            self.modes.push((sample.program, mode));
        }
        stack
    }

    fn kernel_frame(&mut self, address: u64) -> Arc<Frame> {
        if let Some(known) = self.kernel_frames.get(&address) {
            return Arc::clone(known);
        }
        let (name, module) = match self.kernel.name_at(address) {
            Some((name, module)) => (clean(name), clean(module)),
            None => (UNNAMED.to_owned(), String::new()),
        };
        let frame = self.shared.frames.shared(Frame { name, module, kind: FrameKind::Kernel });
        if self.kernel_frames.len() >= MOST_KERNEL_FRAMES {
            self.kernel_frames.clear();
        }
        self.kernel_frames.insert(address, Arc::clone(&frame));
        frame
    }

    /// Takes the changes of processes' modes since the last call, in their order. A change to the default mode can also
    /// mean that the resolver has forgotten the process.
    pub fn take_modes(&mut self) -> Vec<(Program, Mode)> {
        std::mem::take(&mut self.modes)
    }

    /// Drops processes that have ended, and enforces the limits. Call this about once a second.
    pub fn tidy(&mut self) {
        let now = Instant::now();
        let Self { processes, modes, shared, .. } = self;
        processes.retain(|_, process| {
            let fate = process.fate(now);
            // Samples that were taken before the process ended may still wait to be resolved.
            let is_kept = match fate {
                Fate::Lives => true,
                Fate::Ended => now.duration_since(process.used) < LINGER,
                Fate::Another => false,
            };
            if fate == Fate::Lives {
                process.tidy(shared);
            } else if !is_kept {
                modes.push((process.program, Mode::default()));
            }
            is_kept
        });
        self.keep_bounds();
    }

    /// Enforces the limits. If processes use too much memory, the largest ones drop their caches, and are then dropped
    /// themselves, so that one process cannot displace others. If there are too many processes, or there was no room
    /// for files, the processes that were idle for longest are dropped. Busy ones would read their files again at once.
    fn keep_bounds(&mut self) {
        let mut by_size: Vec<(usize, u32)> =
            self.processes.iter().map(|(pid, process)| (process.bytes(), *pid)).collect();
        let mut bytes: usize = by_size.iter().map(|(bytes, _)| bytes).sum();
        for sheds in [true, false] {
            by_size.sort_unstable_by(|a, b| b.cmp(a));
            for (size, pid) in &mut by_size {
                if bytes <= MOST_BYTES {
                    break;
                }
                let Some(process) = self.processes.get_mut(pid) else { continue };
                if sheds {
                    process.shed();
                } else {
                    self.forget(*pid);
                }
                let left = self.processes.get(pid).map_or(0, Process::bytes);
                bytes = bytes.saturating_sub(*size) + left;
                *size = left;
            }
        }
        let mut by_use: Vec<(Instant, u32)> =
            self.processes.iter().map(|(pid, process)| (process.used, *pid)).collect();
        by_use.sort_unstable_by(|a, b| b.cmp(a));
        while let Some((used, pid)) = by_use.pop() {
            let is_beyond = self.processes.len() > MOST_PROCESSES;
            if !is_beyond && (self.shared.images.tidy() || used.elapsed() < IDLE) {
                break;
            }
            self.forget(pid);
        }
        self.shared.images.tidy();
        self.shared.frames.tidy();
    }

    fn forget(&mut self, pid: u32) {
        if let Some(process) = self.processes.remove(&pid) {
            self.modes.push((process.program, Mode::default()));
        }
    }
}

/// Maximum number of kernel addresses whose functions are cached.
const MOST_KERNEL_FRAMES: usize = 1 << 13;
/// Name of a kernel function whose name is unknown.
const UNNAMED: &str = "[kernel]";

/// Reason shown for a process that was not examined because others have used up the time budget.
const BUSY: &str = "too many processes to look into";

/// Examines the process of a sample. If only its first thread has ended, it is examined through another thread.
fn looked(sample: &Sample<'_>, shared: &mut Shared) -> Result<Process, &'static str> {
    if !shared.effort.is_left() {
        return Err(BUSY);
    }
    let begun = Instant::now();
    let found = Process::look(sample.program.pid, sample.program, shared).or_else(|reason| {
        match sample.tid == sample.program.pid {
            true => Err(reason),
            false => Process::look(sample.tid, sample.program, shared).map_err(|_| reason),
        }
    });
    shared.effort.take(begun.elapsed());
    found
}

/// Reason shown for a stack that was taken before its process executed another program.
const EXECUTES_ANOTHER: &str = "the process executes another program now";

fn missing(reason: &'static str) -> Arc<Stack> {
    Arc::new(Stack { frames: Vec::new(), extent: Extent::Missing(reason) })
}

fn whole(frames: Vec<Arc<Frame>>) -> Arc<Stack> {
    Arc::new(Stack { frames, extent: Extent::Whole })
}

#[cfg(test)]
mod tests;
