//! System calls without a safe wrapper: the one place of the suite with `unsafe`.

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

/// Calls fork(2), or clone3(2) into a cgroup if its folder is given; returns `None` in the child.
///
/// # Errors
///
/// Fails when the kernel refuses, or when this process has more than one thread: the child could then find locks held.
pub fn fork(into: Option<&File>) -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with more than one thread may not fork"));
    }
    let parent = process::id();
    #[expect(unsafe_code, reason = "the standard library has no fork")]
    // SAFETY: this process has one thread, so the child finds every lock free and may continue as this process would.
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

/// Calls fork(2) with a child that is in a cgroup from the beginning (`CLONE_INTO_CGROUP`, Linux 5.7).
///
/// # Safety
///
/// As for fork(2).
#[expect(unsafe_code, reason = "the C library has no call for it")]
unsafe fn clone_into(cgroup: &File) -> libc::pid_t {
    // SAFETY: zeroes are valid for a struct of integers; the kernel takes them as the behavior of fork(2).
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // The flag is defined in include/uapi/linux/sched.h; it does not fit into the C library's type for flags.
    arguments.flags = 0x2_0000_0000;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: the kernel reads the struct, of the size that is given, and shares no memory with the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
    pid as libc::pid_t
}

/// Ends this process without flushing or running anything that it inherited from its parent.
pub fn exit_now(status: i32) -> ! {
    #[expect(unsafe_code, reason = "the standard library's exit flushes buffers that the parent owns")]
    // SAFETY: ends the process, whatever its state.
    unsafe {
        libc::_exit(status)
    }
}

/// Makes the kernel kill this process when its parent ends, or after `limit`.
///
/// # Errors
///
/// Fails when the kernel refuses.
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

/// Moves this process into a new network namespace and brings its loopback interface up.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn own_network() -> io::Result<()> {
    #[expect(unsafe_code, reason = "neither the standard library nor an enabled part of rustix has unshare")]
    // SAFETY: the call changes the namespace of this process's future sockets, not its memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    sockets::loopback_up()
}

/// Converts the result -1 of a C function to the error in `errno`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
