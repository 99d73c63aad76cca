//! HTTP: the requests that sessions see on their sockets, if they ask for HTTP.

mod booking;
mod connections;
mod ledger;
mod plain;
mod tls;
mod watcher;

use std::{collections::BTreeMap, os::fd::BorrowedFd, path::PathBuf};

use booking::Books;
use connections::Connections;
use ledger::Beside;
pub(super) use ledger::HttpLedger;
pub use ledger::{HttpExchange, HttpInterval, HttpMissing, HttpOwner, HttpSnapshot, TlsProcess};
use tls::TlsFeed;
use traffictrace_http::{
    Way,
    endpoint::{Counts, Row},
};

use super::{Engine, SessionId, session::Session};
use crate::kernel::{Folders, HttpCapture, HttpLost, KernelError};

/// Size of the ring buffer in bytes. At 50,000 exchanges a second, with about 600 bytes for the heads of each, it holds
/// about 280 ms; half of that if both ends of the connections are selected.
const RING_BYTES: u32 = 8 << 20;
/// Maximum number of records that are read before the flow table has its turn.
const MOST_RECORDS: usize = 100_000;

/// A session's settings for HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSpec {
    /// Keeps each exchange for [`Engine::take_exchanges`], beside the sums by endpoint.
    pub each: bool,
    /// Reads the plain text of TLS as well, if the processes' libraries allow that.
    pub tls: bool,
    /// Cgroups of the selected processes, whose packets are read beside those of the selected cgroups. Exchanges of
    /// other sockets there are not counted.
    pub cgroups: BTreeMap<u64, PathBuf>,
}

/// The HTTP programs, and the state of the connections.
#[derive(Debug)]
pub(super) struct HttpFeed {
    capture: HttpCapture,
    connections: Connections,
    /// The cgroups to which the programs are attached.
    attached: BTreeMap<u64, PathBuf>,
    tls: TlsFeed,
}

impl HttpFeed {
    /// Losses so far, by cgroup, of the records that a session with these settings needs. Losses that cannot be read
    /// are left out.
    fn lost(&self, spec: &HttpSpec) -> BTreeMap<u64, HttpLost> {
        let mut lost = self.capture.lost().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read from the kernel how many HTTP records were lost; these numbers show no such losses");
            BTreeMap::new()
        });
        for (cgroup, packets) in self.connections.early_given_up() {
            *lost.entry(cgroup).or_default() +=
                HttpLost { records: packets, unknown: packets, ..HttpLost::default() };
        }
        let tls = if spec.tls { self.tls.lost() } else { BTreeMap::new() };
        for (cgroup, of_cgroup) in tls {
            *lost.entry(cgroup).or_default() += of_cgroup;
        }
        lost
    }

    /// Descriptor that becomes readable when records should be read earlier than the next tick.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.tls.readable(&self.capture)
    }

    /// Losses at the sockets that a session selects, since the session began.
    fn lost_of(&self, session: &Session, folders: &Folders<'_>) -> Option<HttpLost> {
        let ledger = session.http.as_ref()?;
        let mut sum = HttpLost::default();
        for (cgroup, lost) in self.lost(session.spec.http.as_ref()?) {
            // Processes that are selected by id can be in any cgroup. Otherwise a cgroup whose ancestors are unknown
            // counts as selected.
            if !session.spec.processes.is_empty() || session.spec.selects(cgroup, |id| folders.parent(id)) {
                sum += ledger.lost_since(cgroup, &lost);
            }
        }
        Some(sum)
    }
}

impl Engine {
    /// Loads the HTTP programs once a session wants them, attaches them to the selected cgroups, and unloads them when
    /// no session wants them any more.
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
                tls: TlsFeed::default(),
            }),
        };
        let specs = self.sessions.values().map(|session| &session.spec);
        feed.tls.update(specs, &self.options.cgroup_root, &feed.capture);
        if feed.attached != wanted {
            feed.capture.select(&wanted)?;
            feed.attached = wanted;
        }
        for session in self.sessions.values_mut().filter(|session| session.http.is_none()) {
            if let Some(http) = &session.spec.http {
                session.http = Some(HttpLedger::new(http.each, feed.lost(http)));
            }
        }
        Ok(())
    }

    /// Reads the records of the HTTP programs, as [`Engine::tick`] does. The flow table gives the sockets' processes,
    /// so this has to happen before a drain frees slots.
    pub(super) fn read_http(&mut self) {
        self.follow_tls();
        let Self { http: Some(feed), tracer: Some(tracer), sessions, .. } = self else { return };
        let HttpFeed { capture, connections, tls, .. } = feed;
        let folders = match tracer.folders() {
            Ok(folders) => folders,
            Err(error) => return tracing::error!(%error, "HTTP waits for the names of cgroups"),
        };
        let mut by_number: Vec<&mut Session> =
            sessions.values_mut().filter(|session| session.http.is_some()).collect();
        let books = &mut Books { tracer, folders: &folders, sessions: &mut by_number };
        capture.read(MOST_RECORDS, &mut |record| connections.take(record, books));
        let mut text = tls.text.take();
        if let Some(text) = &mut text {
            text.read(MOST_RECORDS, &mut |record| {
                if let Some(origin) = record.origin {
                    connections.take_plain(record, origin, books, &|pid| tls.probed(pid));
                }
            });
        }
        tls.text = text;
        let texts_lost = tls.lost().values().map(|lost| lost.records).sum();
        let speakers = connections.sweep(books, &|pid| tls.probed(pid), texts_lost);
        tls.ask(speakers);
        for (cookie, pause) in connections.take_pauses() {
            capture.resume(cookie, pause);
        }
        for cookie in connections.take_ignored() {
            capture.ignore(cookie);
        }
        for (cookie, (way, until)) in connections.take_skips() {
            if let Some(text) = &mut tls.text {
                text.skip(cookie, way == Way::Sent, until);
            }
        }
    }

    /// Updates the processes whose TLS is read, if sessions select processes by id. The kernel programs know the
    /// children that have inherited the selection.
    fn follow_tls(&mut self) {
        let by_process =
            self.sessions_with(|session| session.spec.wants_tls() && !session.spec.processes.is_empty());
        let Self { http: Some(feed), tracer: Some(tracer), sessions, options, .. } = self else { return };
        if by_process == 0 {
            return;
        }
        let specs = sessions.values().map(|session| &session.spec).filter(|spec| spec.wants_tls());
        match tracer.selected_processes(by_process) {
            Ok(processes) => feed.tls.select(specs, &options.cgroup_root, processes),
            Err(error) => tracing::error!(%error, "the TLS of new processes is not read"),
        }
    }

    /// Returns true while processes that use TLS are still being examined, so that [`HttpSnapshot::tls`] is incomplete.
    pub fn looks_at_processes(&self) -> bool {
        self.http.as_ref().is_some_and(|feed| feed.tls.is_busy())
    }

    /// Returns the exchanges that completed since the last call, in the order of their completion on each connection.
    /// The list is empty unless the session asked for [`HttpSpec::each`].
    pub fn take_exchanges(&mut self, id: &SessionId) -> Vec<HttpExchange> {
        let ledger = self.sessions.get_mut(id).and_then(|session| session.http.as_mut());
        ledger.map(HttpLedger::take_exchanges).unwrap_or_default()
    }

    /// Returns the `top` endpoints of a session with the most requests, and its sums, up to now.
    pub fn http(&mut self, id: &SessionId, top: usize) -> Option<HttpSnapshot> {
        self.read_http();
        let beside = self.beside(id)?;
        let session = self.sessions.get(id)?;
        let (ledger, spec, feed) = (session.http.as_ref()?, session.spec.http.as_ref()?, self.http.as_ref()?);
        let tls = feed.tls.processes(ledger, spec, &feed.connections);
        Some(ledger.snapshot(top, beside, tls))
    }

    /// Continues from counts of before this process began: these rows, and the `rest` that no row has.
    pub fn seed_http(&mut self, id: &SessionId, rows: &[Row<HttpOwner>], rest: &Counts) {
        if let Some(ledger) = self.sessions.get_mut(id).and_then(|session| session.http.as_mut()) {
            ledger.seed(rows, rest);
        }
    }

    /// Returns the requests of a session's endpoints since the last call, those with the most requests first.
    pub fn take_http_interval(&mut self, id: &SessionId) -> Option<HttpInterval> {
        self.read_http();
        let beside = self.beside(id)?;
        let ledger = self.sessions.get_mut(id)?.http.as_mut()?;
        Some(ledger.take_interval(beside))
    }

    /// Returns the counts of missing requests that the session's ledger does not keep itself.
    fn beside(&mut self, id: &SessionId) -> Option<Beside> {
        let Self { http: Some(feed), tracer: Some(tracer), sessions, .. } = self else { return None };
        let folders = tracer.folders().ok()?;
        let session = sessions.get_mut(id)?;
        let lost = feed.lost_of(session, &folders)?;
        let books = &mut Books { tracer, folders: &folders, sessions: &mut [&mut *session] };
        let under_way = feed.connections.under_way(books);
        let ledger = session.http.as_ref()?;
        let without_flow = session.crowded_out.iter().map(|cgroup| ledger.without_slot(*cgroup)).sum();
        Some(Beside { lost, without_flow, under_way })
    }
}
