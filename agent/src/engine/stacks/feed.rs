//! From the kernel's records to the sessions' profiles.

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

/// Size of the ring buffer: the first burst of stacks, half of them short, and more than the rate brings in a second.
const RING_BYTES: u32 = 16 << 20;
/// Records that are taken in one go: more than fit into the ring buffer, but not more than come while they are taken.
const MOST_RECORDS: usize = 40_000;
/// Time that a result waits for the names of stacks that were taken before it.
const NAMED: Duration = Duration::from_secs(4);
/// Pause between two attempts to attach programs anew where the kernel refused that.
const ATTACHED_AGAIN: Duration = Duration::from_secs(10);

/// A booking that waits for the names of a stack.
#[derive(Debug)]
pub(super) struct Booking {
    to: Vec<Target>,
    thread: [u8; 16],
    way: Way,
    /// Bytes of the call and the chance with which its stack was taken; absent for a claim.
    call: Option<(u64, u32)>,
}

/// A session that wants a stack.
#[derive(Debug)]
struct Target {
    /// Number of its ledger, which no other one ever has.
    ledger: u64,
    owner: Owner,
    with_kernel: bool,
}

/// Names stacks; kept while the programs are not loaded, so that there is never more than one thread.
pub(super) type Namer = Worker<Booking>;

/// The programs, and what names their stacks.
#[derive(Debug)]
pub(in crate::engine) struct StackFeed {
    pub(in crate::engine) capture: StackCapture,
    /// When the kernel refused to attach the programs anew.
    refused: Option<Instant>,
    /// As [`StackCapture::set_sessions`] was told last.
    pub(super) asked: (u64, u64, u64),
    /// Records whose slot was given to another flow before they were read, or that the thread that names them had no room for,
    /// since the programs were loaded.
    missed: u64,
}

impl StackFeed {
    pub(super) fn load(tracer: &mut Tracer) -> Result<Self, KernelError> {
        let capture = StackCapture::load(tracer, RING_BYTES)?;
        Ok(Self { capture, refused: None, asked: (0, 0, 0), missed: 0 })
    }

    /// Keeps the programs behind those that count.
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

    /// Descriptor that is readable when records should be taken sooner than by the clock.
    pub(in crate::engine) fn readable(&self) -> BorrowedFd<'_> {
        self.capture.readable()
    }

    /// Stacks that were taken and not read in time, since the programs were loaded.
    pub(super) fn lost(&self) -> u64 {
        let lost = self.capture.lost().unwrap_or_else(|error| {
            tracing::error!(%error, "the number of lost stacks is not known");
            0
        });
        lost + self.missed
    }

    /// Has what waits named, for the sessions that want it.
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

    /// Books the stacks that have names by now; those that were taken before this call too, if `all` are asked for and no file
    /// is very slow to read.
    pub(super) fn book(&mut self, namer: &mut Namer, all: bool, sessions: &mut [&mut Session]) {
        let capture = &mut self.capture;
        let mut book = |stacks: Stacks, Booking { to, thread, way, call }: Booking| {
            for Target { ledger, owner, with_kernel } in to {
                let stack = if with_kernel { &stacks.kernel } else { &stacks.user };
                let of = |session: &&mut &mut Session| {
                    session.stacks.as_ref().is_some_and(|stacks| stacks.number == ledger)
                };
                // The session may have ended meanwhile.
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

/// The key with the process of a claim, where the slot has none yet: no process has made a call at the connection.
fn named(key: Key, pid: u32) -> Key {
    if key.pid != 0 {
        return key;
    }
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut command = [0; 16];
    // The last byte closes the name, here by a line feed.
    for (to, from) in command.iter_mut().zip(name.iter().take(15).take_while(|byte| **byte != b'\n')) {
        *to = *from;
    }
    Key { pid, command, ..key }
}

/// Gives a record to the thread that names stacks; whether there was room for it.
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
    // One session may have asked for the kernel's part and another one not.
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
