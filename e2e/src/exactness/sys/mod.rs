//! System calls for which no safe wrapper is at hand: the one place of the suite with `unsafe`.

pub mod sockets;
pub mod uring;

use std::{io, os::unix::process::parent_id, process, time::Duration};

use rustix::process::{Pid, Signal, set_parent_process_death_signal};

/// fork(2): `None` in the child.
///
/// # Errors
///
/// When the kernel refuses, or when this process has more than one thread: then a child could find locks held.
pub fn fork() -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with more than one thread may not fork"));
    }
    let parent = process::id();
    #[expect(unsafe_code, reason = "the standard library has no fork")]
    // SAFETY: this process has one thread, so the child finds every lock free and may go on as this one would.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if parent_id() != parent {
                exit_now(1);
            }
            Ok(None)
        }
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends this process without running what belongs to the parent that it was copied from.
pub fn exit_now(status: i32) -> ! {
    #[expect(unsafe_code, reason = "the standard library's exit flushes buffers that the parent owns")]
    // SAFETY: ends the process, whatever its state.
    unsafe {
        libc::_exit(status)
    }
}

/// The kernel kills this process when its parent ends, or after `limit`.
///
/// # Errors
///
/// When the kernel refuses.
pub fn end_with_parent(limit: Duration) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX);
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has alarm")]
    // SAFETY: SIGALRM has its default action, which ends the process.
    unsafe {
        libc::alarm(seconds)
    };
    Ok(())
}

/// Moves this process into a network namespace of its own, with its loopback interface up.
///
/// # Errors
///
/// When the kernel refuses.
pub fn own_network() -> io::Result<()> {
    #[expect(unsafe_code, reason = "neither the standard library nor an enabled part of rustix has unshare")]
    // SAFETY: changes what this process's later sockets belong to, no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    sockets::loopback_up()
}

/// -1 is an error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
