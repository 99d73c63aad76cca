//! The rows and totals of one session.

mod entry;

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    time::Duration,
};

use hashbrown::HashTable;

use self::entry::{Entry, rate};
use super::{Counters, Direction, GroupBy, Key, Process, Row, Totals};

/// Maximum number of rows by process into which [`Ledger::rank_folded`] folds flows, and of rows by cgroup.
const FOLDED: usize = 2000;

/// Number of a row in its ledger. Valid while a flow holds the row, see [`Ledger::hold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowId(u32);

/// A row with counts from before this process began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Name of the row.
    pub key: Key,
    /// Counts of the row.
    pub totals: Totals,
}

/// Changes of the connection counts by a new flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opening {
    /// Number of connections that were not counted before: 1 if the flow represents one.
    pub connections: u64,
    /// Set if that connection is older than the session. An earlier session that this one continues has then counted
    /// it.
    pub older: bool,
    /// Number of connections that could not be opened: 1 if the flow represents one.
    pub failures: u64,
    /// Set if the flow represents an open connection, until it is closed.
    pub open: bool,
}

/// The rows and totals of one session. The sum of the rows equals the totals.
#[derive(Debug)]
pub struct Ledger {
    group_by: GroupBy,
    max_rows: usize,
    entries: Vec<Entry>,
    /// Indices of `entries` that hold no row.
    vacant: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: RandomState,
    /// Rows that no flow holds any more, in the order in which the last flow left them.
    closed: VecDeque<u32>,
    totals: Totals,
    /// Received and sent bytes at the beginning of the interval.
    bytes_before: (u64, u64),
    connections_open: u64,
    /// Number of the interval, which is the time from one call of [`Self::rank`] or [`Self::rank_folded`] to the next.
    interval: u32,
}

impl Ledger {
    /// Creates an empty ledger that keeps about `max_rows` rows. Beyond that, the rows that closed first are folded
    /// into one row for each process and protocol.
    pub fn new(group_by: GroupBy, max_rows: usize) -> Self {
        Self {
            group_by,
            max_rows,
            entries: Vec::new(),
            vacant: Vec::new(),
            by_key: HashTable::new(),
            hasher: RandomState::new(),
            closed: VecDeque::new(),
            totals: Totals::default(),
            bytes_before: (0, 0),
            connections_open: 0,
            interval: 1,
        }
    }

    /// Continues from earlier counts: `totals` in all, of which `rows` are known. This may be called after the session
    /// has begun to count. Connections older than the session are then in the earlier counts and in its own, so the
    /// session's own count of them is removed.
    pub fn seed(&mut self, totals: &Totals, rows: impl IntoIterator<Item = Seed>) {
        for entry in &mut self.entries {
            let older = std::mem::take(&mut entry.older);
            entry.totals.connections -= older;
            self.totals.connections -= older;
        }
        self.totals.add(totals);
        self.bytes_before.0 += totals.rx_bytes;
        self.bytes_before.1 += totals.tx_bytes;
        for row in rows {
            let id = self.find_or_add(row.key, false);
            let entry = &mut self.entries[id as usize];
            entry.totals.add(&row.totals);
            entry.rx_before += row.totals.rx_bytes;
            entry.tx_before += row.totals.tx_bytes;
            self.settle(id);
        }
    }

    /// Returns the row of a flow. The flow may add to the row until [`Self::release`].
    pub fn hold(&mut self, key: Key) -> RowId {
        let id = self.find_or_add(key.grouped(self.group_by), false);
        let entry = &mut self.entries[id as usize];
        entry.open += 1;
        entry.held += 1;
        RowId(id)
    }

    /// Adds a new flow's connection counts to its row.
    pub fn open(&mut self, row: RowId, opening: Opening) {
        let Opening { connections, older, failures, open } = opening;
        self.book(row.0, &Totals { connections, connect_failures: failures, ..Totals::default() });
        let entry = &mut self.entries[row.0 as usize];
        entry.connections_open += u64::from(open);
        entry.older += if older { connections } else { 0 };
        self.connections_open += u64::from(open);
    }

    /// Records that a flow of the row has closed, and with it a `connection` if set. Bytes under way may still be
    /// added.
    pub fn close(&mut self, row: RowId, connection: bool) {
        let entry = &mut self.entries[row.0 as usize];
        entry.open = entry.open.saturating_sub(1);
        entry.connections_open = entry.connections_open.saturating_sub(u64::from(connection));
        self.connections_open = self.connections_open.saturating_sub(u64::from(connection));
    }

    /// Records that a flow will not add to the row again.
    pub fn release(&mut self, row: RowId) {
        let entry = &mut self.entries[row.0 as usize];
        entry.held = entry.held.saturating_sub(1);
        self.settle(row.0);
    }

    /// Adds traffic of a flow to its row. `rtt_us` is the round-trip time in microseconds, 0 if unknown.
    pub fn add(&mut self, row: RowId, moved: &Counters, rtt_us: u32) {
        let mut sum = Totals::default();
        sum.add_moved(moved);
        if rtt_us != 0 {
            self.entries[row.0 as usize].rtt_us = rtt_us;
        }
        self.book(row.0, &sum);
    }

    /// Adds traffic of flows without a slot to the folded row with this name.
    pub fn add_folded(&mut self, key: Key, sum: &Totals) {
        let id = self.find_or_add(key, true);
        self.book(id, sum);
    }

    /// Sums of all rows, including those that are not shown.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Received and sent bytes per second of all rows since the last call of [`Self::rank`], which was `elapsed` ago.
    pub fn rates(&self, elapsed: Duration) -> (u64, u64) {
        let (rx, tx) = self.bytes_before;
        (rate(self.totals.rx_bytes - rx, elapsed), rate(self.totals.tx_bytes - tx, elapsed))
    }

    /// Number of connections that are open now.
    pub fn connections_open(&self) -> u64 {
        self.connections_open
    }

    /// Returns the sums of each process, those with the most bytes first. Visits every row.
    pub fn processes(&self) -> Vec<Process> {
        let mut sums: HashMap<(u32, [u8; 16]), (Totals, u64)> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| !entry.vacant) {
            let (totals, open) = sums.entry((entry.key.pid, entry.key.command)).or_default();
            totals.add(&entry.totals);
            *open += entry.connections_open;
        }
        let process =
            |((pid, command), (totals, connections_open))| Process { pid, command, totals, connections_open };
        let mut processes: Vec<_> = sums.into_iter().map(process).collect();
        processes.sort_unstable_by(|a, b| b.totals.bytes().cmp(&a.totals.bytes()).then(a.pid.cmp(&b.pid)));
        processes
    }

    /// Returns the sums of the rows by their value of `name`. Visits every row.
    pub fn sums<N: Hash + Eq>(&self, name: impl Fn(&Key) -> N) -> HashMap<N, Totals> {
        let mut sums: HashMap<N, Totals> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| !entry.vacant) {
            sums.entry(name(&entry.key)).or_default().add(&entry.totals);
        }
        sums
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Returns the `top` rows with the most bytes since the session began, largest first. Their rates are over the
    /// `elapsed` time since the last call. Begins a new interval.
    pub fn rank(&mut self, top: usize, elapsed: Duration) -> Vec<Row> {
        self.largest(top, elapsed).0
    }

    /// Returns the rows as [`Self::rank`] does, and after them the others, folded into one row for each process,
    /// protocol and direction. Of more than [`FOLDED`] such rows, the smaller ones are folded by cgroup instead, and of
    /// those as many are returned. Unless there are even more, the returned rows add up to the totals, in bytes and in
    /// number of flows.
    pub fn rank_folded(&mut self, top: usize, elapsed: Duration) -> Vec<Row> {
        let (mut rows, others) = self.largest(top, elapsed);
        // [`Self::largest`] has begun a new interval. The rates of the other rows are those of the interval that it
        // ended.
        let interval = self.interval.wrapping_sub(1);
        let others = others.into_iter().map(|(_, id)| self.entries[id as usize].show(interval, elapsed));
        let mut processes = fold(others, |key| Key { direction: key.direction, ..key.of_process() });
        let rest = processes.split_off(processes.len().min(FOLDED));
        rows.extend(processes);
        let mut cgroups = fold(rest.into_iter(), |key| Key {
            caller_cgroup: key.cgroup,
            pid: 0,
            container_pid: 0,
            command: [0; 16],
            ..key
        });
        cgroups.truncate(FOLDED);
        rows.extend(cgroups);
        rows
    }

    /// Returns the largest rows, and the bytes and indices of the others. Begins a new interval.
    fn largest(&mut self, top: usize, elapsed: Duration) -> (Vec<Row>, Vec<(u64, u32)>) {
        // Entries are visited in the order of memory. In the order of `by_key`, every row would be a cache miss.
        let rows = self.entries.iter().zip(0u32..).filter(|(entry, _)| !entry.vacant);
        let mut order: Vec<(u64, u32)> = rows.map(|(entry, id)| (entry.totals.bytes(), id)).collect();
        // Of rows with the same bytes, the one with the smaller index comes first, also where the list is cut off, so
        // that the shown table does not flicker.
        let largest = |a: &(u64, u32), b: &(u64, u32)| b.0.cmp(&a.0).then(a.1.cmp(&b.1));
        if order.len() > top && top > 0 {
            order.select_nth_unstable_by(top - 1, largest);
        }
        let others = order.split_off(top.min(order.len()));
        order.sort_unstable_by(largest);
        let rows =
            order.into_iter().map(|(_, id)| self.entries[id as usize].show(self.interval, elapsed)).collect();
        self.interval = self.interval.wrapping_add(1);
        self.bytes_before = (self.totals.rx_bytes, self.totals.tx_bytes);
        (rows, others)
    }

    fn find_or_add(&mut self, key: Key, folded: bool) -> u32 {
        let Self { entries, vacant, by_key, hasher, .. } = self;
        let hash = hasher.hash_one((&key, folded));
        let same = |id: &u32| {
            let entry = &entries[*id as usize];
            entry.folded == folded && entry.key == key
        };
        if let Some(id) = by_key.find(hash, same) {
            return *id;
        }
        let entry = Entry::new(key, folded);
        let id = if let Some(id) = vacant.pop() {
            entries[id as usize] = entry;
            id
        } else {
            entries.push(entry);
            (entries.len() - 1) as u32
        };
        by_key.insert_unique(hash, id, |id| {
            let entry = &entries[*id as usize];
            hasher.hash_one((&entry.key, entry.folded))
        });
        id
    }

    /// Adds to a row and to the totals. At a row's first change in an interval, keeps the row's bytes before it, from
    /// which rates are computed.
    fn book(&mut self, id: u32, sum: &Totals) {
        let entry = &mut self.entries[id as usize];
        if entry.interval != self.interval {
            entry.interval = self.interval;
            entry.rx_before = entry.totals.rx_bytes;
            entry.tx_before = entry.totals.tx_bytes;
        }
        entry.totals.add(sum);
        self.totals.add(sum);
        if entry.key.direction == Direction::Unknown && entry.key.local_address.is_some() {
            self.totals.unknown_direction_bytes += sum.bytes();
        }
    }

    /// Queues a row that no flow holds any more, and folds the rows that closed first if there are more than
    /// `max_rows`.
    fn settle(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        if entry.held == 0 && !entry.queued && !entry.folded {
            entry.queued = true;
            self.closed.push_back(id);
        }
        while self.by_key.len() > self.max_rows {
            let Some(oldest) = self.closed.pop_front() else { break };
            let entry = &mut self.entries[oldest as usize];
            entry.queued = false;
            if entry.held == 0 {
                self.fold(oldest);
            }
        }
    }

    /// Adds a row to the folded row of its process and protocol, and removes it.
    fn fold(&mut self, id: u32) {
        let Entry { key, totals, older, .. } = self.entries[id as usize];
        let hash = self.hasher.hash_one((&key, false));
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == id) {
            found.remove();
            self.vacant.push(id);
            let entry = &mut self.entries[id as usize];
            (entry.vacant, entry.older) = (true, 0);
        }
        let target = self.find_or_add(key.of_process(), true);
        let target = &mut self.entries[target as usize];
        target.totals.add(&totals);
        target.older += older;
    }
}

/// Folds rows into one row for each key that `key_of` makes of theirs. The rows with the most bytes come first; rows with
/// the same bytes have a fixed order, so that a list that is cut does not flicker.
fn fold(rows: impl Iterator<Item = Row>, key_of: impl Fn(Key) -> Key) -> Vec<Row> {
    // The faster hash matters: there can be 100,000 rows each second.
    let mut folded: hashbrown::HashMap<Key, Row> = hashbrown::HashMap::new();
    for row in rows {
        let key = key_of(row.key);
        folded.entry(key).and_modify(|sum| sum.add(&row)).or_insert(Row {
            key,
            rtt_us: 0,
            folded: true,
            ..row
        });
    }
    let mut folded: Vec<Row> = folded.into_values().collect();
    folded.sort_unstable_by_key(|row| {
        let Key { cgroup, pid, protocol, direction, .. } = row.key;
        (Reverse(row.totals.bytes()), cgroup, pid, protocol as u8, direction as u8)
    });
    folded
}

#[cfg(test)]
mod tests;
