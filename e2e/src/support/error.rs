//! Why a test could not go on.

use std::{fmt::Display, io, time::Duration};

use thiserror::Error;

/// What every helper returns.
pub type Result<T, E = TestError> = std::result::Result<T, E>;

/// A failure of the test's surroundings or of the product; an `assert` says the rest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TestError {
    /// The system refused something.
    #[error("cannot {action}: {source}")]
    Io {
        /// The attempt and its object, as an infinitive.
        action: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The API server refused something, or does not answer.
    #[error("cannot {action}: {source}")]
    Kube {
        /// The attempt and its object, as an infinitive.
        action: String,
        /// The client's answer.
        source: Box<kube::Error>,
    },
    /// Something awaited did not come.
    #[error("waited {limit:?} for {what}; last seen: {last}")]
    Deadline {
        /// What was awaited.
        what: String,
        /// For how long.
        limit: Duration,
        /// What was there instead.
        last: String,
    },
    /// Output that is not what it should be.
    #[error("{what} is not as expected: {found}")]
    Unexpected {
        /// What was read.
        what: String,
        /// What it was.
        found: String,
    },
}

impl TestError {
    /// Wraps the answer of a system call.
    pub fn io(action: impl Display) -> impl FnOnce(io::Error) -> Self {
        let action = action.to_string();
        move |source| Self::Io { action, source }
    }

    /// Wraps the answer of the API server.
    pub fn kube(action: impl Display) -> impl FnOnce(kube::Error) -> Self {
        let action = action.to_string();
        move |source| Self::Kube { action, source: Box::new(source) }
    }

    /// Says that `what` was `found` where something else was needed.
    pub fn unexpected(what: impl Display, found: impl Display) -> Self {
        Self::Unexpected { what: what.to_string(), found: found.to_string() }
    }
}
