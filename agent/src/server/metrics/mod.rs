//! Metrics of agent and controller. No label contains data from traffic or names of users' objects, so that users
//! cannot influence the number of series.

mod agent;
mod controller;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::agent::AgentMetrics;
pub(crate) use self::controller::{ControllerMetrics, OtlpMetrics};

/// Interval at which metrics are updated.
pub(crate) const FIGURES: Duration = Duration::from_secs(5);

/// A gauge of floating-point numbers.
type Fraction = Gauge<f64, AtomicU64>;

/// The label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// The label `result`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Result {
    result: &'static str,
}

/// The label `resource`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Resource {
    resource: String,
}

/// Result of a write, for the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The API server accepted the write.
    Ok,
    /// Another writer had changed the object in between.
    Conflict,
    /// The object, its namespace or its type did not exist.
    Gone,
    /// The API server refused the write.
    Refused,
    /// There was no answer.
    Unanswered,
}

impl Written {
    fn label(self) -> Result {
        let result = match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        };
        Result { result }
    }

    /// Returns the result of a failed request.
    pub(crate) fn failed(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 => Self::Gone,
                409 => Self::Conflict,
                _ => Self::Refused,
            },
            _ => Self::Unanswered,
        }
    }
}

/// Metrics that agent and controller share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    watch_interruptions: Family<Resource, Counter>,
    clock_offset: Fraction,
    queue: Gauge,
}

impl Common {
    fn register(&self, registry: &mut Registry) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version of TrafficTrace", Info::new(version));
        registry.register(
            "watch_interruptions",
            "Watches of the API server that were interrupted, by the resource watched",
            self.watch_interruptions.clone(),
        );
        registry.register_with_unit(
            "clock_offset",
            "How far this machine's clock is ahead of the API server's; 0 where it is less than 2 s",
            Unit::Seconds,
            self.clock_offset.clone(),
        );
        registry.register("queue", "Events from watches that wait", self.queue.clone());
    }

    /// Counts an interruption of a watch.
    pub(crate) fn watch_interrupted(&self, resource: &str) {
        self.watch_interruptions.get_or_create(&Resource { resource: resource.to_owned() }).inc();
    }

    /// Sets the milliseconds by which this machine's clock is ahead of the API server's, and the number of waiting
    /// events.
    pub(crate) fn set_state(&self, clock_offset: Option<i64>, events: usize) {
        self.clock_offset.set(clock_offset.unwrap_or(0) as f64 / 1000.0);
        self.queue.set(signed(events as u64));
    }
}

/// A histogram of durations from 0.1 ms to some seconds.
#[derive(Clone, Debug)]
struct Times(Histogram);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.0001, 4.0, 9)))
    }
}

impl Times {
    fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.0.clone());
    }

    fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// Registers gauges, each with its name and help text.
fn register(registry: &mut Registry, gauges: &[(&str, &str, &Gauge)]) {
    for (name, help, gauge) in gauges {
        registry.register(*name, *help, (*gauge).clone());
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
