//! What a session has counted, up to a moment.

use std::time::{Duration, Instant};

use super::{Engine, Losses, SessionId, losses::losses};
use crate::{
    flows::{Process, Row, Totals},
    kernel::{Tracer, Unseen},
};

/// A snapshot that follows a drain this closely takes what that one read.
const FRESH: Duration = Duration::from_millis(20);

/// What a session has counted.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Sums of everything.
    pub totals: Totals,
    /// Bytes received a second in the last interval, by all flows.
    pub rx_bytes_per_second: u64,
    /// Bytes sent a second in the last interval, by all flows.
    pub tx_bytes_per_second: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// The largest rows, first the one with the most bytes.
    pub rows: Vec<Row>,
    /// Number of all rows.
    pub rows_total: usize,
    /// What is missing or misplaced.
    pub losses: Losses,
    /// Number of slots of the kernel's flow table, which all sessions share.
    pub slots: usize,
    /// Those of them that flows have; a closed flow has its own for about a second more.
    pub slots_in_use: usize,
    /// The kernel hooks that counted.
    pub hook_tier: &'static str,
    /// Whether sockets older than the session were looked for in all processes of the machine.
    pub older_sockets_found: bool,
    /// What is not seen on this machine.
    pub not_seen: Vec<&'static Unseen>,
    /// Time since the last snapshot, which the rates are over.
    pub interval: Duration,
}

impl Engine {
    /// The `top` largest rows of a session and its sums, up to now.
    pub fn snapshot(&mut self, id: &SessionId, top: usize) -> Option<Snapshot> {
        if self.drained.elapsed() >= FRESH {
            self.drain();
        }
        let now = self.tracer.as_ref().map(|tracer| losses(tracer, &self.slots)).unwrap_or_default();
        let hook_tier = self.tracer.as_ref().map_or("none", |tracer| tracer.hook_tier().name());
        let not_seen = self.tracer.as_ref().map(Tracer::not_seen).unwrap_or_default();
        let (slots, slots_in_use) = self.tracer.as_ref().map_or((0, 0), Tracer::slot_use);
        let session = self.sessions.get_mut(id)?;
        let interval = session.shown.elapsed();
        session.shown = Instant::now();
        let (rx_bytes_per_second, tx_bytes_per_second) = session.ledger.rates(interval);
        Some(Snapshot {
            totals: session.ledger.totals(),
            rx_bytes_per_second,
            tx_bytes_per_second,
            connections_open: session.ledger.connections_open(),
            rows: session.ledger.rank(top, interval),
            rows_total: session.ledger.len(),
            losses: now.since(&session.losses_before),
            slots,
            slots_in_use,
            hook_tier,
            older_sockets_found: session.older_sockets_found,
            not_seen,
            interval,
        })
    }

    /// The sums of each process of a session as of the last drain, those with the most bytes first.
    pub fn processes(&self, id: &SessionId) -> Vec<Process> {
        self.sessions.get(id).map(|session| session.ledger.processes()).unwrap_or_default()
    }

    /// Name of the folder of a cgroup that a counted socket belongs to, also when it is gone.
    pub fn container_folder(&self, cgroup: u64) -> Option<String> {
        self.tracer.as_ref()?.folders().ok()?.get(cgroup).map(|folder| folder.name)
    }
}
