//! Errors of tests.

use std::{fmt::Display, io, time::Duration};

use thiserror::Error;

/// The result of a helper.
pub type Result<T, E = TestError> = std::result::Result<T, E>;

/// A failure of the environment or of the product; differences in values fail an `assert` instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TestError {
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// The attempted action and its object, as an infinitive.
        action: String,
        /// Error of the system.
        source: io::Error,
    },
    /// The API server refused a request, or does not answer.
    #[error("cannot {action}: {source}")]
    Kube {
        /// The attempted action and its object, as an infinitive.
        action: String,
        /// Error of the client.
        source: Box<kube::Error>,
    },
    /// A condition did not become true in time.
    #[error("waited {limit:?} for {what}; last seen: {last}")]
    Deadline {
        /// The condition.
        what: String,
        /// Time that was waited.
        limit: Duration,
        /// The last observed state.
        last: String,
    },
    /// Output has another form or value than expected.
    #[error("{what} is not as expected: {found}")]
    Unexpected {
        /// The output that was read.
        what: String,
        /// The content that was found.
        found: String,
    },
}

impl TestError {
    /// Wraps the error of a system call.
    pub fn io(action: impl Display) -> impl FnOnce(io::Error) -> Self {
        let action = action.to_string();
        move |source| Self::Io { action, source }
    }

    /// Wraps the error of a request to the API server.
    pub fn kube(action: impl Display) -> impl FnOnce(kube::Error) -> Self {
        let action = action.to_string();
        move |source| Self::Kube { action, source: Box::new(source) }
    }

    /// Reports that `what` was `found` to be something unexpected.
    pub fn unexpected(what: impl Display, found: impl Display) -> Self {
        Self::Unexpected { what: what.to_string(), found: found.to_string() }
    }
}
