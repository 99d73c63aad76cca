//! The watch of one trace, which continues after failures.

use std::{fmt, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    ResourceExt as _,
    runtime::{watcher, watcher::watcher as watch},
};
use tokio::time::{Instant, sleep_until};
use traffictrace_crd::TrafficTrace;

use crate::{
    cluster::Cluster,
    error::{CliError, is_unknown_resource},
};

/// Seconds after which a watch is renewed. A connection that was silently dropped is noticed 5 s later.
const WATCH_SECONDS: u32 = 30;
/// Maximum time for which the API server may refuse a watch that worked before: a server that has just started does not
/// know all rights yet.
const REFUSED: Duration = Duration::from_secs(30);
/// Minimum and maximum pause before the next attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// An event of a trace.
#[derive(Debug)]
pub(crate) enum Event {
    /// The current trace.
    Trace(Box<TrafficTrace>),
    /// The trace no longer exists.
    Gone,
    /// The API server cannot be reached or does not respond; another attempt follows.
    Interrupted(CliError),
    /// The API server refuses the watch and will keep doing so.
    Refused(CliError),
}

/// The watch of one trace.
pub(crate) struct Watch {
    cluster: Cluster,
    name: String,
    /// UID of the trace. A new trace with the same name has another UID.
    uid: String,
    events: BoxStream<'static, watcher::Result<watcher::Event<TrafficTrace>>>,
    is_seen: bool,
    /// True if the API server has responded before.
    has_worked: bool,
    refused_since: Option<Instant>,
    failures: u32,
    next_attempt: Option<Instant>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("name", &self.name).field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches a trace that exists.
    pub(crate) fn new(cluster: &Cluster, trace: &TrafficTrace) -> Self {
        let name = trace.name_any();
        let events = events(cluster, &name);
        let uid = trace.uid().unwrap_or_default();
        Self {
            cluster: cluster.clone(),
            name,
            uid,
            events,
            is_seen: false,
            has_worked: false,
            refused_since: None,
            failures: 0,
            next_attempt: None,
        }
    }

    /// Waits for the next event. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            if let Some(moment) = self.next_attempt {
                sleep_until(moment).await;
                self.next_attempt = None;
                // A new list shows at once that the API server is back, and has the current trace.
                self.events = events(&self.cluster, &self.name);
            }
            match self.events.next().await {
                Some(Ok(watcher::Event::Init)) => self.is_seen = false,
                Some(Ok(watcher::Event::InitApply(trace) | watcher::Event::Apply(trace))) => {
                    (self.failures, self.refused_since, self.has_worked) = (0, None, true);
                    if trace.uid().unwrap_or_default() != self.uid {
                        return Event::Gone;
                    }
                    self.is_seen = true;
                    return Event::Trace(Box::new(trace));
                }
                Some(Ok(watcher::Event::Delete(_))) => return Event::Gone,
                Some(Ok(watcher::Event::InitDone)) if !self.is_seen => return Event::Gone,
                Some(Ok(watcher::Event::InitDone)) => {}
                Some(Err(error)) => {
                    if let Some(event) = self.failed(error).await {
                        return event;
                    }
                }
                None => self.pause(),
            }
        }
    }

    async fn failed(&mut self, error: watcher::Error) -> Option<Event> {
        self.pause();
        let error = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error,
            watcher::Error::WatchError(status) => kube::Error::Api(status),
            // The watcher recovers from these errors by itself.
            watcher::Error::NoResourceVersion => return None,
        };
        let is_refused = match &error {
            // The watched version is too old, so the watcher lists again.
            kube::Error::Api(status) if status.code == 410 => return None,
            kube::Error::Api(status) => matches!(status.code, 401 | 403) || is_unknown_resource(status),
            _ => false,
        };
        let is_final = is_refused && {
            let since = *self.refused_since.get_or_insert_with(Instant::now);
            !self.has_worked || since.elapsed() >= REFUSED
        };
        let error = self.cluster.explain(error).await;
        Some(if is_final { Event::Refused(error) } else { Event::Interrupted(error) })
    }

    fn pause(&mut self) {
        let (first, longest) = PAUSES;
        let pause = (first * 2_u32.saturating_pow(self.failures.min(8))).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.next_attempt = Some(Instant::now() + pause.mul_f64(0.5 + 0.5 * fastrand::f64()));
    }
}

fn events(
    cluster: &Cluster,
    name: &str,
) -> BoxStream<'static, watcher::Result<watcher::Event<TrafficTrace>>> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    watch(cluster.traces(), config).boxed()
}
