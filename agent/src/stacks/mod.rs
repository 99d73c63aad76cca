//! Stacks of traffic: which code sends and receives the bytes of a session.
//!
//! The kernel's programs hand over samples ([`Sample`]): the call that just moved bytes, and what is needed of its stack. The
//! resolver makes them stacks ([`Stack`]) while the process lives; the profile adds them up, and at the end spreads what
//! no stack was taken of.
//!
//! Looking into processes of other users needs CAP_SYS_PTRACE (`kernel::may_look_into_processes`), and process ids that are
//! the host's (`hostPID`). Files that were replaced since they were mapped are found with CAP_CHECKPOINT_RESTORE or
//! CAP_SYS_ADMIN alone, and the kernel's functions are named where `/proc/kallsyms` shows addresses (CAP_SYSLOG). What
//! cannot be looked into has no stack, with this reason.
//!
//! Names are those of symbols: functions that were inlined are part of their callers, and static functions of stripped
//! files have their file's name. Code that a runtime makes is named by its perf map: `node --perf-basic-prof
//! --interpreted-frames-native-stack`, `python3 -X perf` (3.12 and later), `jcmd PID Compiler.perfmap` of Java with
//! `-XX:+PreserveFramePointer`.

mod cache;
mod code;
mod effort;
mod frames;
mod header;
mod identity;
mod image;
mod known;
mod maps;
mod modes;
mod names;
mod process;
pub mod profile;
mod resolver;
mod sound;
mod unwind;
pub mod worker;

use std::sync::Arc;

use traffictrace_profile::{Frame, Known};

use self::resolver::Resolver;

/// Registers of a thread in user mode, from which its stack is unwound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Registers {
    /// Address of the instruction after the system call.
    pub instruction: u64,
    /// Address of the top of the stack.
    pub stack: u64,
    /// Frame pointer: `rbp`, or `x29`.
    pub frame: u64,
    /// Return address of the innermost function, where the architecture keeps it in a register (`x30`); else 0.
    pub link: u64,
}

/// What the kernel took of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'a> {
    /// The top of the user stack, from [`Registers::stack`] on.
    Copy {
        /// The thread's registers.
        registers: Registers,
        /// The bytes of the stack.
        bytes: &'a [u8],
        /// There was more than was copied.
        cut: bool,
    },
    /// Addresses in user space by frame pointers, innermost first. The first is that of an instruction; the others are return
    /// addresses.
    Addresses(&'a [u64]),
    /// Nothing, as of a kernel thread.
    Nothing,
}

/// A process, and which of the programs that it has executed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Process id on the host.
    pub pid: u32,
    /// The kernel's count of what was executed (`self_exec_id`): it differs for each program of the process.
    pub number: u32,
}

/// One stack as the kernel's programs took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The process.
    pub program: Program,
    /// Thread id on the host.
    pub tid: u32,
    /// The user's part.
    pub user: Taken<'a>,
    /// Return addresses in the kernel, innermost first; empty unless they were asked for, or there is no user's part.
    pub kernel: &'a [u64],
}

/// How the stacks of a process are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The top of the stack is copied, 8 KiB at most.
    #[default]
    Copy8,
    /// 16 KiB at most.
    Copy16,
    /// 32 KiB at most.
    Copy32,
    /// 64 KiB at most.
    Copy64,
    /// The kernel follows frame pointers.
    FramePointers,
}

/// How much of a stack is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// From the first function of the thread on.
    Whole,
    /// The outermost functions are missing.
    Cut,
    /// Nothing of it, for this reason, in a few words.
    Missing(&'static str),
}

impl From<Extent> for Known {
    fn from(extent: Extent) -> Self {
        match extent {
            Extent::Whole => Self::Whole,
            Extent::Cut => Self::Cut,
            Extent::Missing(reason) => Self::Missing(reason.into()),
        }
    }
}

/// A resolved stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Its functions, innermost first.
    pub frames: Vec<Arc<Frame>>,
    /// How much of it is known.
    pub extent: Extent,
}
