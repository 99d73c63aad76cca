//! Descriptors that say when the records of HTTP and stacks should be read earlier than the next tick.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::epoll;

use super::{Engine, http::HttpFeed, stacks::StackFeed};

impl Engine {
    /// Descriptor that becomes readable when records should be read earlier than the next tick; `None` while no session
    /// wants HTTP or stacks. Wait for it with a [`crate::kernel::Readable`].
    pub fn records_readable(&self) -> Option<BorrowedFd<'_>> {
        let wanted = self.http.is_some() || self.stacks.is_some();
        self.records.as_ref().filter(|_| wanted).map(|records| records.as_fd())
    }

    /// Reads the waiting records of all ring buffers. Call this when [`Self::records_readable`] is readable.
    pub fn read_records(&mut self) {
        self.read_http();
        self.read_stacks();
    }

    /// Adds the current ring buffers to the descriptor of [`Self::records_readable`]. The descriptor is an epoll
    /// instance, which closed ring buffers leave by themselves.
    pub(super) fn watch_records(&mut self) {
        let rings =
            [self.http.as_ref().map(HttpFeed::readable), self.stacks.as_ref().map(StackFeed::readable)];
        let watch = |records: &mut Option<OwnedFd>, ring| {
            let records = match records {
                Some(records) => records,
                none => none.insert(epoll::create(epoll::CreateFlags::CLOEXEC)?),
            };
            match epoll::add(records, ring, epoll::EventData::new_u64(0), epoll::EventFlags::IN) {
                Err(rustix::io::Errno::EXIST) => Ok(()),
                other => other,
            }
        };
        for ring in rings.into_iter().flatten() {
            if let Err(error) = watch(&mut self.records, ring) {
                tracing::warn!(%error, "records are taken by the clock alone");
            }
        }
    }
}
