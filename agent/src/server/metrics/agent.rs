//! Metrics of an agent.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Common, Fraction, Reason, Result, Times, Written, register, signed};
use crate::engine::{EngineStats, Losses};

/// Label of a kernel program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
struct Program {
    program: String,
}

/// Metrics of an agent. All clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentMetrics {
    pub(crate) common: Common,
    sessions: Gauge,
    sessions_refused: Gauge,
    cgroups: Gauge,
    pods: Gauge,
    flows: Gauge,
    flow_table_size: Gauge,
    losses: Family<Reason, Counter>,
    drain: Times,
    program_time: Family<Program, Fraction>,
    program_runs: Family<Program, Gauge>,
    report_writes: Family<Result, Counter>,
    reports_waiting: Gauge,
    report_age: Fraction,
}

impl AgentMetrics {
    /// Creates the metrics, and a registry that contains them all.
    pub(crate) fn new() -> (Self, Registry) {
        let (metrics, mut registry) = (Self::default(), Registry::with_prefix("traffictrace_agent"));
        metrics.common.register(&mut registry);
        let gauges = [
            ("sessions", "Traces that count on this node now", &metrics.sessions),
            (
                "sessions_refused",
                "Traces that should count on this node and do not",
                &metrics.sessions_refused,
            ),
            ("cgroups", "Cgroups that the kernel's filter selects", &metrics.cgroups),
            ("pods", "Pods of this node", &metrics.pods),
            ("flows", "Slots of the kernel's flow table in use", &metrics.flows),
            (
                "flow_table_size",
                "Slots of the kernel's flow table; 0 while nothing is traced",
                &metrics.flow_table_size,
            ),
            ("reports_waiting", "Reports that are not written yet", &metrics.reports_waiting),
        ];
        register(&mut registry, &gauges);
        registry.register(
            "losses",
            "What could not be counted in its place, by reason",
            metrics.losses.clone(),
        );
        metrics.drain.register(&mut registry, "drain_duration", "Time that reading the flow table took");
        registry.register_with_unit(
            "program_run_time",
            "Time that a kernel program has run since it was loaded, where kernel.bpf_stats_enabled is 1",
            Unit::Seconds,
            metrics.program_time.clone(),
        );
        registry.register(
            "program_runs",
            "How often a kernel program has run since it was loaded, where kernel.bpf_stats_enabled is 1",
            metrics.program_runs.clone(),
        );
        registry.register(
            "report_writes",
            "Writes of reports, by what became of them",
            metrics.report_writes.clone(),
        );
        registry.register_with_unit(
            "report_age",
            "How long the oldest report has waited that is not written yet",
            Unit::Seconds,
            metrics.report_age.clone(),
        );
        (metrics, registry)
    }

    /// Sets the number of traces that are counted, of traces that are refused, and of pods.
    pub(crate) fn set_state(&self, counting: usize, refused: usize, pods: usize) {
        self.sessions.set(signed(counting as u64));
        self.sessions_refused.set(signed(refused as u64));
        self.pods.set(signed(pods as u64));
    }

    /// Sets the figures about the engine.
    pub(crate) fn set_engine(&self, stats: &EngineStats) {
        self.cgroups.set(signed(stats.cgroups as u64));
        self.flows.set(signed(stats.slots_in_use as u64));
        self.flow_table_size.set(signed(stats.slots as u64));
        // Cleared first, so that programs that are no longer loaded have no figures.
        self.program_time.clear();
        self.program_runs.clear();
        for program in stats.programs.iter().filter(|program| program.runs > 0) {
            let label = Program { program: program.name.clone() };
            self.program_time.get_or_create(&label).set(program.time.as_secs_f64());
            self.program_runs.get_or_create(&label).set(signed(program.runs));
        }
        self.add_losses(&stats.losses);
    }

    /// Raises the counters to the engine's losses. `missed_events` is an upper bound that can fall; its counter then
    /// stays.
    fn add_losses(&self, losses: &Losses) {
        let Losses { table_full, processes_lost, cgroups_not_named, rx_bytes, tx_bytes, missed_events } =
            losses;
        for (reason, now) in [
            ("flowTableFull", table_full),
            ("processesNotFollowed", processes_lost),
            ("cgroupsNotNamed", cgroups_not_named),
            ("rxBytes", rx_bytes),
            ("txBytes", tx_bytes),
            ("missedEvents", missed_events),
        ] {
            let counter = self.losses.get_or_create_owned(&Reason { reason });
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }

    /// Records the duration of a drain of the flow table.
    pub(crate) fn drained(&self, took: Duration) {
        self.drain.observe(took);
    }

    /// Counts an attempt to write a report, by its result.
    pub(crate) fn report_written(&self, written: Written) {
        self.report_writes.get_or_create(&written.label()).inc();
    }

    /// Sets the number of reports that wait to be written, and the waiting time of the oldest.
    pub(crate) fn set_reports_waiting(&self, count: usize, oldest: Duration) {
        self.reports_waiting.set(signed(count as u64));
        self.report_age.set(oldest.as_secs_f64());
    }
}
