//! Figures about the engine itself, for metrics.

use std::time::Duration;

use super::{Engine, Losses, losses::losses};

/// The engine as it stands.
#[derive(Debug, Clone, Default)]
pub struct EngineStats {
    /// Cgroups that any session selects.
    pub cgroups: usize,
    /// Slots of the flow table; 0 while nothing is loaded.
    pub slots: usize,
    /// Those of them in use.
    pub slots_in_use: usize,
    /// Losses since the programs were loaded.
    pub losses: Losses,
    /// The kernel programs, where the kernel keeps statistics of them.
    pub programs: Vec<ProgramStats>,
}

/// The kernel's statistics of a program.
#[derive(Debug, Clone)]
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// The time that it has run.
    pub time: Duration,
    /// The number of its runs.
    pub runs: u64,
}

impl Engine {
    /// Figures of now. Costs a few system calls for each program.
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

    /// The time that each drain took since the last call, of the first 64.
    pub fn take_drains(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.drains)
    }
}
