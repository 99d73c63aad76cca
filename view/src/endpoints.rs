//! HTTP endpoints: their order, their names, and the definition of a failed request.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::snapshot::{Endpoint, Http};

/// A column that endpoints are sorted by, from the largest number to the smallest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// Number of requests.
    #[default]
    Requests,
    /// Number of failed requests.
    Errors,
    /// Median duration.
    P50,
    /// Duration that 90 % of the requests do not exceed.
    P90,
    /// Duration that 99 % of the requests do not exceed.
    P99,
    /// Longest duration.
    Max,
    /// Bytes of the requests.
    RequestBytes,
    /// Bytes of the responses.
    ResponseBytes,
}

impl Column {
    /// All columns, in the order in which a key steps through them.
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::Errors,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::Max,
        Self::RequestBytes,
        Self::ResponseBytes,
    ];

    /// Heading of the column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "REQUESTS",
            Self::Errors => "ERRORS",
            Self::P50 => "P50",
            Self::P90 => "P90",
            Self::P99 => "P99",
            Self::Max => "MAX",
            Self::RequestBytes => "REQ SIZE",
            Self::ResponseBytes => "RESP SIZE",
        }
    }

    /// Returns the number that an endpoint has in this column.
    #[must_use]
    pub fn of(self, endpoint: &Endpoint) -> u64 {
        match self {
            Self::Requests => endpoint.requests,
            Self::Errors => errors(endpoint),
            Self::P50 => endpoint.p50_microseconds,
            Self::P90 => endpoint.p90_microseconds,
            Self::P99 => endpoint.p99_microseconds,
            Self::Max => endpoint.max_microseconds,
            Self::RequestBytes => endpoint.request_bytes,
            Self::ResponseBytes => endpoint.response_bytes,
        }
    }

    /// Returns the endpoints sorted by this column; equal endpoints keep their order.
    #[must_use]
    pub fn sorted(self, http: &Http) -> Vec<&Endpoint> {
        let mut endpoints: Vec<&Endpoint> = http.endpoints.iter().collect();
        endpoints.sort_by_key(|endpoint| Reverse(self.of(endpoint)));
        endpoints
    }
}

/// Number of an endpoint's requests that failed.
#[must_use]
pub fn errors(endpoint: &Endpoint) -> u64 {
    failed(&endpoint.by_class, endpoint.grpc_failed).min(endpoint.requests)
}

/// Number of failed requests over all endpoints.
#[must_use]
pub fn errors_of_all(http: &Http) -> u64 {
    failed(&http.by_class, http.grpc_failed).min(http.requests)
}

/// Number of failed requests: responses 5xx, requests without a response, and failed gRPC calls. A response 4xx is
/// the client's own error, so it does not count.
fn failed(by_class: &BTreeMap<String, u64>, grpc_failed: u64) -> u64 {
    let classes = ["5xx", "noResponse"].iter().filter_map(|class| by_class.get(*class));
    classes.fold(grpc_failed, |sum, number| sum.saturating_add(*number))
}

/// Names an endpoint in words: `GET shop.example/cart`. The text is not made safe for a terminal.
#[must_use]
pub fn title(endpoint: &Endpoint) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let method = endpoint.method.as_deref().unwrap_or("(any)");
    format!("{method} {}{}", text(&endpoint.host), text(&endpoint.path))
}

/// Sums of the endpoints that the snapshot does not list.
#[must_use]
pub fn unlisted(http: &Http) -> Endpoint {
    let mut other = Endpoint {
        requests: http.requests,
        by_class: http.by_class.clone(),
        grpc_failed: http.grpc_failed,
        request_bytes: http.request_bytes,
        response_bytes: http.response_bytes,
        ..Endpoint::default()
    };
    for endpoint in &http.endpoints {
        for (rest, listed) in [
            (&mut other.requests, endpoint.requests),
            (&mut other.grpc_failed, endpoint.grpc_failed),
            (&mut other.request_bytes, endpoint.request_bytes),
            (&mut other.response_bytes, endpoint.response_bytes),
        ] {
            *rest = rest.saturating_sub(listed);
        }
        for (class, listed) in &endpoint.by_class {
            if let Some(rest) = other.by_class.get_mut(class) {
                *rest = rest.saturating_sub(*listed);
            }
        }
    }
    other.by_class.retain(|_, number| *number > 0);
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(classes: &[(&str, u64)]) -> BTreeMap<String, u64> {
        classes.iter().map(|(class, number)| ((*class).to_owned(), *number)).collect()
    }

    #[test]
    fn what_failed_is_what_the_server_did_wrong() {
        let mut endpoint = Endpoint {
            requests: 20,
            by_class: classes(&[("2xx", 8), ("4xx", 5), ("5xx", 3), ("noResponse", 2), ("unknown", 2)]),
            ..Endpoint::default()
        };
        assert_eq!(errors(&endpoint), 5);
        endpoint.grpc_failed = 4;
        assert_eq!(errors(&endpoint), 9);
        // A gRPC call may have failed both in its own status and in its HTTP status.
        endpoint.grpc_failed = 19;
        assert_eq!(errors(&endpoint), 20);
    }

    #[test]
    fn listed_and_other_requests_add_up() {
        let listed = Endpoint {
            requests: 5,
            by_class: classes(&[("2xx", 4), ("5xx", 1)]),
            request_bytes: 50,
            response_bytes: 500,
            grpc_failed: 1,
            ..Endpoint::default()
        };
        let http = Http {
            endpoints: vec![listed.clone(), listed],
            requests: 13,
            by_class: classes(&[("2xx", 10), ("3xx", 1), ("5xx", 2)]),
            grpc_failed: 2,
            request_bytes: 130,
            response_bytes: 1001,
            ..Http::default()
        };
        let other = unlisted(&http);
        assert_eq!((other.requests, other.request_bytes, other.response_bytes), (3, 30, 1));
        assert_eq!((other.by_class, other.grpc_failed), (classes(&[("2xx", 2), ("3xx", 1)]), 0));
    }
}
