//! The path from the kernel's records to the sessions' profiles.

use std::{
    fs,
    os::fd::BorrowedFd,
    sync::atomic::Ordering::Acquire,
    time::{Duration, Instant},
};

use traffictrace_ebpf::layout::stacks::{ADDRESSED, CLAIM, COPIED, CUT, Record, SENT};
use traffictrace_profile::Way;

use super::ledger::owner_of;
use crate::{
    engine::session::Session,
    flows::Key,
    kernel::{Folders, KernelError, StackCapture, Tracer},
    stacks::{
        Program, Registers, Sample, Taken,
        profile::Owner,
        worker::{Stacks, Wants, Worker},
    },
};

/// Size of the ring buffer in bytes. It holds a full `BURST` of stacks if half of them are short copies, and more than
/// one second of stacks at `RATE` (both in `kernel/stacks.rs`).
const RING_BYTES: u32 = 16 << 20;
/// Maximum number of records in one read: more than the ring buffer holds, but not so many that new records keep the
/// read going.
const MOST_RECORDS: usize = 40_000;
/// Maximum time for which [`StackFeed::book`] waits for the names of the stacks that were taken before its call.
const NAMED: Duration = Duration::from_secs(4);
/// Pause after a failed [`StackFeed::follow`] until the next attempt.
const ATTACHED_AGAIN: Duration = Duration::from_secs(10);

/// The sessions to which a stack is added once it has its names, and what is added.
#[derive(Debug)]
pub(super) struct Booking {
    to: Vec<Target>,
    thread: [u8; 16],
    way: Way,
    /// Bytes of the call, and the chance with which its stack was taken; `None` for a claim (a receive that no call
    /// reports).
    call: Option<(u64, u32)>,
}

/// A session that wants a stack.
#[derive(Debug)]
struct Target {
    /// Number of the session's stack ledger, which is never reused.
    ledger: u64,
    owner: Owner,
    with_kernel: bool,
}

/// The thread that finds the function names of stacks. The thread outlives the programs, so that there is never more
/// than one such thread.
pub(super) type Namer = Worker<Booking>;

/// The loaded programs, and the state of reading them.
#[derive(Debug)]
pub(in crate::engine) struct StackFeed {
    pub(in crate::engine) capture: StackCapture,
    /// Time of the last failed [`Self::follow`]; `None` after one that succeeded. The next attempt waits for
    /// [`ATTACHED_AGAIN`].
    refused: Option<Instant>,
    /// Arguments of the last call of [`StackCapture::set_sessions`].
    pub(super) asked: (u64, u64, u64),
    /// Number of records, since the programs were loaded, whose slot was given to another flow before they were read,
    /// or for which the naming thread had no room.
    missed: u64,
}

impl StackFeed {
    pub(super) fn load(tracer: &mut Tracer) -> Result<Self, KernelError> {
        let capture = StackCapture::load(tracer, RING_BYTES)?;
        Ok(Self { capture, refused: None, asked: (0, 0, 0), missed: 0 })
    }

    /// Keeps the programs attached behind those that count, also after twins were attached.
    pub(in crate::engine) fn follow(&mut self, tracer: &mut Tracer) {
        if self.refused.is_some_and(|refused| refused.elapsed() < ATTACHED_AGAIN) {
            return;
        }
        self.refused = None;
        if let Err(error) = self.capture.follow(tracer) {
            tracing::error!(%error, "some calls that are counted have no stack");
            self.refused = Some(Instant::now());
        }
    }

    /// Descriptor that becomes readable when records should be read earlier than the next tick.
    pub(in crate::engine) fn readable(&self) -> BorrowedFd<'_> {
        self.capture.readable()
    }

    /// Number of stacks, since the programs were loaded, that were taken but not read in time.
    pub(super) fn lost(&self) -> u64 {
        let lost = self.capture.lost().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read from the kernel how many stacks were lost; these numbers show no such losses");
            0
        });
        lost + self.missed
    }

    /// Reads the waiting records, and passes those that a session wants to the naming thread.
    pub(super) fn read(
        &mut self,
        tracer: &Tracer,
        namer: &mut Namer,
        folders: &Folders<'_>,
        sessions: &mut [&mut Session],
    ) {
        let Self { capture, missed, .. } = self;
        capture.read(MOST_RECORDS, &mut |record| {
            let Some(slot) = tracer.slot(record.slot, record.epoch) else {
                *missed += 1;
                return;
            };
            let wanted = record.sessions & slot.sessions.load(Acquire);
            let Some(key) = Key::of(slot) else { return };
            let owner = owner_of(&named(key, record.pid));
            let parent_of = |id| folders.parent(id);
            let targets = sessions.iter_mut().filter(|session| session.is_in(wanted)).filter_map(|session| {
                let (spec, ledger) = (session.spec.stacks?, session.stacks.as_ref()?.number);
                let cgroup = session.containers.of(owner.cgroup, &session.spec, &parent_of);
                let with_kernel = spec.kernel || record.flags & (COPIED | ADDRESSED) == 0;
                Some(Target { ledger, owner: Owner { cgroup, ..owner }, with_kernel })
            });
            let to: Vec<Target> = targets.collect();
            if !to.is_empty() && !give(namer, record, to) {
                *missed += 1;
            }
        });
    }

    /// Adds the named stacks to the profiles. With `all`, waits up to [`NAMED`] for the names of all stacks taken
    /// before this call.
    pub(super) fn book(&mut self, namer: &mut Namer, all: bool, sessions: &mut [&mut Session]) {
        let capture = &mut self.capture;
        let mut book = |stacks: Stacks, Booking { to, thread, way, call }: Booking| {
            for Target { ledger, owner, with_kernel } in to {
                let stack = if with_kernel { &stacks.kernel } else { &stacks.user };
                let of = |session: &&mut &mut Session| {
                    session.stacks.as_ref().is_some_and(|stacks| stacks.number == ledger)
                };
                // If the session has ended meanwhile, the stack is dropped.
                let session = sessions.iter_mut().find(of).and_then(|session| session.stacks.as_mut());
                let (Some(stack), Some(ledger)) = (stack, session) else { continue };
                match call {
                    Some((bytes, chance)) => ledger.profile.add(&owner, &thread, way, stack, bytes, chance),
                    None => ledger.profile.claim(&owner, &thread, way, stack),
                }
            }
        };
        namer.take(all.then_some(NAMED), &mut book, &mut |program, mode| capture.set_mode(program, mode));
    }
}

/// Fills in the process of a record if the key has none: the slot of a connection gets a process with the first call,
/// and a claim is no call.
fn named(key: Key, pid: u32) -> Key {
    if key.pid != 0 {
        return key;
    }
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut command = [0; 16];
    // As in slots, at least the last byte is zero. In this file, the kernel ends the name with a line feed.
    for (to, from) in command.iter_mut().zip(name.iter().take(15).take_while(|byte| **byte != b'\n')) {
        *to = *from;
    }
    Key { pid, command, ..key }
}

/// Passes a record to the thread that names stacks. Returns false if there was no room for it.
fn give(namer: &mut Namer, record: &Record<'_>, to: Vec<Target>) -> bool {
    let addresses: Vec<u64> = record.addresses().collect();
    let kernel: Vec<u64> = record.kernel().collect();
    let user = if record.flags & COPIED != 0 {
        let [instruction, stack, frame, link] = record.registers;
        let registers = Registers { instruction, stack, frame, link };
        Taken::Copy { registers, bytes: record.body, cut: record.flags & CUT != 0 }
    } else if record.flags & ADDRESSED != 0 {
        Taken::Addresses(&addresses)
    } else {
        Taken::Nothing
    };
    // One session may want the kernel stack and another may not; then both forms get names.
    let wants = Wants {
        user: to.iter().any(|target| !target.with_kernel),
        kernel: to.iter().any(|target| target.with_kernel),
    };
    let way = if record.flags & SENT != 0 { Way::Sent } else { Way::Received };
    let call = (record.flags & CLAIM == 0).then(|| (record.bytes.into(), record.chance));
    let program = Program { pid: record.pid, number: record.program };
    let sample = Sample { program, tid: record.tid, user, kernel: &kernel };
    namer.give(&sample, wants, Booking { to, thread: record.comm, way, call })
}
