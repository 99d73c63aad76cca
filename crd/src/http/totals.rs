//! Sums of HTTP requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::Losses;
use crate::schema;

/// The classes by which requests are counted: those of the final status codes, `noResponse` if the connection closed
/// before a response came, and `unknown` if the status could not be read.
pub const REQUEST_CLASSES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "noResponse", "unknown"];

/// Reasons why requests are in no count, the keys of [`HttpTotals::unobserved`].
pub const UNOBSERVED_REASONS: [&str; 7] = [
    "lostResponse",
    "headTooLarge",
    "malformed",
    "noMemory",
    "missingBytes",
    "connectionsNotFollowed",
    "flowNotKnown",
];

/// Kinds of things that can be lost between kernel and agent, the keys of [`HttpTotals::lost`].
pub const HTTP_LOSSES: [&str; 4] = ["records", "requests", "responses", "unknownRecords"];

/// Number of requests of each class, in the order of [`REQUEST_CLASSES`].
pub type ClassCounts = [i64; REQUEST_CLASSES.len()];

/// Number of requests by the name of their class. Classes without requests are absent.
pub type RequestsByClass = BTreeMap<String, i64>;

/// Returns the classes that have requests, by name.
#[must_use]
pub fn by_class(counts: &ClassCounts) -> RequestsByClass {
    let named = REQUEST_CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0);
    named.map(|(&name, count)| (name.to_owned(), *count)).collect()
}

/// Sums over all requests, including those of endpoints that are not listed. Counts since the trace began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct HttpTotals {
    /// Number of requests, each counted once, when it is over. If client and server are both traced, each of the two counts it.
    #[schemars(range(min = 0))]
    pub requests: i64,
    /// Number of requests by the class of their final status: 1xx, 2xx, 3xx, 4xx, 5xx, noResponse (the connection closed before one came), unknown (it could not be read). Classes without requests are absent.
    #[serde(skip_serializing_if = "RequestsByClass::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub by_class: RequestsByClass,
    /// Number of gRPC calls whose own status was not 0. They are in a class too, mostly in 2xx.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub grpc_failed: i64,
    /// Bytes of the requests on their connections, heads and bodies.
    #[schemars(range(min = 0))]
    pub request_bytes: i64,
    /// Bytes of the responses on their connections, heads and bodies.
    #[schemars(range(min = 0))]
    pub response_bytes: i64,
    /// Number of requests that are in no count, by reason: lostResponse, headTooLarge, malformed, noMemory, missingBytes, flowNotKnown (an upper bound: requests of flows that found no room in the table of flows). connectionsNotFollowed is a number of connections instead, of which no request was read. Absent: none.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub unobserved: Losses,
    /// Losses between kernel and agent, whose requests are in no count: the number of records, and of the requests, responses and unknownRecords among them. Absent: none.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub lost: Losses,
}

impl HttpTotals {
    /// Adds the sums of other endpoints.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Raises each sum to that of `other` if `other` has more.
    pub fn raise_to(&mut self, other: &Self) {
        self.each(other, i64::max);
        self.requests = self.by_class.values().fold(0, |sum, count| sum.saturating_add(*count));
    }

    /// Subtracts other sums from these; no result is below 0.
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
