//! What can go wrong in `traffictrace top`.

use std::io;

use crate::{cgroups::CgroupError, engine::EngineError};

/// One line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopError {
    /// The cgroup or process cannot be traced.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A filter has no meaning.
    #[error("{0}")]
    Filter(String),
    /// The kernel refused.
    #[error("cannot start tracing: {0}")]
    Engine(#[from] EngineError),
    /// Processes cannot be listed.
    #[error(
        "cannot list processes in /proc to find the descendants of process {pid}: {source}; mount /proc, or use --only-pid"
    )]
    Processes {
        /// Whose descendants.
        pid: u32,
        /// Why not.
        source: procfs::ProcError,
    },
    /// Standard output does not take what was printed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// Signals cannot be caught.
    #[error("cannot listen for signals: {0}")]
    Signal(io::Error),
}
