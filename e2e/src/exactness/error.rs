//! Errors of cases.

use std::{io, panic::Location};

use rustix::io::Errno;
use thiserror::Error;

/// The result of a step of a case.
pub type Done<T = ()> = Result<T, CaseError>;

/// The reason why a case did not finish.
#[derive(Debug, Error)]
pub enum CaseError {
    /// This kernel or its settings lack the feature that the case tests.
    #[error("{0}")]
    Unsupported(String),
    /// A system call failed unexpectedly.
    #[error("{at}: {source}")]
    Call {
        /// Source location of the call in the suite.
        at: &'static Location<'static>,
        /// Error that the call returned.
        source: io::Error,
    },
    /// The case found a state or result other than the one it needs.
    #[error("{0}")]
    Unexpected(String),
}

impl CaseError {
    /// Returns an error for a feature that is missing here.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    /// Combines two errors into one. Unsupported wins, since a feature that one end lacks makes the other end fail too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsupported(why), _) | (_, Self::Unsupported(why)) => Self::Unsupported(why),
            (mine, theirs) => Self::Unexpected(format!("{mine}; and {theirs}")),
        }
    }

    /// Returns an error for an unexpected state or result.
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
