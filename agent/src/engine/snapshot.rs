//! Snapshots of a session's counts.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{Engine, Losses, SessionId, losses::losses};
use crate::{
    flows::{Ledger, Process, Row, Totals},
    kernel::{Tracer, Unseen},
};

/// A snapshot that follows a drain within this time does not drain again.
const FRESH: Duration = Duration::from_millis(20);

/// Maximum number of levels of a cgroup's path, deeper than any runtime nests. The kernel programs stop at the same
/// depth.
const MAX_DEPTH: usize = 32;

/// Counts of a session.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Sums of all traffic.
    pub totals: Totals,
    /// Received bytes per second of all flows in the last interval.
    pub rx_bytes_per_second: u64,
    /// Sent bytes per second of all flows in the last interval.
    pub tx_bytes_per_second: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// The largest rows, the one with the most bytes first.
    pub rows: Vec<Row>,
    /// Number of all rows.
    pub rows_total: usize,
    /// Events and bytes that are missing in the rows, or have lost their process and peer.
    pub losses: Losses,
    /// Number of slots of the kernel's flow table, which all sessions share.
    pub slots: usize,
    /// Number of slots in use. A closed flow keeps its slot for about a second.
    pub slots_in_use: usize,
    /// Name of the hook tier that counted.
    pub hook_tier: &'static str,
    /// Set if sockets older than the session were looked for in all processes of the machine.
    pub older_sockets_found: bool,
    /// Traffic that is not seen on this machine.
    pub not_seen: Vec<&'static Unseen>,
    /// Time since the last snapshot, over which the rates are computed.
    pub interval: Duration,
}

impl Engine {
    /// Returns the `top` largest rows of a session and its sums, up to now.
    pub fn snapshot(&mut self, id: &SessionId, top: usize) -> Option<Snapshot> {
        self.ranked(id, |ledger, interval| ledger.rank(top, interval))
    }

    /// Returns a snapshot like [`Self::snapshot`], with the rows beyond the `top` largest folded into rows by process,
    /// so that the rows add up to the totals.
    pub fn snapshot_folded(&mut self, id: &SessionId, top: usize) -> Option<Snapshot> {
        self.ranked(id, |ledger, interval| ledger.rank_folded(top, interval))
    }

    fn ranked(
        &mut self,
        id: &SessionId,
        rank: impl FnOnce(&mut Ledger, Duration) -> Vec<Row>,
    ) -> Option<Snapshot> {
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
            rows: rank(&mut session.ledger, interval),
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

    /// Returns the sums of each process of a session at the last drain, those with the most bytes first.
    pub fn processes(&self, id: &SessionId) -> Vec<Process> {
        self.sessions.get(id).map(|session| session.ledger.processes()).unwrap_or_default()
    }

    /// Returns the folder name of a cgroup that has or had a counted socket, even after its removal.
    pub fn container_folder(&self, cgroup: u64) -> Option<String> {
        self.tracer.as_ref()?.folders().ok()?.get(cgroup).map(|folder| folder.name)
    }

    /// Returns the path of a cgroup that has or had a counted socket, relative to the root of the tree, even after its
    /// removal. Folders are only known from the selected cgroup on, so the result is `None` unless the root is selected.
    pub fn cgroup_path(&self, cgroup: u64) -> Option<PathBuf> {
        let tracer = self.tracer.as_ref()?;
        let folders = tracer.folders().ok()?;
        let (mut names, mut level) = (Vec::new(), cgroup);
        for _ in 0..MAX_DEPTH {
            let folder = folders.get(level)?;
            if folder.parent == 0 {
                return Some(names.iter().rev().collect());
            }
            names.push(folder.name);
            level = folder.parent;
        }
        None
    }
}
