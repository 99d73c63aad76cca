//! Figures about the engine itself, for metrics.

use std::time::Duration;

use super::{Engine, Losses, losses::losses};

/// The current state of the engine.
#[derive(Debug, Clone, Default)]
pub struct EngineStats {
    /// Number of cgroups that any session selects.
    pub cgroups: usize,
    /// Number of slots of the flow table; 0 while nothing is loaded.
    pub slots: usize,
    /// Number of slots in use.
    pub slots_in_use: usize,
    /// Losses since the programs were loaded.
    pub losses: Losses,
    /// The kernel programs. Their figures are zero unless the kernel keeps statistics.
    pub programs: Vec<ProgramStats>,
}

/// The kernel's statistics of a program.
#[derive(Debug, Clone)]
pub struct ProgramStats {
    /// Name of the program.
    pub name: String,
    /// Total run time.
    pub time: Duration,
    /// Number of runs.
    pub runs: u64,
}

impl Engine {
    /// Returns the current figures. Costs a few system calls for each program.
    pub fn stats(&self) -> EngineStats {
        let Some(tracer) = &self.tracer else { return EngineStats::default() };
        let cgroups: std::collections::BTreeSet<&u64> =
            self.sessions.values().flat_map(|session| session.spec.cgroups.keys()).collect();
        let (slots, slots_in_use) = tracer.slot_use();
        let programs = tracer.program_stats().into_iter();
        EngineStats {
            cgroups: cgroups.len(),
            slots,
            slots_in_use,
            losses: losses(tracer, &self.slots),
            programs: programs.map(|(name, time, runs)| ProgramStats { name, time, runs }).collect(),
        }
    }

    /// Returns the durations of the drains since the last call, at most the first 64.
    pub fn take_drains(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.drains)
    }
}
