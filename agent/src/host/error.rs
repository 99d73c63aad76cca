//! Why tracing on one host cannot begin or go on.

use std::{io, path::PathBuf, time::Duration};

use crate::{cgroups::CgroupError, engine::EngineError};

/// One line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// The cgroup or process cannot be traced.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// No container is meant.
    #[error(
        "no container is named {text} or has an id that begins so in the cgroup2 tree at {root}; running: {there}. Start the \
         container, let --wait wait for it, or use --pid with one of its processes"
    )]
    NoContainer {
        /// The text on the command line.
        text: String,
        /// Containers that run.
        there: String,
        /// Root of the tree.
        root: PathBuf,
    },
    /// More than one container is meant.
    #[error(
        "several containers are meant by {text}: {candidates}; write NAMESPACE/POD/CONTAINER or more of an id"
    )]
    SeveralContainers {
        /// The text on the command line.
        text: String,
        /// The containers.
        candidates: String,
    },
    /// The container did not come.
    #[error("no container {text} started within {} s; write a longer time behind --wait=, or none to wait without end", .waited.as_secs_f64())]
    NotStarted {
        /// The text on the command line.
        text: String,
        /// Time that it had.
        waited: Duration,
    },
    /// New containers cannot be followed.
    #[error("cannot follow the containers of this host: {0}")]
    Follow(io::Error),
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
    /// Nobody reads what was printed.
    #[error(
        "cannot print the last lines to standard output: whoever reads it has taken nothing for {} s; end it, or let it \
         go on reading, before this command ends", .0.as_secs_f64()
    )]
    NotRead(Duration),
    /// A recording cannot be opened or written.
    #[error("cannot {action} the recording {}: {source}", .path.display())]
    Recording {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is a file already.
    #[error("there is a file {} already: choose another name, or replace it with --overwrite", .0.display())]
    RecordingExists(PathBuf),
    /// A recording cannot be read on.
    #[error("{}: {source}", .path.display())]
    Replay {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        source: traffictrace_view::ReplayError,
    },
    /// A file is no recording.
    #[error("{} has no snapshot in it: give a file that `traffictrace record` has written", .0.display())]
    EmptyRecording(PathBuf),
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
