//! An asynchronous wait for a kernel descriptor.

use std::{
    future, io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A wait until a descriptor is readable. The owner of the descriptor may replace the descriptor at any time.
#[derive(Debug, Default)]
pub struct Readable {
    watched: Option<(RawFd, AsyncFd<OwnedFd>)>,
}

impl Readable {
    /// Waits for this descriptor from now on, through a duplicate of it. Call this before each wait. A descriptor with
    /// the same number as the previous one is taken to be that one.
    ///
    /// # Errors
    ///
    /// The system's error if no further descriptor can be opened.
    pub fn follow(&mut self, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let number = descriptor.map(|descriptor| descriptor.as_raw_fd());
        if self.watched.as_ref().map(|(number, _)| *number) != number {
            self.watched = None;
            self.watched = descriptor.map(watch).transpose()?;
        }
        Ok(())
    }

    /// Waits until the descriptor becomes readable, or forever if there is none.
    ///
    /// # Errors
    ///
    /// The system's error if the wait fails.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.watched {
            Some((_, descriptor)) => descriptor.readable().await.map(|mut guard| guard.clear_ready()),
            None => future::pending().await,
        }
    }
}

#[expect(unsafe_code, reason = "see SAFETY")]
fn watch(descriptor: BorrowedFd<'_>) -> io::Result<(RawFd, AsyncFd<OwnedFd>)> {
    let own = descriptor.try_clone_to_owned()?;
    // SAFETY: the descriptor is open and owned by the value that waits for it, which never hands it out.
    let watched = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?;
    Ok((descriptor.as_raw_fd(), watched))
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd as _, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn wakes_for_the_descriptor_of_now() {
        let (mut readable, brief) = (Readable::default(), Duration::from_millis(10));
        assert!(timeout(brief, readable.readable()).await.is_err(), "none");
        let (first, first_end) = rustix::pipe::pipe().unwrap();
        readable.follow(Some(first.as_fd())).unwrap();
        assert!(timeout(brief, readable.readable()).await.is_err(), "empty");
        let (second, second_end) = rustix::pipe::pipe().unwrap();
        readable.follow(Some(second.as_fd())).unwrap();
        rustix::io::write(&first_end, b"x").unwrap();
        assert!(timeout(brief, readable.readable()).await.is_err(), "the one before");
        rustix::io::write(&second_end, b"x").unwrap();
        timeout(Duration::from_secs(10), readable.readable()).await.unwrap().unwrap();
        readable.follow(None).unwrap();
        assert!(timeout(brief, readable.readable()).await.is_err(), "none again");
    }
}
