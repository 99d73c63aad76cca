//! From samples to stacks.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use traffictrace_profile::{Frame, FrameKind};

use super::{
    Extent, Mode, Program, Sample, Stack, Taken, cache,
    identity::Fate,
    names::{Kernel, clean},
    process::{Process, Shared},
};

/// Processes that are known at once.
const MOST_PROCESSES: usize = 256;
/// Bytes of what is known of processes, beside the tables of their files.
const MOST_BYTES: usize = 20 << 20;
/// Time after which a process without samples makes room for others.
const IDLE: Duration = Duration::from_secs(10);
/// Time for which a process that has ended is kept after its last sample.
const LINGER: Duration = Duration::from_secs(2);
/// Samples after which the bounds are looked at.
const BOUNDS_EVERY: u32 = 1024;

/// Makes stacks of samples, while the processes live.
///
/// It looks into processes and their files, for which CAP_SYS_PTRACE is needed where they have other rights, and the
/// host's process ids. What it keeps has bounds: 40 MiB of files' tables, 20 MiB of what is known of processes, 4 MiB of names,
/// and the kernel's list of some 5 MiB. So has the time that it spends on what it does not know yet, a quarter of a
/// processor's, and the number of files that it has open, 1024.
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
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the last stack may lack what would be found a moment later: reading it had to wait, for its bounds in time.
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// The stack of a sample.
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
                // The number grows, and after very long begins anew.
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

    /// Changes of the way in which processes' stacks are to be taken since the last call, in their order. The default way also says that nothing is known of the process any more.
    pub fn take_modes(&mut self) -> Vec<(Program, Mode)> {
        std::mem::take(&mut self.modes)
    }

    /// Forgets processes that have ended, and keeps the bounds; about once a second.
    pub fn tidy(&mut self) {
        let now = Instant::now();
        let Self { processes, modes, shared, .. } = self;
        processes.retain(|_, process| {
            let fate = process.fate(now);
            // Stacks that were taken before its end may still wait.
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

    /// Keeps the bounds. Where processes take too much, the largest forget what can be found out again, and then are
    /// forgotten themselves, so that one cannot push out others. Where there are too many, or files found no room, those make
    /// it that were idle for longest: those that are busy would read their files again at once.
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

    /// About how many bytes are kept.
    pub fn bytes(&self) -> usize {
        let processes: usize = self.processes.values().map(Process::bytes).sum();
        let kernel =
            self.kernel.bytes() + cache::table_bytes::<(u64, Arc<Frame>)>(self.kernel_frames.capacity());
        processes + self.shared.images.bytes() + self.shared.frames.bytes() + kernel
    }
}

/// Addresses in the kernel whose functions are remembered.
const MOST_KERNEL_FRAMES: usize = 1 << 13;
/// What nothing names in the kernel.
const UNNAMED: &str = "[kernel]";

/// Why a process is not looked into while others take all the time that there is for it.
const BUSY: &str = "too many processes to look into";

/// Looks at the process of a sample. One whose first thread alone has ended is seen by another thread.
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

/// Why a stack has no names that was taken before its process executed another program.
const EXECUTES_ANOTHER: &str = "the process executes another program now";

fn missing(reason: &'static str) -> Arc<Stack> {
    Arc::new(Stack { frames: Vec::new(), extent: Extent::Missing(reason) })
}

fn whole(frames: Vec<Arc<Frame>>) -> Arc<Stack> {
    Arc::new(Stack { frames, extent: Extent::Whole })
}

#[cfg(test)]
mod tests;
