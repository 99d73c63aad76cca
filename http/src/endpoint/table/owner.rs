//! The rows of one owner in a [`super::Table`].

use std::cmp::Reverse;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::span::Span;
use super::{MAX_HOSTS, MAX_OWNER_ROWS};
use crate::endpoint::row::Key;
use crate::endpoint::{Counts, Endpoint, INVALID, OTHER};

/// The counts of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Counts of the exchanges.
    pub counts: Span<Counts>,
    /// True if the counts include every exchange of the endpoint.
    pub complete: bool,
    /// True if counts from before the table began were added ([`super::Table::restore`]).
    pub restored: bool,
    /// Number of the entry in the order in which the owner's entries were created.
    sequence: u64,
}

impl Entry {
    /// Returns the number of requests since the table began.
    pub(super) fn requests(&self) -> u64 {
        self.counts.requests()
    }
}

/// The endpoints of one owner.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// Counts by endpoint.
    entries: HashMap<Endpoint, Entry>,
    /// Hosts of the endpoints, without the placeholders and the empty host (see [`is_particular`]).
    hosts: HashSet<Arc<str>>,
    /// Number of `{other}` endpoints among the entries.
    others: usize,
    /// Number of the owner in the order in which owners appeared.
    sequence: u64,
    /// Number of entries that were created so far; the newest one has it as its [`Entry::sequence`].
    entries_seen: u64,
    /// True if an endpoint that has no entry now may have had exchanges before, so that a new entry is not complete.
    folded: bool,
}

impl Endpoints {
    /// Creates a new owner without endpoints.
    pub(super) fn new(sequence: u64, folded: bool) -> Self {
        Self { entries: HashMap::new(), hosts: HashSet::new(), others: 0, sequence, entries_seen: 0, folded }
    }

    /// Returns the number of the owner in the order in which owners appeared.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of rows, without the `{other}` rows.
    pub(super) fn named(&self) -> usize {
        self.entries.len() - self.others
    }

    /// Returns the number of requests since the table began.
    pub(super) fn requests(&self) -> u64 {
        self.entries.values().fold(0, |sum, entry| sum.saturating_add(entry.requests()))
    }

    /// Returns the rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Endpoint, &Entry)> {
        self.entries.iter()
    }

    /// Returns the rows, whose counts the caller may change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Endpoint, &mut Entry)> {
        self.entries.iter_mut()
    }

    /// Returns the approximate number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<(Endpoint, Entry)>()
            + self.hosts.iter().map(|host| size_of::<Arc<str>>() + host.len()).sum::<usize>()
            + self.iter().map(|(endpoint, entry)| endpoint.path.len() + entry.counts.memory()).sum::<usize>()
    }

    /// Returns the entry of an endpoint, if there is one.
    pub(super) fn find(&mut self, key: &Key<'_>) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// Marks entries that were not restored, and future ones, as not complete: they may have had exchanges before the
    /// table began.
    pub(super) fn lack_earlier(&mut self) {
        self.folded = true;
        for entry in self.entries.values_mut() {
            entry.complete &= entry.restored;
        }
    }

    /// Returns the entry of an endpoint, which is created if it does not exist. The caller calls [`Self::make_room`]
    /// before.
    pub(super) fn insert(&mut self, key: &Key<'_>) -> &mut Entry {
        let host = match self.hosts.get(key.host) {
            Some(host) => Arc::clone(host),
            None => {
                let host = Arc::from(key.host);
                if is_particular(key.host) {
                    self.hosts.insert(Arc::clone(&host));
                }
                host
            }
        };
        let Key { side, protocol, method, path, .. } = *key;
        self.entry(Endpoint { side, protocol, method, host, path: path.into() })
    }

    /// Folds the rows or hosts with the fewest requests if there is no room for another row with this host.
    pub(super) fn make_room(&mut self, host: &str) {
        if self.hosts.len() >= MAX_HOSTS && is_particular(host) && !self.hosts.contains(host) {
            self.fold_hosts();
        }
        if self.named() >= MAX_OWNER_ROWS {
            self.fold_rows();
        }
    }

    /// Adds the half of the rows (at least one) that have the fewest requests to the `{other}` rows. Of rows with equal
    /// numbers of requests, the newest are folded first.
    pub(super) fn fold_rows(&mut self) {
        let mut rarest: Vec<_> = self
            .entries
            .iter()
            .filter(|(endpoint, _)| !endpoint.is_other())
            .map(|(endpoint, entry)| (entry.requests(), Reverse(entry.sequence), endpoint.clone()))
            .collect();
        rarest.sort_unstable_by_key(|(requests, sequence, _)| (*requests, *sequence));
        rarest.truncate(rarest.len().div_ceil(2));
        for (_, _, endpoint) in rarest {
            let other = Endpoint::other(endpoint.side, endpoint.protocol);
            self.fold(&endpoint, other);
        }
        self.hosts = self
            .entries
            .keys()
            .filter(|endpoint| is_particular(&endpoint.host))
            .map(|endpoint| Arc::clone(&endpoint.host))
            .collect();
    }

    /// Replaces the half of the hosts that have the fewest requests by `{other}`, in all rows. Of hosts with equal
    /// numbers of requests, the newest are folded first.
    fn fold_hosts(&mut self) {
        let mut hosts: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
        for (endpoint, entry) in &self.entries {
            let (requests, oldest) = hosts.entry(Arc::clone(&endpoint.host)).or_insert((0, u64::MAX));
            *requests = requests.saturating_add(entry.requests());
            *oldest = entry.sequence.min(*oldest);
        }
        hosts.retain(|host, _| is_particular(host));
        let mut rarest: Vec<_> = hosts.into_iter().collect();
        rarest.sort_unstable_by_key(|(_, (requests, oldest))| (*requests, Reverse(*oldest)));
        rarest.truncate(rarest.len().div_ceil(2));
        let rarest: HashSet<Arc<str>> = rarest.into_iter().map(|(host, _)| host).collect();
        let mut endpoints: Vec<_> = self
            .entries
            .iter()
            .filter(|(endpoint, _)| rarest.contains(&endpoint.host))
            .map(|(endpoint, entry)| (entry.sequence, endpoint.clone()))
            .collect();
        endpoints.sort_unstable_by_key(|(sequence, _)| *sequence);
        let other: Arc<str> = OTHER.into();
        for (_, endpoint) in endpoints {
            let merged = Endpoint { host: Arc::clone(&other), ..endpoint.clone() };
            self.fold(&endpoint, merged);
        }
        self.hosts.retain(|host| !rarest.contains(host));
    }

    /// Removes an endpoint, and adds its counts to another one.
    fn fold(&mut self, endpoint: &Endpoint, into: Endpoint) {
        self.folded = true;
        if let Some(folded) = self.entries.remove(endpoint) {
            self.entry(into).counts.merge(&folded.counts);
        }
    }

    /// Returns the entry of an endpoint, which is created if it does not exist.
    fn entry(&mut self, endpoint: Endpoint) -> &mut Entry {
        let is_other = endpoint.is_other();
        self.entries.entry(endpoint).or_insert_with(|| {
            self.others += usize::from(is_other);
            self.entries_seen += 1;
            Entry {
                counts: Span::default(),
                complete: !self.folded,
                restored: false,
                sequence: self.entries_seen,
            }
        })
    }
}

/// Returns whether a host is a specific one, which counts among the hosts of an owner.
fn is_particular(host: &str) -> bool {
    !host.is_empty() && host != OTHER && host != INVALID
}
