//! Stacks of traffic: the code that sends and receives the bytes of a session.
//!
//! The kernel programs hand over samples ([`Sample`]): the call that just moved bytes, and the needed part of its stack.
//! The resolver turns samples into stacks ([`Stack`]) while the process lives. The profile adds the stacks up and, at the
//! end, distributes the traffic of which no stack was taken.
//!
//! Examining processes of other users needs CAP_SYS_PTRACE (`kernel::may_look_into_processes`) and the host's process ids
//! (`hostPID`). Files that were replaced after they were mapped can be opened only with CAP_CHECKPOINT_RESTORE or
//! CAP_SYS_ADMIN. Kernel functions are named if `/proc/kallsyms` shows addresses (CAP_SYSLOG). If a process cannot be
//! examined, its stacks are missing for that reason.
//!
//! Names come from symbols: inlined functions are part of their callers, and static functions of stripped files get their
//! file's name. Code that a runtime generates is named by its perf map: `node --perf-basic-prof
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
    /// Instruction pointer, which is at the instruction after the system call.
    pub instruction: u64,
    /// Address of the top of the stack.
    pub stack: u64,
    /// Frame pointer: `rbp`, or `x29`.
    pub frame: u64,
    /// Return address of the innermost function if the architecture keeps it in a register (`x30`); otherwise 0.
    pub link: u64,
}

/// The part of a user stack that the kernel took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'a> {
    /// The top of the user stack, from [`Registers::stack`] on.
    Copy {
        /// The thread's registers.
        registers: Registers,
        /// The bytes of the stack.
        bytes: &'a [u8],
        /// Set if the stack is longer than the copied part.
        cut: bool,
    },
    /// User-space addresses found by frame pointers, innermost first. The first is an instruction's address, the others
    /// are return addresses.
    Addresses(&'a [u64]),
    /// No user stack, for example of a kernel thread.
    Nothing,
}

/// A process, and which of the programs that it has executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Process id on the host.
    pub pid: u32,
    /// The kernel's counter of executed programs (`self_exec_id`), which differs for each program of the process.
    pub number: u32,
}

/// One stack as the kernel programs took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The process, and the program that it executed.
    pub program: Program,
    /// Thread id on the host.
    pub tid: u32,
    /// The user's part of the stack.
    pub user: Taken<'a>,
    /// Return addresses in the kernel, innermost first. Present if a session wants them, or if there is no
    /// user stack; empty otherwise.
    pub kernel: &'a [u64],
}

/// The method by which the kernel programs take the stacks of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Up to 8 KiB of the stack are copied.
    #[default]
    Copy8,
    /// Up to 16 KiB of the stack are copied.
    Copy16,
    /// Up to 32 KiB of the stack are copied.
    Copy32,
    /// Up to 64 KiB of the stack are copied.
    Copy64,
    /// The kernel follows frame pointers, and nothing is copied.
    FramePointers,
}

/// Completeness of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// The stack is complete up to the thread's first function.
    Whole,
    /// The outermost functions are missing.
    Cut,
    /// The whole stack is missing, for this reason in a few words.
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
    /// Functions of the stack, innermost first.
    pub frames: Vec<Arc<Frame>>,
    /// Completeness of the stack.
    pub extent: Extent,
}
