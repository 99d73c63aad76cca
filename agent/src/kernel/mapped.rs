//! BPF arrays mapped into this process, which are read and written without a system call.

use std::{io, ops::Deref, os::fd::AsRawFd as _, ptr, slice};

use aya::maps::MapData;

use super::KernelError;

/// All elements of a mappable BPF array, shared with the kernel.
///
/// The kernel keeps the memory as long as it is mapped, even after the map's descriptor was closed.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    start: *mut T,
    len: usize,
}

impl<T> Mapped<T> {
    /// Maps `len` elements of `map`.
    ///
    /// # Safety
    ///
    /// The map must be a `BPF_MAP_TYPE_ARRAY` made with `BPF_F_MMAPABLE`, of at least `len` elements of exactly
    /// `size_of::<T>()` bytes. Any bytes must be a valid `T`, and fields that the kernel changes while `T` is
    /// borrowed must be atomics.
    #[expect(unsafe_code, reason = "the loader has no call for mapping an array")]
    pub(super) unsafe fn new(map: &MapData, name: &'static str, len: usize) -> Result<Self, KernelError> {
        // SAFETY: this makes a new mapping at an address that the kernel chooses, so no memory of this process is
        // affected.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                std::os::fd::AsFd::as_fd(map.fd()).as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(KernelError::Mmap { map: name, source: io::Error::last_os_error() });
        }
        Ok(Self { start: start.cast(), len })
    }
}

#[cfg(test)]
impl<T> Mapped<T> {
    /// Zeroed memory that stands in for a map and is shared with no kernel program.
    ///
    /// # Safety
    ///
    /// Zeroes must be a valid `T`.
    #[expect(unsafe_code, reason = "it is made as the real one is")]
    pub(super) unsafe fn fake(len: usize) -> Self {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: this makes a new mapping at an address that the kernel chooses, so no memory of this process is
        // affected.
        let start = unsafe { libc::mmap(ptr::null_mut(), len * size_of::<T>(), access, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: start.cast(), len }
    }
}

impl<T> Deref for Mapped<T> {
    type Target = [T];

    #[expect(unsafe_code, reason = "the one place where mapped memory becomes a slice")]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` mapped `len` elements, page-aligned; its caller vouched for their contents; only `drop` unmaps
        // them.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> Drop for Mapped<T> {
    #[expect(unsafe_code, reason = "the counterpart of mmap")]
    fn drop(&mut self) {
        // SAFETY: this is exactly the range that `new` mapped, and no reference outlives `self`.
        unsafe {
            libc::munmap(self.start.cast(), self.len * size_of::<T>());
        }
    }
}

// SAFETY: the memory is shared with the kernel anyway. Every access in this process goes through `&T`, so `T: Sync` is
// what sharing needs, and the mapping may be unmapped from any thread.
#[expect(unsafe_code, reason = "a raw pointer hides that this is a shared slice")]
unsafe impl<T: Sync> Send for Mapped<T> {}
