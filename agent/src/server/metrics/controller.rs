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
    pub(crate) otlp: OtlpMetrics,
}

/// Figures of the export to OpenTelemetry.
#[derive(Clone, Debug, Default)]
pub(crate) struct OtlpMetrics {
    requests: Family<Result, Counter>,
    series: Gauge,
    traces_left_out: Gauge,
    last_values_lost: Counter,
}

impl OtlpMetrics {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("otlp");
        registry.register(
            "requests",
            "Requests with metrics of traces to the receiver of OTLP, by what became of them",
            self.requests.clone(),
        );
        let gauges = [
            ("series", "Series of traces that are exported", &self.series),
            (
                "traces_left_out",
                "Traces that are not exported, since there are as many series as may be",
                &self.traces_left_out,
            ),
        ];
        register(registry, &gauges);
        registry.register(
            "last_values_lost",
            "Traces that ended and whose last values no receiver has taken within 15 minutes",
            self.last_values_lost.clone(),
        );
    }

    /// Counts a finished request; `result` is `ok` or the reason of the failure.
    pub(crate) fn sent(&self, result: &'static str) {
        self.requests.get_or_create(&Result { result }).inc();
    }

    /// Sets the number of exported series, and of traces that are left out.
    pub(crate) fn set_state(&self, series: usize, left_out: usize) {
        self.series.set(signed(series as u64));
        self.traces_left_out.set(signed(left_out as u64));
    }

    /// Adds to the number of traces whose last values no receiver accepted in time.
    pub(crate) fn lost(&self, traces: usize) {
        self.last_values_lost.inc_by(traces as u64);
    }
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
        metrics.otlp.register(&mut registry);
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

    /// Counts an Event that is about to be sent.
    pub(crate) fn told(&self) {
        self.events.inc();
    }
}
