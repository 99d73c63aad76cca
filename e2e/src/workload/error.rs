//! What can go wrong outside of a connection.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

/// Says what was attempted, on what, and where it is not obvious what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address of `--listen`.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of `/proc`, of the cgroup tree or of `--result` could not be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// The attempt, as an infinitive.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A system call that is about no file failed.
    #[error("cannot {action}: {source}")]
    System {
        /// The attempt, as an infinitive.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The operations could not be begun, or their count not told.
    #[error("cannot do every operation: {0}")]
    Operations(String),
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(String),
}

impl WorkloadError {
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { action, path: path.into(), source }
    }

    pub(super) fn system(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { action, source: source.into() }
    }
}
