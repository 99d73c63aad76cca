//! Why a case could not be done.

use std::{io, panic::Location};

use rustix::io::Errno;
use thiserror::Error;

/// What every step of a case returns.
pub type Done<T = ()> = Result<T, CaseError>;

/// A case that did not come to its end.
#[derive(Debug, Error)]
pub enum CaseError {
    /// This kernel, or its settings, do not have what the case is about.
    #[error("{0}")]
    Unsupported(String),
    /// A system call failed that should not have.
    #[error("{at}: {source}")]
    Call {
        /// Where in the suite.
        at: &'static Location<'static>,
        /// The system's answer.
        source: io::Error,
    },
    /// Something is not as the case needs it.
    #[error("{0}")]
    Unexpected(String),
}

impl CaseError {
    /// The case needs something that is not here.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    /// One error of two. What is not supported at one end makes the other end fail.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsupported(why), _) | (_, Self::Unsupported(why)) => Self::Unsupported(why),
            (mine, theirs) => Self::Unexpected(format!("{mine}; and {theirs}")),
        }
    }

    /// The case found something else than it must.
    pub fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected(what.into())
    }
}

impl From<io::Error> for CaseError {
    #[track_caller]
    fn from(source: io::Error) -> Self {
        Self::Call { at: Location::caller(), source }
    }
}

impl From<Errno> for CaseError {
    #[track_caller]
    fn from(source: Errno) -> Self {
        Self::Call { at: Location::caller(), source: source.into() }
    }
}
