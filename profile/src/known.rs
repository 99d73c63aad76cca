//! The part of a row's functions that is known.

use std::borrow::Cow;

/// The part of a row's functions that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// Every function from the first one of the thread on.
    Whole,
    /// The outermost functions are missing.
    Cut,
    /// Nothing, for this reason in a few words.
    Missing(Cow<'static, str>),
    /// Stacks that found no room of their own, added up by process and way.
    Folded,
    /// Processes that found no room of their own, added up by way.
    FoldedProcesses,
}

impl Known {
    /// The frame that stands for what is not known; `None` for a whole stack.
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
