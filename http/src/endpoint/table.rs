//! The rows of all owners.

mod owner;
#[cfg(test)]
mod properties;
mod span;
#[cfg(test)]
mod tests;

use std::hash::Hash;

use hashbrown::HashMap;
use owner::{Endpoints, Entry};
use span::Span;

use super::row::{Key, order};
use super::{Counts, OTHER, Row, Totals, Unobserved, method, normalise_host, path};
use crate::{Exchange, Reason};

/// Maximum number of rows of a table, without the `{other}` rows. Of those there is at most one for each owner, side
/// and protocol.
pub const MAX_ROWS: usize = 2_000;

/// Maximum number of rows of an owner, without its `{other}` rows.
pub const MAX_OWNER_ROWS: usize = 500;

/// Maximum number of hosts of an owner.
pub const MAX_HOSTS: usize = 64;

/// Maximum number of owners of a table.
pub const MAX_OWNERS: usize = 1_000;

/// When there are [`MAX_OWNERS`] owners and another one comes, one owner in this many is folded into [`Table::rest`].
const FOLDED_OWNERS: usize = 4;

/// Counts of exchanges by owner and endpoint, since the table began and in the current interval (see
/// [`Self::take_interval`]).
///
/// # Bounds
///
/// When a limit is reached, the rows with the fewest requests are folded, so that a scanner which sends random paths or
/// hosts does not affect the busy endpoints:
///
/// * An owner has [`MAX_OWNER_ROWS`] rows: the half with the fewest requests is added to its `{other}` rows (of the
///   same side and protocol).
/// * An owner has [`MAX_HOSTS`] hosts: the half with the fewest requests is replaced by `{other}`.
/// * A table has [`MAX_ROWS`] rows: the half with the fewest requests, of the owner with the most rows, is added to its
///   `{other}` rows.
/// * A table has [`MAX_OWNERS`] owners: the quarter with the fewest requests is added to [`Self::rest`].
///
/// A folded endpoint that is requested again gets a new row, which is marked as not complete. An owner whose process or
/// container has ended keeps its rows.
#[derive(Debug)]
pub struct Table<Owner> {
    /// Rows by owner.
    owners: HashMap<Owner, Endpoints>,
    /// Number of rows, without the `{other}` rows.
    named: usize,
    /// Number of owners that appeared so far, from which each owner gets its number.
    owners_seen: u64,
    /// True if an owner without rows may have had exchanges before: owners were folded, or [`Self::restore_rest`] added
    /// exchanges.
    folded: bool,
    /// Counts of the exchanges of owners that were folded.
    rest: Span<Counts>,
    /// Sums of all exchanges of the table.
    totals: Span<Totals>,
    /// Buffer for a folded path, reused from exchange to exchange.
    path: String,
}

/// Counts of the time between two calls of [`Table::take_interval`].
#[derive(Debug, Clone)]
pub struct Interval<Owner> {
    /// Rows with requests in the interval, those with the most requests first.
    pub rows: Vec<Row<Owner>>,
    /// Counts of owners that have no rows because they were folded.
    pub rest: Counts,
    /// Sums of all exchanges in the interval.
    pub totals: Totals,
}

impl<Owner> Default for Table<Owner> {
    fn default() -> Self {
        Self {
            owners: HashMap::new(),
            named: 0,
            owners_seen: 0,
            folded: false,
            rest: Span::default(),
            totals: Span::default(),
            path: String::new(),
        }
    }
}

impl<Owner: Clone + Eq + Hash> Table<Owner> {
    /// Counts an exchange of an owner.
    pub fn record(&mut self, owner: &Owner, exchange: &Exchange) {
        self.totals.now().sums.record(exchange);
        // The buffer is moved out of the table while [`Self::update`] borrows the table.
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        path::fold_into(&exchange.path, &mut path);
        let host = normalise_host(&exchange.host);
        let key = Key {
            side: exchange.side,
            protocol: exchange.protocol,
            method: method::normalise(&exchange.method),
            host: &host,
            path: &path,
        };
        self.update(owner, &key, |entry| entry.counts.now().record(exchange));
        self.path = path;
    }

    /// Counts exchanges that were not observed.
    pub fn unobserved(&mut self, reason: Reason, count: u64) {
        self.totals.now().unobserved.record(reason, count);
    }

    /// Counts events that the kernel could not hand over.
    pub fn lost_events(&mut self, count: u64) {
        let lost = &mut self.totals.now().unobserved.lost_events;
        *lost = lost.saturating_add(count);
    }

    /// Adds a row that was counted before this table began, such as one of the last report before a restart. The row
    /// belongs to no interval.
    pub fn restore(&mut self, row: &Row<Owner>) {
        self.totals.before().sums.merge(&row.counts.sums);
        self.update(&row.owner, &row.endpoint.key(), |entry| {
            entry.counts.before().merge(&row.counts);
            entry.complete &= row.complete;
            entry.restored = true;
        });
    }

    /// Adds the counts from before this table began that are in no restored row. [`Self::restore`] must be called for
    /// all rows before. The durations in `rest` may be missing. If `rest` has requests, rows that were not restored are
    /// not complete, including later ones.
    pub fn restore_rest(&mut self, rest: &Counts, unobserved: &Unobserved) {
        let totals = self.totals.before();
        totals.sums.merge(&rest.sums);
        totals.unobserved.merge(unobserved);
        self.rest.before().merge(rest);
        if rest.requests() > 0 {
            self.folded = true;
            self.owners.values_mut().for_each(Endpoints::lack_earlier);
        }
    }

    /// Returns the sums of everything since the table began, with what was restored.
    pub fn totals(&self) -> Totals {
        self.totals.all()
    }

    /// Returns the counts, since the table began, of owners that have no rows because they were folded.
    pub fn rest(&self) -> Counts {
        self.rest.all()
    }

    /// Returns the number of rows, including the `{other}` rows.
    pub fn len(&self) -> usize {
        self.owners.values().map(Endpoints::len).sum()
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the approximate number of bytes on the heap, without memory that the values of type `Owner` hold.
    pub fn memory(&self) -> usize {
        self.owners.capacity() * size_of::<(Owner, Endpoints)>()
            + self.owners.values().map(Endpoints::memory).sum::<usize>()
    }

    /// Returns the rows with the most requests since the table began, at most `count`. Rows with equal numbers of
    /// requests are ordered by endpoint, and then by the order in which their owners appeared.
    pub fn top(&self, count: usize) -> Vec<Row<Owner>> {
        let mut rows: Vec<_> = self
            .owners
            .iter()
            .flat_map(|(owner, endpoints)| {
                endpoints
                    .iter()
                    .map(move |(endpoint, entry)| (entry.requests(), endpoint, owner, endpoints, entry))
            })
            .collect();
        rows.sort_unstable_by(|one, two| {
            order((one.0, one.1), (two.0, two.1)).then_with(|| one.3.sequence().cmp(&two.3.sequence()))
        });
        rows.truncate(count);
        rows.into_iter()
            .map(|(_, endpoint, owner, _, entry)| Row {
                owner: owner.clone(),
                endpoint: endpoint.clone(),
                counts: entry.counts.all(),
                complete: entry.complete,
            })
            .collect()
    }

    /// Returns the counts since the last call, or since the table began, and starts a new interval. Does not change the
    /// counts since the table began.
    pub fn take_interval(&mut self) -> Interval<Owner> {
        let mut rows = Vec::new();
        for (owner, endpoints) in &mut self.owners {
            let sequence = endpoints.sequence();
            for (endpoint, entry) in endpoints.iter_mut() {
                let counts = entry.counts.take();
                if counts.requests() > 0 {
                    let (owner, endpoint) = (owner.clone(), endpoint.clone());
                    rows.push((sequence, Row { owner, endpoint, counts, complete: entry.complete }));
                }
            }
        }
        rows.sort_unstable_by(|(one_sequence, one), (two_sequence, two)| {
            order((one.counts.requests(), &one.endpoint), (two.counts.requests(), &two.endpoint))
                .then_with(|| one_sequence.cmp(two_sequence))
        });
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        Interval { rows, rest: self.rest.take(), totals: self.totals.take() }
    }

    /// Folds the rows with the fewest requests if there is no room for another row of this owner with this host.
    fn make_room(&mut self, owner: &Owner, host: &str) {
        if let Some(endpoints) = self.owners.get_mut(owner) {
            let before = endpoints.named();
            endpoints.make_room(host);
            self.named -= before - endpoints.named();
        }
        if self.named >= MAX_ROWS
            && let Some(largest) = self
                .owners
                .values_mut()
                .max_by_key(|endpoints| (endpoints.named(), std::cmp::Reverse(endpoints.sequence())))
        {
            let before = largest.named();
            largest.fold_rows();
            self.named -= before - largest.named();
        }
    }

    /// Folds the quarter of the owners with the fewest requests into [`Self::rest`]. Of owners with equal numbers of
    /// requests, the newest are folded first.
    fn fold_owners(&mut self) {
        self.folded = true;
        let mut owners: Vec<_> = self
            .owners
            .iter()
            .map(|(owner, endpoints)| {
                (endpoints.requests(), std::cmp::Reverse(endpoints.sequence()), owner.clone())
            })
            .collect();
        owners.sort_unstable_by_key(|(requests, sequence, _)| (*requests, *sequence));
        for (_, _, owner) in owners.into_iter().take(MAX_OWNERS / FOLDED_OWNERS) {
            if let Some(endpoints) = self.owners.remove(&owner) {
                self.named -= endpoints.named();
                for (_, entry) in endpoints.iter() {
                    self.rest.merge(&entry.counts);
                }
            }
        }
    }

    /// Updates the entry of an owner's endpoint, which is created if it does not exist.
    fn update(&mut self, owner: &Owner, key: &Key<'_>, update: impl FnOnce(&mut Entry)) {
        if let Some(endpoints) = self.owners.get_mut(owner)
            && let Some(entry) = endpoints.find(key)
        {
            update(entry);
            return;
        }
        if !self.owners.contains_key(owner) && self.owners.len() >= MAX_OWNERS {
            self.fold_owners();
        }
        // An `{other}` row does not count against the limits.
        if key.path != OTHER {
            self.make_room(owner, key.host);
            self.named += 1;
        }
        let endpoints = self.owners.entry(owner.clone()).or_insert_with(|| {
            self.owners_seen += 1;
            Endpoints::new(self.owners_seen, self.folded)
        });
        update(endpoints.insert(key));
    }
}
