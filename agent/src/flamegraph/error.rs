//! Errors of `traffictrace flamegraph`.

use std::{io, path::PathBuf};

use traffictrace_profile::{OutputError, ReadError, TooMuch};

use crate::host::HostError;

/// An error as one line for the user at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlamegraphError {
    /// Tracing failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Process ids in this pid namespace differ from those that the kernel programs see.
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
        /// The operating system's error.
        source: io::Error,
    },
    /// The file is larger than the limit.
    #[error("cannot read {}: it has more than {most} bytes", path.display())]
    LargeInput {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        most: u64,
    },
    /// The file has none of the supported formats.
    #[error(
        "cannot read {}: {reason}; it must be a profile that was written as .pb.gz, or what `kubectl get \
         traffictraceprofiles -o json` prints",
        path.display()
    )]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// The error in the file.
        reason: String,
    },
    /// A profile in a file is damaged or foreign.
    #[error("cannot read the profile{} in {}: {source}", of(name), path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Name of the object, if the file has several.
        name: Option<String>,
        /// The error in the profile.
        source: ReadError,
    },
    /// The profiles together are too large.
    #[error("cannot add up the profiles: {0}")]
    TooMuch(#[from] TooMuch),
}

fn of(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" {name}")).unwrap_or_default()
}
