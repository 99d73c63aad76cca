//! io_uring, one operation at a time.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types::Fd};

use crate::exactness::error::{CaseError, Done};

/// The way in which operations are submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the calling thread, as applications do by default.
    Plain,
    /// By a worker thread of the kernel (IOSQE_ASYNC).
    Async,
    /// By a kernel thread that polls the submission queue (IORING_SETUP_SQPOLL).
    Polled,
}

/// A ring of this process.
#[allow(missing_debug_implementations, reason = "the ring has none")]
pub struct Ring {
    ring: IoUring,
    mode: Mode,
}

impl Ring {
    /// Creates a ring for the operation `code`.
    ///
    /// # Errors
    ///
    /// Fails with [`CaseError::Unsupported`] if the kernel has no io_uring, has disabled it or does not know the
    /// operation.
    pub fn new(mode: Mode, code: u8) -> Done<Self> {
        let mut builder = IoUring::builder();
        if mode == Mode::Polled {
            builder.setup_sqpoll(50);
        }
        let refused = |error: io::Error| CaseError::unsupported(format!("no io_uring here: {error}"));
        let ring = builder.build(4).map_err(refused)?;
        if mode == Mode::Polled && !ring.params().is_feature_sqpoll_nonfixed() {
            return Err(CaseError::unsupported("io_uring polls only registered files here"));
        }
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(refused)?;
        if probe.is_supported(code) {
            Ok(Self { ring, mode })
        } else {
            Err(CaseError::unsupported(format!("io_uring has no operation {code} here")))
        }
    }

    /// Sends bytes; returns the result of the operation.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operation.
    pub fn send(&mut self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let fd = Fd(socket.as_fd().as_raw_fd());
        self.run(opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).build())
    }

    /// Sends bytes without copying them; returns the result of the operation.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operation.
    pub fn send_zc(&mut self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let fd = Fd(socket.as_fd().as_raw_fd());
        self.run(opcode::SendZc::new(fd, bytes.as_ptr(), bytes.len() as u32).build())
    }

    /// Writes bytes; returns the result of the operation.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operation.
    pub fn write(&mut self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let fd = Fd(socket.as_fd().as_raw_fd());
        self.run(opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32).build())
    }

    /// Receives into a buffer; returns the result of the operation.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operation.
    pub fn receive(&mut self, socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = Fd(socket.as_fd().as_raw_fd());
        self.run(opcode::Recv::new(fd, buffer.as_mut_ptr(), buffer.len() as u32).build())
    }

    /// Reads into a buffer; returns the result of the operation.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operation.
    pub fn read(&mut self, socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = Fd(socket.as_fd().as_raw_fd());
        self.run(opcode::Read::new(fd, buffer.as_mut_ptr(), buffer.len() as u32).build())
    }

    /// Submits one operation and waits for all of its completions, so that the kernel is done with its buffer.
    fn run(&mut self, entry: squeue::Entry) -> io::Result<usize> {
        let flags = if self.mode == Mode::Async { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        #[expect(unsafe_code, reason = "the kernel reads the entry's buffer")]
        // SAFETY: the caller's buffer is borrowed until this function returns, which is after the last completion.
        unsafe { self.ring.submission().push(&entry.flags(flags)) }.map_err(io::Error::other)?;
        let mut result = None;
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel may still use the buffer, so the caller must not get it back.
                Err(error) => {
                    eprintln!("cannot wait for io_uring: {error}");
                    super::exit_now(1)
                }
            }
            while let Some(completion) = self.ring.completion().next() {
                // A zero-copy send has two completions: the result, and later a notification that the buffer is free
                // again.
                if !cqueue::notif(completion.flags()) {
                    result = Some(completion.result());
                }
                if !cqueue::more(completion.flags()) {
                    let result = result.unwrap_or_default();
                    return usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                }
            }
        }
    }
}
