//! Functions of stacks, and the way that bytes went.

/// Direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Out of the process.
    Sent,
    /// Into the process.
    Received,
}

/// Place of a function's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameKind {
    /// A program or library.
    User,
    /// Code that a runtime wrote while it ran.
    Jit,
    /// The kernel.
    Kernel,
}

/// A function on a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Its demangled name; `[FILE]`, `[jit]`, `[kernel]` or `[unknown]` where nothing names it, so that functions without a
    /// name are one frame. It has no control characters and at most 512 bytes; it can have `;`.
    pub name: String,
    /// Name of its file without folder, such as `libc.so.6`; empty where there is none.
    pub module: String,
    /// Place of its code.
    pub kind: FrameKind,
}
