//! Information about TCP sockets from the kernel, and a filter that drops everything.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    ptr,
};

use super::{check, sockets::set_option};
use crate::exactness::error::{CaseError, Done};

/// State of a TCP socket whose handshake lacks its last segment (net/tcp_states.h).
pub const SYN_RECV: u8 = 3;
/// TCPI_OPT_SYN_DATA in `tcpi_options`: bytes in the SYN were accepted (linux/tcp.h).
const OPTION_SYN_DATA: u8 = 32;
/// Offsets in `struct tcp_info` (Linux 4.2).
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
/// Number of bytes of the structure that are read.
const INFORMATION: usize = BYTES_RECEIVED + 8;

/// Reads an option into `value`; returns the number of bytes that the kernel wrote.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn read_option(socket: impl AsFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let (fd, mut length) = (socket.as_fd().as_raw_fd(), value.len() as libc::socklen_t);
    #[expect(unsafe_code, reason = "rustix has no call for options that it does not know")]
    // SAFETY: the kernel writes at most `length` bytes, which `value` has.
    check(unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut length) })?;
    Ok(length as usize)
}

/// Sets an option to the bytes of `value`.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn write_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), value.len() as libc::socklen_t);
    #[expect(unsafe_code, reason = "rustix has no call for options that it does not know")]
    // SAFETY: the kernel reads `length` bytes, which `value` has.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) }).map(drop)
}

/// Returns the state of a socket, such as [`SYN_RECV`].
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn state(socket: impl AsFd) -> io::Result<u8> {
    Ok(information(socket)?[0])
}

/// Returns whether the SYN of the connection carried bytes that the server accepted (TCP Fast Open); works at both
/// ends.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn has_fast_opened(socket: impl AsFd) -> io::Result<bool> {
    Ok(information(socket)?[5] & OPTION_SYN_DATA != 0)
}

/// Returns the number of bytes that have arrived, read or not.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn received(socket: impl AsFd) -> io::Result<u64> {
    Ok(number_at(&information(socket)?, BYTES_RECEIVED))
}

/// Returns the number of bytes that the application has written to a client's socket, whether sent or still queued.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn taken(socket: impl AsFd) -> io::Result<u64> {
    let mut unacknowledged: libc::c_int = 0;
    let fd = socket.as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "rustix has no call for it")]
    // SAFETY: the kernel writes one integer.
    check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, ptr::from_mut(&mut unacknowledged)) })?;
    // The SYN is acknowledged as one byte.
    let acknowledged = number_at(&information(socket)?, BYTES_ACKED) - 1;
    Ok(acknowledged + u64::from(unacknowledged.unsigned_abs()))
}

/// Protocol level of the MPTCP options.
pub const SOL_MPTCP: i32 = 284;

/// Returns the number of bytes that each subflow of an MPTCP socket has sent (Linux 5.16).
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn subflow_bytes(socket: impl AsFd) -> io::Result<Vec<u64>> {
    const MPTCP_TCPINFO: i32 = 2;
    const MOST: usize = 4;
    /// Size of `struct mptcp_subflow_data`: its own size, the number of subflows, and the size of an entry in the
    /// kernel and here.
    const HEADER: usize = 16;
    let mut answer = [0; HEADER + MOST * INFORMATION];
    for (at, size) in [(0, HEADER), (12, INFORMATION)] {
        answer[at..at + 4].copy_from_slice(&(size as u32).to_ne_bytes());
    }
    read_option(socket, SOL_MPTCP, MPTCP_TCPINFO, &mut answer)?;
    let count = number_at(&answer, 0) >> if cfg!(target_endian = "little") { 32 } else { 0 };
    let each = answer[HEADER..].chunks_exact(INFORMATION).take(count as usize & 0xff);
    Ok(each.map(|information| number_at(information, BYTES_ACKED)).collect())
}

/// Reads the beginning of `struct tcp_info`.
fn information(socket: impl AsFd) -> io::Result<[u8; INFORMATION]> {
    let mut information = [0; INFORMATION];
    read_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut information)?;
    Ok(information)
}

fn number_at(information: &[u8], at: usize) -> u64 {
    let bytes = information.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_ne_bytes(bytes.unwrap_or_default())
}

/// Makes the kernel drop all packets for the socket from now on, without an answer.
///
/// # Errors
///
/// Fails with [`CaseError::Unsupported`] if socket filters are not permitted.
pub fn let_nothing_in(socket: impl AsFd) -> Done {
    // The filter's only instruction returns 0, the number of bytes to keep: the kernel drops the packet.
    let mut nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: ptr::from_mut(&mut nothing) };
    let (fd, length) = (socket.as_fd().as_raw_fd(), size_of::<libc::sock_fprog>() as libc::socklen_t);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    #[expect(unsafe_code, reason = "rustix has no call for it")]
    // SAFETY: the kernel reads the program and its one instruction.
    let answer = check(unsafe { libc::setsockopt(fd, level, name, ptr::from_ref(&program).cast(), length) });
    match answer {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(CaseError::unsupported("a socket's filter needs privileges here"))
        }
        answer => Ok(answer.map(drop)?),
    }
}

/// Returns the number of packets for the socket that the kernel dropped.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn dropped(socket: impl AsFd) -> io::Result<u32> {
    /// Index in the array of SO_MEMINFO (linux/sock_diag.h).
    const DROPS: usize = 8;
    let mut numbers = [0; 4 * (DROPS + 1)];
    read_option(socket, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut numbers)?;
    let last = numbers.last_chunk().copied().unwrap_or_default();
    Ok(u32::from_ne_bytes(last))
}

/// Removes the filter of [`let_nothing_in`].
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn let_everything_in(socket: impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}
