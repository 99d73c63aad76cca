//! The API server's time. Traces begin at the API server's `creationTimestamp` and end relative to it, so a node with a
//! wrong clock would trace at another time than the others, or not at all.
//!
//! Every answer carries the server's time in the header `Date` (RFC 9110, section 6.6.1), in whole seconds. No extra
//! request is made for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use tower::{Layer, Service};

/// Minimum clock error that is reported and corrected.
const TOLERATED: SignedDuration = SignedDuration::from_secs(2);
/// Maximum duration of a request whose answer is used, since the error grows with the duration.
const LONGEST_ANSWER: SignedDuration = SignedDuration::from_secs(2);
/// Value of [`ApiClock::offset_ms`] if the clock error is unknown or tolerated.
const NONE: i64 = i64::MIN;

/// Bounds of the time by which this machine's clock is ahead of the API server's. Negative values mean that it is
/// behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    least: SignedDuration,
    most: SignedDuration,
}

impl Offset {
    /// Computes the bounds from the time when a request was sent, the time when its answer arrived, and the server's
    /// time in the answer, which is cut to whole seconds.
    fn of(sent: Timestamp, answered: Timestamp, date: Timestamp) -> Self {
        let second = SignedDuration::from_secs(1);
        Self { least: sent.duration_since(date) - second, most: answered.duration_since(date) }
    }

    /// Returns the clock error (the middle of its bounds), if both bounds exceed [`TOLERATED`] in the same direction.
    fn told(self) -> Option<SignedDuration> {
        let off = self.least > TOLERATED || self.most < -TOLERATED;
        off.then(|| (self.least + self.most) / 2)
    }
}

/// The API server's time as this process knows it. All clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ApiClock {
    offset_ms: Arc<AtomicI64>,
}

impl ApiClock {
    pub(crate) fn new() -> Self {
        Self { offset_ms: Arc::new(AtomicI64::new(NONE)) }
    }

    /// Returns the current time by the API server's clock, which is this machine's own unless that is known to be
    /// wrong.
    pub(crate) fn now(&self) -> Timestamp {
        let own = Timestamp::now();
        let ahead = SignedDuration::from_millis(self.offset_milliseconds().unwrap_or(0));
        own.checked_sub(ahead).unwrap_or(own)
    }

    /// Milliseconds by which this machine's clock is ahead, if they exceed the tolerance.
    pub(crate) fn offset_milliseconds(&self) -> Option<i64> {
        Some(self.offset_ms.load(Ordering::Relaxed)).filter(|offset| *offset != NONE)
    }

    fn heard(&self, sent: Timestamp, answered: Timestamp, date: Timestamp) {
        if answered.duration_since(sent) > LONGEST_ANSWER {
            return;
        }
        let told = Offset::of(sent, answered, date).told();
        let milliseconds = told.and_then(|told| i64::try_from(told.as_millis()).ok()).unwrap_or(NONE);
        let before = self.offset_ms.swap(milliseconds, Ordering::Relaxed);
        match told {
            Some(told) if before == NONE => tracing::error!(
                "this machine's clock is {told:#} {} the API server's, by which traces begin and end; TrafficTrace goes by \
                 the API server's: set the clock right (NTP)",
                if told.is_negative() { "behind" } else { "ahead of" }
            ),
            None if before != NONE => {
                tracing::info!("this machine's clock agrees with the API server's again");
            }
            _ => {}
        }
    }
}

impl<S> Layer<S> for ApiClock {
    type Service = Listening<S>;

    fn layer(&self, inner: S) -> Listening<S> {
        Listening { clock: self.clone(), inner }
    }
}

/// A client layer that reads the server's time from every answer.
#[derive(Clone, Debug)]
pub(crate) struct Listening<S> {
    clock: ApiClock,
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Listening<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (clock, sent) = (self.clock.clone(), Timestamp::now());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await?;
            let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
            if let Some(date) = date.and_then(|date| rfc2822::parse(date).ok()) {
                clock.heard(sent, Timestamp::now(), date.timestamp());
            }
            Ok(answer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_is_certain_is_told() {
        let date = at("2026-11-23T10:00:00Z");
        for (sent, answered, told) in [
            // The header says 10:00:00, so the server's time was between that and 10:00:01.
            ("2026-11-23T10:00:00.3Z", "2026-11-23T10:00:00.4Z", None),
            ("2026-11-23T10:00:02.9Z", "2026-11-23T10:00:02.9Z", None),
            ("2026-11-23T10:00:03.1Z", "2026-11-23T10:00:03.1Z", Some(2600)),
            ("2026-11-23T10:01:00Z", "2026-11-23T10:01:01Z", Some(60_000)),
            ("2026-11-23T09:59:58.5Z", "2026-11-23T09:59:58.5Z", None),
            ("2026-11-23T09:59:57Z", "2026-11-23T09:59:57.5Z", Some(-3250)),
        ] {
            let offset = Offset::of(at(sent), at(answered), date);
            assert_eq!(offset.told().map(|told| told.as_millis()), told, "{sent}");
        }
    }

    #[test]
    fn time_goes_by_the_servers_clock_only_while_this_one_is_off() {
        let clock = ApiClock::new();
        let own = Timestamp::now();
        let slow = own.checked_sub(SignedDuration::from_secs(30)).unwrap();
        clock.heard(slow, own, own);
        assert_eq!(clock.offset_milliseconds(), None, "an answer that took 30 s says nothing");
        let date = own.checked_sub(SignedDuration::from_secs(60)).unwrap();
        clock.heard(own, own, date);
        let behind = Timestamp::now().duration_since(clock.now());
        assert!((behind.as_secs_f64() - 59.5).abs() < 1.0, "{behind:?}");
        let own = Timestamp::now();
        clock.heard(own, own, own);
        assert!(Timestamp::now().duration_since(clock.now()) < SignedDuration::from_secs(1));
    }
}
