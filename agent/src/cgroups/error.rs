//! Errors about cgroups, each with its remedy.

use std::io;
use std::path::PathBuf;

/// Finding or reading a cgroup failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// No cgroup2 filesystem is mounted where this process can see it.
    #[error(
        "no cgroup2 filesystem is mounted (looked into /proc/self/mountinfo): mount one with \
         `mount -t cgroup2 none /sys/fs/cgroup/unified`, or name the host's with --cgroup-root"
    )]
    NotMounted,
    /// The folder exists, but it is not part of a cgroup2 filesystem.
    #[error(
        "{path} is not in a cgroup2 filesystem: give a folder of the cgroup2 tree, which is mounted at {hint}"
    )]
    NotCgroup2 {
        /// The folder that was given.
        path: PathBuf,
        /// Mount point of such a tree, if known.
        hint: String,
    },
    /// There is no such cgroup.
    #[error("no cgroup at {path}: its folder does not exist (see the folders below {root})")]
    NoSuchCgroup {
        /// The folder that was given.
        path: PathBuf,
        /// Root of the tree.
        root: PathBuf,
    },
    /// The path would leave the tree.
    #[error(
        "the cgroup path {path} has a `..` in it: write it from the tree's root on, as in /system.slice/ssh.service"
    )]
    UpwardPath {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is no such process.
    #[error(
        "no process {pid}: it has ended, or it is in a process-id namespace that cannot be seen from here"
    )]
    NoSuchProcess {
        /// The process id.
        pid: u32,
    },
    /// The process exists, but its cgroup is not below the tree's root.
    #[error(
        "the cgroup of process {pid} is not below {root} (/proc/{pid}/cgroup says {seen:?}): run in the host's \
         cgroup namespace, or give the host's tree with --cgroup-root"
    )]
    Unreachable {
        /// The process id.
        pid: u32,
        /// The root of the tree.
        root: PathBuf,
        /// The path that the kernel gave.
        seen: String,
    },
    /// Reading or watching a file failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The action that failed, as a verb.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}
