//! Sums of HTTP requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::Losses;
use crate::schema;

/// The classes that requests are counted by: those of the final status codes, `noResponse` where none came, and `unknown`
/// where it could not be read.
pub const REQUEST_CLASSES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "noResponse", "unknown"];

/// The reasons for which requests are in no count.
pub const UNOBSERVED_REASONS: [&str; 7] = [
    "lostResponse",
    "headTooLarge",
    "malformed",
    "noMemory",
    "missingBytes",
    "connectionsNotFollowed",
    "flowNotKnown",
];

/// What can be lost between kernel and agent.
pub const HTTP_LOSSES: [&str; 4] = ["records", "requests", "responses", "unknownRecords"];

/// Numbers of requests by class, in the order of [`REQUEST_CLASSES`].
pub type ClassCounts = [i64; REQUEST_CLASSES.len()];

/// Numbers of requests by class, those that are not 0.
pub type RequestsByClass = BTreeMap<String, i64>;

/// Names the classes that have requests.
#[must_use]
pub fn by_class(counts: &ClassCounts) -> RequestsByClass {
    let named = REQUEST_CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0);
    named.map(|(&name, count)| (name.to_owned(), *count)).collect()
}

/// Sums over all requests, also those of endpoints that are not listed. Counts since the trace began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct HttpTotals {
    /// Requests, each counted once when it is over. Where client and server are both traced, each of the two counts it.
    #[schemars(range(min = 0))]
    pub requests: i64,
    /// The same by the class of their final status: 1xx, 2xx, 3xx, 4xx, 5xx, noResponse (the connection closed before one came), unknown (it could not be read). Classes without requests are absent.
    #[serde(skip_serializing_if = "RequestsByClass::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub by_class: RequestsByClass,
    /// gRPC calls whose own status was not 0. They are in a class too, mostly in 2xx.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub grpc_failed: i64,
    /// Bytes of the requests on their connections, heads and bodies.
    #[schemars(range(min = 0))]
    pub request_bytes: i64,
    /// Bytes of the responses on their connections, heads and bodies.
    #[schemars(range(min = 0))]
    pub response_bytes: i64,
    /// Requests that are in no count, by reason: lostResponse, headTooLarge, malformed, noMemory, missingBytes; connectionsNotFollowed, connections of which no request was read; flowNotKnown, at most so many, of flows that found no room in the table of flows. Absent: none.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub unobserved: Losses,
    /// Losses between kernel and agent, whose requests are in no count: records, and the requests, responses and unknownRecords among them. Absent: none.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub lost: Losses,
}

impl HttpTotals {
    /// Adds the sums of other endpoints.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Raises every sum to at least that of `other`.
    pub fn raise_to(&mut self, other: &Self) {
        self.each(other, i64::max);
        self.requests = self.by_class.values().fold(0, |sum, count| sum.saturating_add(*count));
    }

    /// The surplus of these sums over others, none of them below 0.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let mut beyond = self.clone();
        beyond.each(other, |sum, other| sum.saturating_sub(other).max(0));
        for counts in [&mut beyond.by_class, &mut beyond.unobserved, &mut beyond.lost] {
            counts.retain(|_, count| *count > 0);
        }
        beyond
    }

    fn each(&mut self, other: &Self, combine: impl Fn(i64, i64) -> i64) {
        let Self { requests, by_class, grpc_failed, request_bytes, response_bytes, unobserved, lost } = other;
        self.requests = combine(self.requests, *requests);
        self.grpc_failed = combine(self.grpc_failed, *grpc_failed);
        self.request_bytes = combine(self.request_bytes, *request_bytes);
        self.response_bytes = combine(self.response_bytes, *response_bytes);
        for (mine, others) in
            [(&mut self.by_class, by_class), (&mut self.unobserved, unobserved), (&mut self.lost, lost)]
        {
            for (name, other) in others {
                let sum = mine.entry(name.clone()).or_insert(0);
                *sum = combine(*sum, *other);
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(super) fn is_zero(count: &i64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: i64, lost: i64) -> HttpTotals {
        let lost = if lost > 0 { Losses::from([("records".to_owned(), lost)]) } else { Losses::new() };
        let by_class = by_class(&[0, requests, 0, 0, 0, 0, 0]);
        HttpTotals { requests, by_class, response_bytes: 10 * requests, lost, ..HttpTotals::default() }
    }

    #[test]
    fn sums_add_and_never_fall() {
        let mut sum = totals(3, 1);
        sum.add(&totals(4, 0));
        assert_eq!(sum, totals(7, 1));
        sum.raise_to(&totals(5, 9));
        assert_eq!(sum, totals(7, 9));
        assert_eq!(sum.beyond(&totals(5, 9)), totals(2, 0));
        assert_eq!(totals(5, 0).beyond(&totals(7, 1)), HttpTotals::default());
    }

    #[test]
    fn raised_requests_are_the_sum_of_their_classes() {
        let mut one =
            HttpTotals { requests: 2, by_class: by_class(&[0, 2, 0, 0, 0, 0, 0]), ..Default::default() };
        let other =
            HttpTotals { requests: 3, by_class: by_class(&[0, 0, 0, 0, 3, 0, 0]), ..Default::default() };
        one.raise_to(&other);
        assert_eq!((one.requests, one.by_class["2xx"], one.by_class["5xx"]), (5, 2, 3));
    }
}
