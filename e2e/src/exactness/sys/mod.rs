//! System calls for which no safe wrapper is at hand: the one place of the suite with `unsafe`.

pub mod netlink;
pub mod sockets;
pub mod spread;
pub mod tcp;
pub mod tls;
pub mod tun;
pub mod uring;

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::process::parent_id},
    process,
    time::Duration,
};

use rustix::process::{Pid, Signal, set_parent_process_death_signal};

/// fork(2), or, with the folder of a cgroup, clone3(2) into it: `None` in the child.
///
/// # Errors
///
/// When the kernel refuses, or when this process has more than one thread: then a child could find locks held.
pub fn fork(into: Option<&File>) -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with more than one thread may not fork"));
    }
    let parent = process::id();
    #[expect(unsafe_code, reason = "the standard library has no fork")]
    // SAFETY: this process has one thread, so the child finds every lock free and may go on as this one would.
    let pid = unsafe { into.map_or_else(|| libc::fork(), |cgroup| clone_into(cgroup)) };
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

/// fork(2) with the child in a cgroup from its beginning (`CLONE_INTO_CGROUP`, Linux 5.7).
///
/// # Safety
///
/// As for fork(2).
#[expect(unsafe_code, reason = "the C library has no call for it")]
unsafe fn clone_into(cgroup: &File) -> libc::pid_t {
    // SAFETY: zeroes are valid for a struct of integers, and what they ask for is what fork(2) does.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // From include/uapi/linux/sched.h: larger than the type that the C library has for flags.
    arguments.flags = 0x2_0000_0000;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: the kernel reads the struct, of the size that is given, and shares no memory with the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
    pid as libc::pid_t
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
