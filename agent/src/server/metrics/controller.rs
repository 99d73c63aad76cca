//! Metrics of the controller.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Common, Fraction, Result, Times, Written, register, signed};

/// Metrics of the controller. All clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControllerMetrics {
    pub(crate) common: Common,
    traces: Gauge,
    reports: Gauge,
    reports_running: Gauge,
    status_writes: Family<Result, Counter>,
    write_duration: Times,
    status_age: Fraction,
    events: Counter,
}

impl ControllerMetrics {
    /// Creates the metrics, and a registry that contains them all.
    pub(crate) fn new() -> (Self, Registry) {
        let (metrics, mut registry) = (Self::default(), Registry::with_prefix("traffictrace_controller"));
        metrics.common.register(&mut registry);
        let gauges = [
            ("traces", "TrafficTraces of the cluster, finished ones too", &metrics.traces),
            ("reports", "Reports that nodes have written", &metrics.reports),
            (
                "reports_running",
                "Reports of traces that run, which nodes go on writing",
                &metrics.reports_running,
            ),
        ];
        register(&mut registry, &gauges);
        registry.register(
            "status_writes",
            "Requests that change a TrafficTrace or its reports, by what became of them",
            metrics.status_writes.clone(),
        );
        metrics.write_duration.register(&mut registry, "write_duration", "Time that such a request took");
        registry.register_with_unit(
            "status_age",
            "Longest time for which news waits that is in no status yet, beyond the interval of its trace",
            Unit::Seconds,
            metrics.status_age.clone(),
        );
        registry.register("events", "Kubernetes Events told", metrics.events.clone());
        (metrics, registry)
    }

    /// Sets the numbers of traces and reports, and the waiting time of the oldest news that is in no status yet.
    pub(crate) fn set_state(&self, traces: usize, reports: usize, running: u64, oldest: Duration) {
        self.traces.set(signed(traces as u64));
        self.reports.set(signed(reports as u64));
        self.reports_running.set(signed(running));
        self.status_age.set(oldest.as_secs_f64());
    }

    /// Records the result and duration of a write.
    pub(crate) fn written(&self, written: Written, took: Duration) {
        self.status_writes.get_or_create(&written.label()).inc();
        self.write_duration.observe(took);
    }

    /// Counts an Event that was sent.
    pub(crate) fn told(&self) {
        self.events.inc();
    }
}
