//! Errors of tracing on one host.

use std::{io, path::PathBuf, time::Duration};

use crate::{cgroups::CgroupError, engine::EngineError};

/// An error as one line for the user at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// The cgroup or process cannot be traced.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// No running container matches the argument.
    #[error(
        "no container is named {text} or has an id that begins so in the cgroup2 tree at {root}; running: {there}. Start the \
         container, let --wait wait for it, or use --pid with one of its processes"
    )]
    NoContainer {
        /// Argument on the command line.
        text: String,
        /// The running containers.
        there: String,
        /// Root of the cgroup2 tree.
        root: PathBuf,
    },
    /// More than one container matches the argument.
    #[error(
        "several containers are meant by {text}: {candidates}; write NAMESPACE/POD/CONTAINER or more of an id"
    )]
    SeveralContainers {
        /// Argument on the command line.
        text: String,
        /// The matching containers.
        candidates: String,
    },
    /// The container did not start in time.
    #[error("no container {text} started within {} s; write a longer time behind --wait=, or none to wait without end", .waited.as_secs_f64())]
    NotStarted {
        /// Argument on the command line.
        text: String,
        /// Time waited.
        waited: Duration,
    },
    /// Starts of containers cannot be observed.
    #[error("cannot follow the containers of this host: {0}")]
    Follow(io::Error),
    /// A filter is not valid.
    #[error("{0}")]
    Filter(String),
    /// The engine could not start or continue.
    #[error("cannot start tracing: {0}")]
    Engine(#[from] EngineError),
    /// Processes cannot be listed.
    #[error(
        "cannot list processes in /proc to find the descendants of process {pid}: {source}; mount /proc, or use --only-pid"
    )]
    Processes {
        /// Id of the process whose descendants are searched for.
        pid: u32,
        /// Error of reading /proc.
        source: procfs::ProcError,
    },
    /// Writing to standard output failed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The reader of the output has not read anything for this time.
    #[error(
        "cannot print the last lines to standard output: whoever reads it has taken nothing for {} s; end it, or let it \
         go on reading, before this command ends", .0.as_secs_f64()
    )]
    NotRead(Duration),
    /// Opening or writing a recording failed.
    #[error("cannot {action} the recording {}: {source}", .path.display())]
    Recording {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The recording's file exists already.
    #[error("there is a file {} already: choose another name, or replace it with --overwrite", .0.display())]
    RecordingExists(PathBuf),
    /// Reading a recording failed.
    #[error("{}: {source}", .path.display())]
    Replay {
        /// The file.
        path: PathBuf,
        /// The line and the error in it.
        source: traffictrace_view::ReplayError,
    },
    /// The file has no snapshots.
    #[error("{} has no snapshot in it: give a file that `traffictrace record` has written", .0.display())]
    EmptyRecording(PathBuf),
    /// The live screen failed.
    #[error(transparent)]
    Screen(traffictrace_view::live::LiveError),
    /// Signal handlers cannot be installed.
    #[error("cannot listen for signals: {0}")]
    Signal(io::Error),
    /// Waiting for the kernel's records failed.
    #[error("cannot wait for the kernel's records: {0}")]
    Wait(io::Error),
}
