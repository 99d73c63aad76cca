//! HTTP: what the sessions that ask for it see of the requests of their sockets.

mod connections;
mod ledger;

use std::{collections::BTreeMap, os::fd::BorrowedFd, path::PathBuf};

use connections::Connections;
use ledger::Beside;
pub(super) use ledger::HttpLedger;
pub use ledger::{HttpExchange, HttpInterval, HttpMissing, HttpOwner, HttpSnapshot, TlsProcess};

use super::{Engine, SessionId, session::Session};
use crate::kernel::{HttpCapture, HttpLost, KernelError};

/// Size of the ring buffer: at 50,000 exchanges a second, both of whose heads are some 600 bytes in it, about 100 ms.
const RING_BYTES: u32 = 8 << 20;
/// Records that are taken in one go, before the flow table has its turn.
const MOST_RECORDS: usize = 100_000;

/// What a session wants of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSpec {
    /// Keep each exchange for [`Engine::take_exchanges`], beside the sums by endpoint.
    pub each: bool,
    /// Read the plain text of TLS, too, where the processes' libraries allow it.
    pub tls: bool,
    /// Cgroups that are looked at beside the selected ones: those of the selected processes. Exchanges of other sockets
    /// there are not counted.
    pub cgroups: BTreeMap<u64, PathBuf>,
}

/// The programs, and what is known of the connections.
#[derive(Debug)]
pub(super) struct HttpFeed {
    capture: HttpCapture,
    connections: Connections,
    attached: BTreeMap<u64, PathBuf>,
}

impl HttpFeed {
    fn lost(&self) -> BTreeMap<u64, HttpLost> {
        self.capture.lost().unwrap_or_else(|error| {
            tracing::error!(%error, "the number of lost HTTP records is not known");
            BTreeMap::new()
        })
    }
}

impl Engine {
    /// Loads the HTTP programs when a session begins to want them, attaches them to what is selected, and unloads them
    /// when no session wants them any more.
    pub(super) fn update_http(&mut self) -> Result<(), KernelError> {
        let mut wanted = BTreeMap::new();
        for spec in self.sessions.values().map(|session| &session.spec) {
            let Some(http) = &spec.http else { continue };
            wanted.extend(http.cgroups.clone());
            wanted.extend(spec.cgroups.iter().map(|(id, cgroup)| (*id, cgroup.path.clone())));
        }
        for session in self.sessions.values_mut().filter(|session| session.spec.http.is_none()) {
            session.http = None;
        }
        if self.sessions.values().all(|session| session.spec.http.is_none()) {
            self.http = None;
            return Ok(());
        }
        let feed = match &mut self.http {
            Some(feed) => feed,
            none => none.insert(HttpFeed {
                capture: HttpCapture::load(&self.options.cgroup_root, RING_BYTES)?,
                connections: Connections::default(),
                attached: BTreeMap::new(),
            }),
        };
        if feed.attached != wanted {
            feed.capture.select(&wanted)?;
            feed.attached = wanted;
        }
        for session in self.sessions.values_mut().filter(|session| session.http.is_none()) {
            if let Some(http) = &session.spec.http {
                session.http = Some(HttpLedger::new(http.each, feed.lost()));
            }
        }
        Ok(())
    }

    /// Takes what the HTTP programs have handed over, as [`Engine::tick`] does, too. Sockets' processes are known by the flow
    /// table, so this comes before a drain frees slots.
    pub fn read_http(&mut self) {
        let Self {
            http: Some(HttpFeed { capture, connections, .. }), tracer: Some(tracer), sessions, ..
        } = self
        else {
            return;
        };
        let folders = match tracer.folders() {
            Ok(folders) => folders,
            Err(error) => return tracing::error!(%error, "HTTP waits for the names of cgroups"),
        };
        let mut by_number: Vec<&mut Session> =
            sessions.values_mut().filter(|session| session.http.is_some()).collect();
        capture.read(MOST_RECORDS, &mut |record| {
            connections.take(record, tracer, &folders, &mut by_number);
        });
        connections.sweep(tracer, &folders, &mut by_number);
        for (cookie, pause) in connections.take_pauses() {
            capture.resume(cookie, pause);
        }
        for cookie in connections.take_ignored() {
            capture.ignore(cookie);
        }
    }

    /// Descriptor that is readable when HTTP records should be taken sooner than by the clock; none while no session wants
    /// HTTP. A [`crate::kernel::Readable`] waits for it.
    pub fn http_readable(&self) -> Option<BorrowedFd<'_>> {
        self.http.as_ref().map(|feed| feed.capture.readable())
    }

    /// The exchanges that completed since the last call, in the order of their completion on each connection. Empty unless
    /// the session asked for [`HttpSpec::each`].
    pub fn take_exchanges(&mut self, id: &SessionId) -> Vec<HttpExchange> {
        let ledger = self.sessions.get_mut(id).and_then(|session| session.http.as_mut());
        ledger.map(HttpLedger::take_exchanges).unwrap_or_default()
    }

    /// The `top` endpoints with the most requests of a session, and its sums, up to now.
    pub fn http(&mut self, id: &SessionId, top: usize) -> Option<HttpSnapshot> {
        self.read_http();
        let beside = self.beside(id)?;
        let ledger = self.sessions.get(id)?.http.as_ref()?;
        Some(ledger.snapshot(top, beside))
    }

    /// What a session's endpoints did since the last call, those with the most requests first.
    pub fn take_http_interval(&mut self, id: &SessionId) -> Option<HttpInterval> {
        self.read_http();
        let beside = self.beside(id)?;
        let ledger = self.sessions.get_mut(id)?.http.as_mut()?;
        Some(ledger.take_interval(beside))
    }

    /// What is missing in a session's sums.
    fn beside(&mut self, id: &SessionId) -> Option<Beside> {
        let lost = self.lost_of(id)?;
        let connections = &self.http.as_ref()?.connections;
        let tracer = self.tracer.as_ref()?;
        let folders = tracer.folders().ok()?;
        let session = self.sessions.get_mut(id)?;
        let under_way = connections.under_way(tracer, &folders, session);
        let ledger = session.http.as_ref()?;
        let without_flow = session.crowded_out.iter().map(|cgroup| ledger.without_slot(*cgroup)).sum();
        Some(Beside { lost, without_flow, under_way })
    }

    /// What was lost of the sockets that a session selects, since the session began.
    fn lost_of(&self, id: &SessionId) -> Option<HttpLost> {
        let feed = self.http.as_ref()?;
        let folders = self.tracer.as_ref()?.folders().ok()?;
        let session = self.sessions.get(id)?;
        let ledger = session.http.as_ref()?;
        let mut sum = HttpLost::default();
        for (cgroup, lost) in feed.lost() {
            // A cgroup of which nothing is known counts as selected.
            if !session.spec.processes.is_empty() || session.spec.selects(cgroup, |id| folders.parent(id)) {
                ledger.add_lost(&mut sum, cgroup, &lost);
            }
        }
        Some(sum)
    }
}
