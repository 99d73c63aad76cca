//! Socket calls and options.

use std::{
    io::{self, IoSliceMut},
    mem,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use super::check;

/// Calls socket(2) with numbers that the standard library does not support.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: the call returns a new descriptor, which nobody else owns.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol))?))
    }
}

/// Calls send(2) on a descriptor that another thread may close meanwhile.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn send_by_number(descriptor: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let (start, length) = (bytes.as_ptr().cast(), bytes.len());
    #[expect(unsafe_code, reason = "the types of the standard library forbid to close it meanwhile")]
    // SAFETY: the kernel only reads `bytes`, and refuses a number that is not an open descriptor.
    let sent = unsafe { libc::send(descriptor, start, length, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sets an option to a number by setsockopt(2).
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), size_of::<i32>() as libc::socklen_t);
    #[expect(unsafe_code, reason = "rustix has no call for options that it does not know")]
    // SAFETY: the kernel reads `length` bytes of `value`.
    check(unsafe { libc::setsockopt(fd, level, name, ptr::from_ref(&value).cast(), length) }).map(drop)
}

/// Calls recvmmsg(2) with one buffer for each message, without addresses; returns the length of each message.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn receive_many(socket: impl AsFd, buffers: &mut [IoSliceMut<'_>], flags: i32) -> io::Result<Vec<usize>> {
    let mut headers: Vec<libc::mmsghdr> = buffers
        .iter_mut()
        .map(|buffer| {
            #[expect(unsafe_code, reason = "see SAFETY")]
            // SAFETY: a zeroed header means no address, no buffers and no control data.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            // IoSliceMut has the layout of iovec.
            header.msg_hdr.msg_iov = ptr::from_mut(buffer).cast();
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    let (fd, count) = (socket.as_fd().as_raw_fd(), headers.len() as libc::c_uint);
    #[expect(unsafe_code, reason = "rustix has no recvmmsg")]
    // SAFETY: `headers` are `count` headers, each with one buffer that lives as long as `buffers` is borrowed.
    let received =
        check(unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags as _, ptr::null_mut()) })?;
    Ok(headers.iter().take(received as usize).map(|header| header.msg_len as usize).collect())
}

/// A mapping into which the kernel maps the pages that a TCP socket received.
#[derive(Debug)]
pub struct ZeroCopyWindow {
    start: *mut libc::c_void,
    length: usize,
}

/// The first fields of `struct tcp_zerocopy_receive` (linux/tcp.h); the kernel accepts the structure at this length.
#[repr(C)]
#[derive(Default)]
struct ZeroCopyReceive {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
}

/// The result of one TCP_ZEROCOPY_RECEIVE call.
#[derive(Clone, Copy, Debug)]
pub struct ZeroCopied {
    /// Number of bytes that were received by mapping.
    pub mapped: usize,
    /// Number of bytes after the mapped ones that do not fill a page, and must be received by other calls.
    pub skip: usize,
}

impl ZeroCopyWindow {
    /// Maps a window of `length` bytes, a multiple of the page size, of a TCP socket.
    ///
    /// # Errors
    ///
    /// Fails when the kernel does not support mapping.
    pub fn new(socket: impl AsFd, length: usize) -> io::Result<Self> {
        let fd = socket.as_fd().as_raw_fd();
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: a new mapping at an address that the kernel chooses; it is never read.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { start, length }) }
    }

    /// Receives up to `most` bytes, as many as fill whole pages.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn receive(&self, socket: impl AsFd, most: usize) -> io::Result<ZeroCopied> {
        const TCP_ZEROCOPY_RECEIVE: i32 = 35; // linux/tcp.h
        let mut call = ZeroCopyReceive {
            address: self.start as u64,
            length: most.min(self.length) as u32,
            recv_skip_hint: 0,
        };
        let mut length = size_of::<ZeroCopyReceive>() as libc::socklen_t;
        let (fd, option) = (socket.as_fd().as_raw_fd(), TCP_ZEROCOPY_RECEIVE);
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: the kernel writes at most `length` bytes of `call`, and maps pages only inside the window.
        let result = unsafe {
            libc::getsockopt(fd, libc::IPPROTO_TCP, option, ptr::from_mut(&mut call).cast(), &mut length)
        };
        check(result)?;
        Ok(ZeroCopied { mapped: call.length as usize, skip: call.recv_skip_hint as usize })
    }
}

impl Drop for ZeroCopyWindow {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: the mapping was made by `new`, and no reference into it was ever given out.
        unsafe {
            libc::munmap(self.start, self.length)
        };
    }
}

/// Brings `lo` of this process's network namespace up; the kernel then adds its addresses.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: a zeroed request has an empty name and no flags.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: the kernel reads `request`.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) }).map(drop)
}
