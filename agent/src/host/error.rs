//! Why tracing on one host cannot begin or go on.

use std::{io, path::PathBuf};

use crate::{cgroups::CgroupError, engine::EngineError};

/// One line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// The cgroup or process cannot be traced.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// No container has the id.
    #[error(
        "no container's id begins with {id:?} among the {seen} containers in the cgroup2 tree at {root}: see `crictl \
         ps`, `docker ps` or `podman ps` for the ids, or use --pid with one of the container's processes"
    )]
    NoContainer {
        /// The id's beginning.
        id: String,
        /// Number of containers that were found.
        seen: usize,
        /// Root of the tree.
        root: PathBuf,
    },
    /// More than one container has the id.
    #[error("several containers' ids begin with {id:?}: write more characters of one of {candidates}")]
    SeveralContainers {
        /// The id's beginning.
        id: String,
        /// The containers.
        candidates: String,
    },
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
    /// The live screen failed.
    #[error(transparent)]
    Screen(traffictrace_view::live::LiveError),
    /// Signals cannot be caught.
    #[error("cannot listen for signals: {0}")]
    Signal(io::Error),
    /// The runtime cannot wait for the kernel's records.
    #[error("cannot wait for the kernel's records: {0}")]
    Wait(io::Error),
}
