//! Files and mappings of other processes, as those see them. Paths, what they lead to, and names are hostile.

mod mappings;

pub(crate) use self::mappings::{CodeMapping, code_mappings};

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs};

/// How a path is followed: to a handle that tells what is there and opens nothing. The open function of a device or a pipe
/// can have effects of its own, such as rewinding a tape or starting a watchdog.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// How a regular file is opened: without waiting for whoever has a lease on it.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// File systems whose files the kernel makes up: they look regular, and yet reading one can take something away from others
/// (`/proc/kmsg`, `trace_pipe`) or tell what only this process may know (`/proc/kallsyms`). A link of a container leads to
/// its own `/proc` as well.
const MADE_UP: [i64; 12] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6265_6570, // configfs
    0xf97c_ff8c, // selinuxfs
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
];

/// Opens a file as a process has it mapped: also one that was replaced meanwhile, if that is permitted.
///
/// # Errors
///
/// The system's error; [`io::ErrorKind::NotFound`] if another file has its place now, [`io::ErrorKind::InvalidInput`] if it
/// is no regular file.
pub(crate) fn open_mapped(pid: u32, path: &Path, (start, end): (u64, u64), inode: u64) -> io::Result<File> {
    let mapped = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
    if let Ok(handle) = rustix::fs::open(mapped, HANDLE, Mode::empty()) {
        return opened(handle);
    }
    let handle = File::from(handle_within(&root_of(pid)?, path)?);
    // The device of a file on an overlay is not told alike everywhere: mappings have that of the layer below.
    match handle.metadata()?.ino() == inode {
        true => opened(handle.into()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The root folder of a process, to open its paths below it.
///
/// # Errors
///
/// The system's error.
pub(crate) fn root_of(pid: u32) -> io::Result<OwnedFd> {
    let flags = HANDLE | OFlags::DIRECTORY;
    Ok(rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?)
}

/// Opens a path of a process as the process would, whose links do not lead out of its root. Regular files alone are
/// opened, without waiting.
///
/// # Errors
///
/// The system's error; [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub(crate) fn open_within(root: &OwnedFd, path: &Path) -> io::Result<File> {
    opened(handle_within(root, path)?)
}

fn handle_within(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, HANDLE, Mode::empty(), resolve)?)
}

/// Opens what a handle stands for, if it is a regular file that somebody has written.
fn opened(handle: OwnedFd) -> io::Result<File> {
    let handle = File::from(handle);
    let is_written = || fstatfs(&handle).map(|system| !MADE_UP.contains(&system_of(&system)));
    if !handle.metadata()?.is_file() || !is_written()? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The link leads to this very file, whatever has its path by now.
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Ok(rustix::fs::open(link, READ, Mode::empty())?.into())
}

/// The kind of a file system. The field has the word's length of the architecture, and numbers above 2³¹ come signed.
fn system_of(system: &rustix::fs::StatFs) -> i64 {
    #[allow(clippy::unnecessary_cast, reason = "the type of the field depends on the architecture")]
    let kind = system.f_type as i64;
    kind & 0xffff_ffff
}

#[cfg(test)]
mod tests;
