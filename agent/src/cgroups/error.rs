//! What can go wrong with cgroups, and what to do about it.

use std::io;
use std::path::PathBuf;

/// A failure to find or read cgroups.
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
        /// The folder that was tried.
        path: PathBuf,
        /// Where such a tree is, as far as is known.
        hint: String,
    },
    /// There is no such cgroup.
    #[error("no cgroup at {path}: its folder does not exist (see the folders below {root})")]
    NoSuchCgroup {
        /// The folder that was tried.
        path: PathBuf,
        /// The root of the tree.
        root: PathBuf,
    },
    /// The path leads out of the tree.
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
    /// The system refused to read or watch a file.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
