//! The requests of one session: sums by endpoint, and each single request if the session asked for it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use hashbrown::HashMap;
use traffictrace_http::{
    Exchange, Reason,
    endpoint::{Counts, Interval, Row, Table, Totals, Unobserved},
};

use crate::kernel::HttpLost;

/// Maximum number of exchanges that wait for [`HttpLedger::take_exchanges`]. Further ones are only counted.
const MOST_WAITING: usize = 200_000;
/// Maximum number of cgroups for which [`HttpLedger::miss_slot`] counts. The counts of further cgroups are dropped.
const MOST_CGROUPS: usize = 4096;
/// Maximum number of processes kept as users of TLS.
const MOST_TLS_PROCESSES: usize = 1024;

/// The container and program whose exchanges a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HttpOwner {
    /// Id of the container's cgroup, as in the rows of flows.
    pub cgroup: u64,
    /// Name of the process that used the socket, padded with zeroes; all zeroes if it is not known.
    pub command: [u8; 16],
}

/// An exchange and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpExchange {
    /// The container and the program that used the socket.
    pub owner: HttpOwner,
    /// Process id as seen from the host; 0 if it is not known.
    pub pid: u32,
    /// Process id as the process itself sees it; 0 if it is not known.
    pub container_pid: u32,
    /// Address and port of the traced socket.
    pub local: (IpAddr, u16),
    /// Address and port of its peer.
    pub remote: (IpAddr, u16),
    /// Set if the exchange was read as plain text of TLS.
    pub tls: bool,
    /// The exchange.
    pub exchange: Exchange,
}

/// Requests of a session that could not be observed, except those for which the parser gives a reason ([`Reason`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpMissing {
    /// Losses between the kernel and user space.
    pub lost: HttpLost,
    /// Connections that were not followed because there were too many at once.
    pub connections: u64,
    /// Exchanges that are in the sums but were not kept for [`HttpLedger::take_exchanges`].
    pub not_listed: u64,
    /// Upper bound of the exchanges whose flow found no room in the flow table, so that it is unknown whether the
    /// session wants them.
    pub without_flow: u64,
    /// Exchanges under way now, which are in no sum yet.
    pub under_way: u64,
}

/// The parts of [`HttpMissing`] that the ledger itself does not know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beside {
    pub(super) lost: HttpLost,
    pub(super) without_flow: u64,
    pub(super) under_way: u64,
}

/// A session's requests so far.
#[derive(Debug, Clone)]
pub struct HttpSnapshot {
    /// Sums of all requests.
    pub totals: Totals,
    /// The endpoints with the most requests.
    pub rows: Vec<Row<HttpOwner>>,
    /// Number of all rows.
    pub rows_total: usize,
    /// Requests that are in no row.
    pub missing: HttpMissing,
    /// The processes that use TLS, whether or not the session asked for plain text.
    pub tls: Vec<TlsProcess>,
}

/// A process that uses TLS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsProcess {
    /// The container and the program.
    pub owner: HttpOwner,
    /// Process id as seen from the host.
    pub pid: u32,
    /// The library with its version, such as `OpenSSL 3.0.19` or `Go crypto/tls (go1.26.0)`; empty if it is not known.
    pub library: String,
    /// Set if the plain text of the process is read.
    pub readable: bool,
    /// A sentence that says why plain text is missing, wholly or in part; empty if nothing is missing.
    pub reason: String,
}

/// A session's requests since the last call of `Engine::take_http_interval`.
#[derive(Debug)]
pub struct HttpInterval {
    /// The endpoints' requests in the interval.
    pub interval: Interval<HttpOwner>,
    /// Requests that are missing since the session began.
    pub missing: HttpMissing,
}

/// The requests of one session.
#[derive(Debug)]
pub(in super::super) struct HttpLedger {
    table: Table<HttpOwner>,
    /// Exchanges for [`Self::take_exchanges`]; `None` if the session did not ask for them.
    waiting: Option<VecDeque<HttpExchange>>,
    not_listed: u64,
    connections_missing: u64,
    /// Number of exchanges that were not counted because their flow has no slot, by cgroup of the socket.
    without_slot: HashMap<u64, u64>,
    /// Losses from before the session began, by cgroup.
    lost_before: BTreeMap<u64, HttpLost>,
    /// The processes that use TLS, by id.
    tls: BTreeMap<u32, TlsSpeaker>,
}

/// A process that uses TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsSpeaker {
    pub(super) owner: HttpOwner,
    /// Number of connections that ended without any plain text.
    pub(super) unread: u64,
}

impl HttpLedger {
    /// Creates an empty ledger. With `each`, single exchanges are kept as well. `lost_before` has the losses so far, by
    /// cgroup.
    pub(super) fn new(each: bool, lost_before: BTreeMap<u64, HttpLost>) -> Self {
        Self {
            table: Table::default(),
            waiting: each.then(VecDeque::new),
            not_listed: 0,
            connections_missing: 0,
            without_slot: HashMap::new(),
            lost_before,
            tls: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, exchange: HttpExchange) {
        self.table.record(&exchange.owner, &exchange.exchange);
        match &mut self.waiting {
            Some(waiting) if waiting.len() < MOST_WAITING => waiting.push_back(exchange),
            Some(_) => self.not_listed += 1,
            None => {}
        }
    }

    /// Adds counts from before this process began: rows, and the rest that no row has.
    pub(super) fn seed(&mut self, rows: &[Row<HttpOwner>], rest: &Counts) {
        for row in rows {
            self.table.restore(row);
        }
        self.table.restore_rest(rest, &Unobserved::default());
    }

    pub(super) fn unobserved(&mut self, reason: Reason, count: u64) {
        self.table.unobserved(reason, count);
    }

    /// Counts a connection that is not followed.
    pub(super) fn miss_connection(&mut self) {
        self.connections_missing += 1;
    }

    /// Counts exchanges whose flow has no slot, either because the session does not want the flow or because the flow
    /// table had no room.
    pub(super) fn miss_slot(&mut self, cgroup: u64, count: u64) {
        if self.without_slot.len() < MOST_CGROUPS || self.without_slot.contains_key(&cgroup) {
            *self.without_slot.entry(cgroup).or_default() += count;
        }
    }

    /// Number of exchanges at sockets of this cgroup that were not counted because their flow has no slot.
    pub(super) fn without_slot(&self, cgroup: u64) -> u64 {
        self.without_slot.get(&cgroup).copied().unwrap_or_default()
    }

    /// Records that a process uses TLS.
    pub(super) fn speaks_tls(&mut self, pid: u32, owner: HttpOwner) {
        let has_room = self.tls.len() < MOST_TLS_PROCESSES;
        match self.tls.get_mut(&pid) {
            // The process id now belongs to another program, or to a process in another container.
            Some(speaker) if speaker.owner != owner => *speaker = TlsSpeaker { owner, unread: 0 },
            Some(_) => {}
            None if has_room => {
                self.tls.insert(pid, TlsSpeaker { owner, unread: 0 });
            }
            None => {}
        }
    }

    /// Counts a connection of this process that ended without any plain text.
    pub(super) fn is_unread(&mut self, pid: u32) {
        if let Some(speaker) = self.tls.get_mut(&pid) {
            speaker.unread += 1;
        }
    }

    /// Returns the processes that use TLS.
    pub(super) fn tls_speakers(&self) -> impl Iterator<Item = (u32, TlsSpeaker)> {
        self.tls.iter().map(|(pid, speaker)| (*pid, *speaker))
    }

    pub(super) fn take_exchanges(&mut self) -> Vec<HttpExchange> {
        self.waiting.as_mut().map(|waiting| waiting.drain(..).collect()).unwrap_or_default()
    }

    /// Returns the losses of a cgroup since the session began.
    pub(super) fn lost_since(&self, cgroup: u64, now: &HttpLost) -> HttpLost {
        now.since(&self.lost_before.get(&cgroup).copied().unwrap_or_default())
    }

    pub(super) fn snapshot(&self, top: usize, beside: Beside, tls: Vec<TlsProcess>) -> HttpSnapshot {
        HttpSnapshot {
            totals: self.table.totals(),
            rows: self.table.top(top),
            rows_total: self.table.len(),
            missing: self.missing(beside),
            tls,
        }
    }

    pub(super) fn take_interval(&mut self, beside: Beside) -> HttpInterval {
        HttpInterval { interval: self.table.take_interval(), missing: self.missing(beside) }
    }

    fn missing(&self, Beside { lost, without_flow, under_way }: Beside) -> HttpMissing {
        let (connections, not_listed) = (self.connections_missing, self.not_listed);
        HttpMissing { lost, connections, not_listed, without_flow, under_way }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_the_last_process_which_had_it() {
        let mut ledger = HttpLedger::new(false, BTreeMap::new());
        let owner = |cgroup| HttpOwner { cgroup, command: [0; 16] };
        ledger.speaks_tls(5, owner(1));
        ledger.is_unread(5);
        ledger.speaks_tls(5, owner(1));
        let speaker = |ledger: &HttpLedger| ledger.tls_speakers().next().map(|(_, of)| (of.owner, of.unread));
        assert_eq!(speaker(&ledger), Some((owner(1), 1)));
        ledger.speaks_tls(5, owner(2));
        assert_eq!(speaker(&ledger), Some((owner(2), 0)));
    }
}
