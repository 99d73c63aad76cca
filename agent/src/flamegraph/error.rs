//! Why there is no flame graph.

use std::{io, path::PathBuf};

use traffictrace_profile::{OutputError, ReadError, TooMuch};

use crate::host::HostError;

/// One line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlamegraphError {
    /// Nothing can be traced.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Process ids mean others here than they do to the kernel's programs.
    #[error(
        "cannot look into the processes whose stacks the kernel takes: this command runs in a pid namespace of its own, where \
         they have other ids or none. Run it on the host, or in a container with the host's process ids (`docker run --pid \
         host`, `hostPID: true` of a pod). --from works everywhere"
    )]
    OtherProcessIds,
    /// The result cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is larger than what is read.
    #[error("cannot read {}: it has more than {most} bytes", path.display())]
    LargeInput {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// A file is none of those that are read.
    #[error(
        "cannot read {}: {reason}; it must be a profile that was written as .pb.gz, or what `kubectl get \
         traffictraceprofiles -o json` prints",
        path.display()
    )]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A profile in a file is damaged or foreign.
    #[error("cannot read the profile{} in {}: {source}", of(name), path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Name of the object, if the file has several.
        name: Option<String>,
        /// What is wrong.
        source: ReadError,
    },
    /// The profiles together are too large.
    #[error("cannot add up the profiles: {0}")]
    TooMuch(#[from] TooMuch),
}

fn of(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" {name}")).unwrap_or_default()
}
