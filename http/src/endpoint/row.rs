//! Rows: the counts of one owner's exchanges with one endpoint.

use std::cmp::{Ordering, Reverse};
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap, hash_map};

use super::{Counts, OTHER, fold, normalise_host, normalise_method};
use crate::{Protocol, Side};

/// The key of a row among those of its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The role of the traced sockets: server or client.
    pub side: Side,
    /// Protocol of the exchanges.
    pub protocol: Protocol,
    /// Method as returned by [`super::normalise_method`]: a known one, [`OTHER`], or empty if unknown.
    pub method: &'static str,
    /// Host, as returned by [`super::normalise_host`], or [`OTHER`].
    pub host: Arc<str>,
    /// Folded path as returned by [`super::fold`], or [`OTHER`].
    pub path: Box<str>,
}

impl Endpoint {
    /// Makes an endpoint from a method, a host and a path that may not be normalized. Normalized ones, such as those in
    /// the rows of a report, stay the same.
    pub fn new(side: Side, protocol: Protocol, method: &str, host: &str, path: &str) -> Self {
        let host = if host == OTHER { OTHER.into() } else { normalise_host(host).into() };
        let path = if path == OTHER { OTHER.into() } else { fold(path).into() };
        Self { side, protocol, method: normalise_method(method), host, path }
    }

    /// Returns the `{other}` endpoint of a side and protocol: it stands for all endpoints that have no row of their
    /// own.
    pub fn other(side: Side, protocol: Protocol) -> Self {
        Self { side, protocol, method: OTHER, host: OTHER.into(), path: OTHER.into() }
    }

    /// Returns whether this is an `{other}` endpoint. No path folds to [`OTHER`].
    pub fn is_other(&self) -> bool {
        *self.path == *OTHER
    }

    /// Returns the key by which the endpoint is looked up.
    pub(super) fn key(&self) -> Key<'_> {
        let Self { side, protocol, method, host, path } = self;
        Key { side: *side, protocol: *protocol, method, host, path }
    }
}

/// A borrowed [`Endpoint`], for looking up one in a map. The fields have the same order as those of [`Endpoint`], so
/// that both have the same hash.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Key<'a> {
    /// The role of the traced socket: server or client.
    pub side: Side,
    /// Protocol of the exchanges.
    pub protocol: Protocol,
    /// Normalized method.
    pub method: &'static str,
    /// Normalized host.
    pub host: &'a str,
    /// Folded path.
    pub path: &'a str,
}

impl Equivalent<Endpoint> for Key<'_> {
    fn equivalent(&self, endpoint: &Endpoint) -> bool {
        self.side == endpoint.side
            && self.protocol == endpoint.protocol
            && self.method == endpoint.method
            && *self.host == *endpoint.host
            && *self.path == *endpoint.path
    }
}

/// The exchanges of one owner's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<Owner> {
    /// Owner of the sockets.
    pub owner: Owner,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Counts of the exchanges.
    pub counts: Counts,
    /// True if the counts include every exchange of the endpoint. A row may lack some if it began after rows of its
    /// owner had been folded to stay within the table's limits.
    pub complete: bool,
}

/// Compares two rows, given by number of requests and endpoint: most requests first, then by endpoint.
pub(super) fn order(one: (u64, &Endpoint), two: (u64, &Endpoint)) -> Ordering {
    Reverse(one.0).cmp(&Reverse(two.0)).then_with(|| one.1.cmp(two.1))
}

/// Merges rows with equal owner and endpoint, such as those of several nodes. The rows with the most requests come
/// first. Rows with equal numbers of requests and equal endpoints, but different owners, come in the order of `rows`.
pub fn merge<Owner: Clone + Eq + Hash>(rows: impl IntoIterator<Item = Row<Owner>>) -> Vec<Row<Owner>> {
    let mut merged: Vec<Row<Owner>> = Vec::new();
    let mut places: HashMap<(Owner, Endpoint), usize> = HashMap::new();
    for row in rows {
        match places.entry((row.owner.clone(), row.endpoint.clone())) {
            hash_map::Entry::Occupied(place) => {
                let present = &mut merged[*place.get()];
                present.counts.merge(&row.counts);
                present.complete &= row.complete;
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(row);
            }
        }
    }
    merged.sort_by(|one, two| {
        order((one.counts.requests(), &one.endpoint), (two.counts.requests(), &two.endpoint))
    });
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::INVALID;
    use crate::endpoint::testing::exchange;

    /// Makes a row of a GET endpoint with this number of requests.
    fn row(owner: &str, path: &str, requests: u64, complete: bool) -> Row<String> {
        let mut counts = Counts::default();
        for _ in 0..requests {
            counts.record(&exchange(path, 200));
        }
        let endpoint = Endpoint {
            side: Side::Server,
            protocol: Protocol::Http11,
            method: "GET",
            host: "example.com".into(),
            path: path.into(),
        };
        Row { owner: owner.to_owned(), endpoint, counts, complete }
    }

    #[test]
    fn rows_with_equal_keys_are_one() {
        let merged = merge([
            row("a", "/x", 1, true),
            row("a", "/y", 2, true),
            row("b", "/x", 5, true),
            row("a", "/x", 3, false),
        ]);
        assert_eq!(merged, [row("b", "/x", 5, true), row("a", "/x", 4, false), row("a", "/y", 2, true)]);
    }

    #[test]
    fn merging_is_associative() {
        let rows = [
            row("a", "/x", 1, true),
            row("a", "/x", 2, true),
            row("b", "/y", 2, true),
            row("a", "/y", 4, true),
        ];
        let all = merge(rows.clone());
        for cut in 0..rows.len() {
            let (left, right) = rows.split_at(cut);
            let parts = merge(merge(left.to_vec()).into_iter().chain(merge(right.to_vec())));
            assert_eq!(parts, all);
        }
    }

    #[test]
    fn names_of_a_row_stay() {
        for (method, host, path) in
            [("GET", "a:8080", "/users/{id}"), (OTHER, OTHER, OTHER), (OTHER, INVALID, INVALID), ("", "", "")]
        {
            let endpoint = Endpoint::new(Side::Server, Protocol::Http2, method, host, path);
            assert_eq!((endpoint.method, &*endpoint.host, &*endpoint.path), (method, host, path));
        }
        let endpoint = Endpoint::new(Side::Server, Protocol::Http2, "get", "A:80", "/users/42?q");
        assert_eq!((endpoint.method, &*endpoint.host, &*endpoint.path), (OTHER, "a", "/users/{id}"));
    }

    #[test]
    fn no_path_is_taken_for_the_others() {
        assert!(Endpoint::other(Side::Client, Protocol::Grpc).is_other());
        for path in ["{other}", "/{other}", "%7Bother%7D"] {
            assert!(!row("a", &fold(path), 1, true).endpoint.is_other());
        }
    }
}
