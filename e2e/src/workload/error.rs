//! Errors of the workload, apart from those of a connection.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

/// An error that names what was attempted, on what and, if it is not obvious, what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address that `--listen` gave.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// A file of `/proc`, of the cgroup tree or of `--result` could not be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// The attempted action, as an infinitive.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A system call that concerns no file failed.
    #[error("cannot {action}: {source}")]
    System {
        /// The attempted action, as an infinitive.
        action: &'static str,
        /// Error of the system.
        source: io::Error,
    },
    /// The operations could not be started, or their counts not printed.
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
