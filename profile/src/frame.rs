//! Functions on stacks, and the direction of bytes.

/// Direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From the process to the network.
    Sent,
    /// From the network to the process.
    Received,
}

/// Origin of a function's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameKind {
    /// A program or a library.
    User,
    /// Code that a runtime generated.
    Jit,
    /// The kernel.
    Kernel,
}

/// A function on a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Demangled name. A function without a name is called `[FILE]`, `[jit]`, `[kernel]` or `[unknown]`, so that all such
    /// functions are one frame. The name has no control characters and at most 512 bytes; it may contain `;`.
    pub name: String,
    /// Name of the function's file without its folder, such as `libc.so.6`; empty if there is none.
    pub module: String,
    /// Origin of the function's code.
    pub kind: FrameKind,
}
