//! Counts of observed exchanges, and of exchanges that could not be observed.

use super::Histogram;
use crate::{Exchange, Reason, Status};

/// Number of nanoseconds in a microsecond, the unit of [`Counts::durations`].
const NANOSECONDS: u64 = 1_000;

/// The class of an exchange's final status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// 100 to 199, of which only 101 is final.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirection,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
    /// The exchange ended without a final response.
    NoResponse,
    /// A status that could not be read, or a code that belongs to no class.
    Unknown,
}

impl Class {
    /// Number of classes.
    pub const COUNT: usize = 7;

    /// All classes, in the order of their values as `usize`.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::NoResponse,
        Self::Unknown,
    ];

    /// Returns the class of a status.
    pub fn of(status: Status) -> Self {
        match status {
            Status::Code(100..=199) => Self::Informational,
            Status::Code(200..=299) => Self::Success,
            Status::Code(300..=399) => Self::Redirection,
            Status::Code(400..=499) => Self::ClientError,
            Status::Code(500..=599) => Self::ServerError,
            Status::NoResponse => Self::NoResponse,
            Status::Unknown | Status::Code(_) => Self::Unknown,
        }
    }

    /// Returns the name of the class, as in the heading of a column or the name of a field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::NoResponse => "noResponse",
            Self::Unknown => "unknown",
        }
    }
}

/// Numbers of exchanges and of bytes. Sums saturate instead of overflowing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Number of exchanges by class, in the order of [`Class::ALL`]. A gRPC exchange counts by its HTTP status here.
    pub by_class: [u64; Class::COUNT],
    /// Number of exchanges with a `grpc-status` other than 0. These are counted in [`Self::by_class`] too, mostly as
    /// [`Class::Success`], since gRPC reports failures with an HTTP status of 200.
    pub grpc_failed: u64,
    /// Number of bytes of the requests.
    pub request_bytes: u64,
    /// Number of bytes of the responses.
    pub response_bytes: u64,
}

impl Sums {
    /// Counts an exchange.
    pub fn record(&mut self, exchange: &Exchange) {
        add(&mut self.by_class[Class::of(exchange.status) as usize], 1);
        add(&mut self.grpc_failed, u64::from(exchange.grpc_status.is_some_and(|status| status != 0)));
        add(&mut self.request_bytes, exchange.request_bytes);
        add(&mut self.response_bytes, exchange.response_bytes);
    }

    /// Returns the number of exchanges of a class.
    pub fn of(&self, class: Class) -> u64 {
        self.by_class[class as usize]
    }

    /// Returns the number of exchanges.
    pub fn requests(&self) -> u64 {
        self.by_class.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.by_class.iter_mut().zip(other.by_class) {
            add(count, more);
        }
        add(&mut self.grpc_failed, other.grpc_failed);
        add(&mut self.request_bytes, other.request_bytes);
        add(&mut self.response_bytes, other.response_bytes);
    }
}

/// Sums of exchanges and the distribution of their durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Numbers of exchanges and bytes.
    pub sums: Sums,
    /// Durations of all exchanges in microseconds, from the first byte of the request to the last byte of the exchange.
    /// An exchange without a response lasts until its connection closes.
    pub durations: Histogram,
}

impl Counts {
    /// Counts an exchange.
    pub fn record(&mut self, exchange: &Exchange) {
        self.sums.record(exchange);
        self.durations.record(exchange.ended.saturating_sub(exchange.began) / NANOSECONDS);
    }

    /// Returns the number of exchanges.
    pub fn requests(&self) -> u64 {
        self.sums.requests()
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        self.sums.merge(&other.sums);
        self.durations.merge(&other.durations);
    }
}

/// Counts of exchanges that could not be observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unobserved {
    /// Number of exchanges by reason, in the order of [`Self::REASONS`].
    pub by_reason: [u64; Self::REASONS.len()],
    /// Number of events that the kernel could not hand over to user space. Each may stand for several exchanges or for
    /// none.
    pub lost_events: u64,
}

impl Unobserved {
    /// All reasons, in the order of their indexes in [`Self::by_reason`].
    pub const REASONS: [Reason; 5] = [
        Reason::LostResponse,
        Reason::HeadTooLarge,
        Reason::Malformed,
        Reason::NoMemory,
        Reason::MissingBytes,
    ];

    /// Returns the index of a reason in [`Self::by_reason`]. The match has no default, so that a new reason does not
    /// compile without an index.
    fn index(reason: Reason) -> usize {
        match reason {
            Reason::LostResponse => 0,
            Reason::HeadTooLarge => 1,
            Reason::Malformed => 2,
            Reason::NoMemory => 3,
            Reason::MissingBytes => 4,
        }
    }

    /// Counts exchanges that were not observed.
    pub fn record(&mut self, reason: Reason, count: u64) {
        add(&mut self.by_reason[Self::index(reason)], count);
    }

    /// Returns the number of exchanges that were not observed for a reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.by_reason[Self::index(reason)]
    }

    /// Returns the number of exchanges that were not observed.
    pub fn exchanges(&self) -> u64 {
        self.by_reason.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.by_reason.iter_mut().zip(other.by_reason) {
            add(count, more);
        }
        add(&mut self.lost_events, other.lost_events);
    }
}

/// All observed exchanges, and counts of those that were not observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sums of the observed exchanges.
    pub sums: Sums,
    /// Counts of exchanges that were not observed.
    pub unobserved: Unobserved,
}

impl Totals {
    /// Adds other totals.
    pub fn merge(&mut self, other: &Self) {
        self.sums.merge(&other.sums);
        self.unobserved.merge(&other.unobserved);
    }
}

/// Adds to a count, which saturates.
fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::testing::exchange;

    #[test]
    fn every_status_has_its_class() {
        for (status, class) in [
            (Status::Code(101), "1xx"),
            (Status::Code(200), "2xx"),
            (Status::Code(304), "3xx"),
            (Status::Code(499), "4xx"),
            (Status::Code(503), "5xx"),
            (Status::Code(600), "unknown"),
            (Status::Code(0), "unknown"),
            (Status::NoResponse, "noResponse"),
            (Status::Unknown, "unknown"),
        ] {
            assert_eq!(Class::of(status).name(), class);
        }
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }

    #[test]
    fn every_reason_has_its_index() {
        for (index, reason) in Unobserved::REASONS.into_iter().enumerate() {
            assert_eq!(Unobserved::index(reason), index);
            let mut unobserved = Unobserved::default();
            unobserved.record(reason, 3);
            assert_eq!((unobserved.of(reason), unobserved.exchanges()), (3, 3));
        }
    }

    #[test]
    fn failed_grpc_counts_beside_its_class() {
        let mut counts = Counts::default();
        for grpc_status in [None, Some(0), Some(14)] {
            counts.record(&Exchange { grpc_status, ..exchange("/p.S/M", 200) });
        }
        assert_eq!((counts.requests(), counts.sums.of(Class::Success), counts.sums.grpc_failed), (3, 3, 1));
        assert_eq!(counts.durations.count(), 3);
    }

    #[test]
    fn hostile_numbers_saturate() {
        let mut counts = Counts::default();
        for _ in 0..3 {
            counts.record(&Exchange { request_bytes: u64::MAX, began: 9, ended: 3, ..exchange("/", 200) });
        }
        assert_eq!(counts.sums.request_bytes, u64::MAX);
        assert_eq!(counts.durations.latency().max, 0);
    }
}
