//! The state of a row's stack.

use std::borrow::Cow;

/// The state of a row's stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// The stack is complete, from the thread's first function on.
    Whole,
    /// The outermost functions are missing.
    Cut,
    /// No function is known, for this reason in a few words.
    Missing(Cow<'static, str>),
    /// The row sums up stacks of one process and direction that have no row of their own.
    Folded,
    /// The row sums up processes of one direction that have no row of their own.
    FoldedProcesses,
}

impl Known {
    /// Returns the name of the frame that stands for the missing functions; `None` for a complete stack.
    pub fn frame(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Whole => None,
            Self::Cut => Some("[outer functions missing]".into()),
            Self::Missing(reason) => Some(format!("[no stack: {reason}]").into()),
            Self::Folded => Some("[other stacks]".into()),
            Self::FoldedProcesses => Some("[other processes]".into()),
        }
    }
}
