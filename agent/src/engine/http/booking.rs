//! Finds the owner of a connection's exchanges (the process by the flow table, the container by the cgroup), and adds
//! them to the sessions.

use std::{net::IpAddr, sync::atomic::Ordering::Relaxed};

use traffictrace_ebpf::layout::{PENDING, Slot};
use traffictrace_http::{Exchange, Reason, Side, Sink};

use super::{HttpExchange, HttpLedger, HttpOwner};
use crate::{
    engine::session::Session,
    kernel::{Folders, Tracer},
};

/// The ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: (IpAddr, u16),
    pub(super) remote: (IpAddr, u16),
}

/// Everything needed to assign exchanges to owners: the flow table, the names of cgroups, and the sessions.
pub(super) struct Books<'a, 'b> {
    pub(super) tracer: &'a Tracer,
    pub(super) folders: &'a Folders<'a>,
    pub(super) sessions: &'a mut [&'b mut Session],
}

/// Adds the exchanges of a connection to the sessions that count its flow.
pub(super) struct Booking<'c, 'a, 'b> {
    pub(super) cookie: u64,
    pub(super) cgroup: u64,
    pub(super) ends: Ends,
    /// Set for plain text that was read from a TLS library. Only some sessions want it.
    pub(super) tls: bool,
    pub(super) books: &'c mut Books<'a, 'b>,
}

impl<'a> Booking<'_, 'a, '_> {
    /// Counts the connection as one that is not followed, because there are too many at once.
    pub(super) fn miss_connection(&mut self) {
        self.each_session(self.slot(), |http, _| http.miss_connection());
    }

    /// Records that the connection uses TLS. Returns the id of its process, or `None` while the flow table has no
    /// process for it.
    pub(super) fn speaks_tls(&mut self) -> Option<u32> {
        let slot = self.slot().filter(|slot| slot.state().phase() != PENDING && slot.pid() != 0)?;
        let (pid, command) = (slot.pid(), slot.comm.load());
        self.each_session(Some(slot), |http, cgroup| http.speaks_tls(pid, HttpOwner { cgroup, command }));
        Some(pid)
    }

    /// Records that no plain text of the connection was seen.
    pub(super) fn is_unread(&mut self, pid: u32) {
        self.each_session(self.slot(), |http, _| http.is_unread(pid));
    }

    /// Returns true if any session counts the connection.
    pub(super) fn is_counted(&mut self) -> bool {
        let mut is_counted = false;
        self.each_session(self.slot(), |_, _| is_counted = true);
        is_counted
    }

    /// Returns the connection's slot in the flow table.
    fn slot(&self) -> Option<&'a Slot> {
        self.books.tracer.main_slot(self.cookie)
    }

    /// Calls `book` for each session that counts the connection's flow, with the session's requests and the container
    /// that the connection belongs to. Without a slot, the sessions whose filter takes every TCP flow decide by the
    /// cgroup.
    fn each_session(&mut self, slot: Option<&Slot>, mut book: impl FnMut(&mut HttpLedger, u64)) {
        let wanted = slot.map(|slot| slot.sessions.load(Relaxed));
        let folders = self.books.folders;
        let parent_of = |id| folders.parent(id);
        for session in self.books.sessions.iter_mut() {
            let counts = match wanted {
                Some(sessions) => session.is_in(sessions),
                None => !session.spec.needs_slot() && session.spec.selects(self.cgroup, parent_of),
            };
            let Session { http: Some(http), containers, spec, .. } = &mut **session else { continue };
            if counts && (!self.tls || spec.wants_tls()) {
                book(http, containers.of(self.cgroup, spec, &parent_of));
            }
        }
    }

    /// Counts exchanges of a connection without a slot as missing, in the sessions that need a slot to decide whether
    /// they want them.
    fn miss_slot(&mut self, count: u64) {
        for session in self.books.sessions.iter_mut() {
            if !session.spec.needs_slot() || (self.tls && !session.spec.wants_tls()) {
                continue;
            }
            if let Some(http) = &mut session.http {
                http.miss_slot(self.cgroup, count);
            }
        }
    }
}

impl Sink for Booking<'_, '_, '_> {
    fn exchange(&mut self, exchange: Exchange) {
        let slot = self.slot();
        if slot.is_none() {
            self.miss_slot(1);
        }
        let (pid, container_pid, command) =
            slot.map_or((0, 0, [0; 16]), |slot| (slot.pid(), slot.ns_tgid.load(Relaxed), slot.comm.load()));
        let (Ends { local, remote }, tls) = (self.ends, self.tls);
        self.each_session(slot, |http, cgroup| {
            let owner = HttpOwner { cgroup, command };
            let exchange = exchange.clone();
            http.record(HttpExchange { owner, pid, container_pid, local, remote, tls, exchange });
        });
    }

    fn unobserved(&mut self, _side: Side, reason: Reason, count: u64) {
        let slot = self.slot();
        if slot.is_none() {
            self.miss_slot(count);
        }
        self.each_session(slot, |http, _| http.unobserved(reason, count));
    }
}
