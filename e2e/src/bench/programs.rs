//! The BPF programs that a process has attached, as the kernel lists them.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Result, TestError, bpf};

/// The kernel's counters of all programs of one name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Number of runs that the statistics counted.
    pub(super) runs: f64,
    /// Total time of these runs in ns.
    pub(super) nanos: f64,
    /// Number of events for which the program did not run because it was already running on that CPU.
    pub(super) recursion_misses: u64,
}

/// Lists the programs that the links of a process attach, by name.
pub(super) fn attached(pid: u32) -> Result<BTreeMap<String, Counters>> {
    let held = bpf::held_by(pid)?.links;
    let links = bpf::show("link")?;
    let ids: Vec<u64> = links
        .iter()
        .filter(|link| link["id"].as_u64().is_some_and(|id| held.contains(&id)))
        .filter_map(|link| link["prog_id"].as_u64())
        .collect();
    let mut programs: BTreeMap<String, Counters> = BTreeMap::new();
    for program in bpf::show("prog")? {
        let (Some(id), Some(name)) = (program["id"].as_u64(), program["name"].as_str()) else { continue };
        if ids.contains(&id) {
            let counters = programs.entry(name.to_owned()).or_default();
            // The fields are missing if they are 0.
            counters.runs += program["run_cnt"].as_f64().unwrap_or(0.0);
            counters.nanos += program["run_time_ns"].as_f64().unwrap_or(0.0);
            counters.recursion_misses += program["recursion_misses"].as_u64().unwrap_or(0);
        }
    }
    Ok(programs)
}

/// Lists the ids of all links of the machine; empty if they cannot be listed.
pub(super) fn links() -> BTreeSet<u64> {
    let links = bpf::show("link").unwrap_or_default();
    links.iter().filter_map(|link| link["id"].as_u64()).collect()
}

/// Programs that were attached during a measurement, with the sum of their recursion misses.
#[derive(Debug, Default)]
pub(super) struct Seen {
    misses: BTreeMap<String, u64>,
}

impl Seen {
    /// Adds the programs of a process; called just before that process detaches them.
    ///
    /// # Errors
    ///
    /// Fails when the statistics of BPF programs were on, because they distort rates.
    pub(super) fn add(&mut self, pid: u32) -> Result<()> {
        for (name, counters) in attached(pid)? {
            if counters.runs > 0.0 {
                let found = format!("on ({name} ran {} times); end what asks for them", counters.runs);
                return Err(TestError::unexpected("the state of the kernel's BPF statistics", found));
            }
            *self.misses.entry(name).or_default() += counters.recursion_misses;
        }
        Ok(())
    }

    /// Prints the programs and their recursion misses.
    pub(super) fn print(&self) {
        let names: Vec<&str> = self.misses.keys().map(String::as_str).collect();
        let missed: Vec<String> = self
            .misses
            .iter()
            .filter(|(_, misses)| **misses > 0)
            .map(|(name, misses)| format!("{name} {misses}"))
            .collect();
        let missed = if missed.is_empty() { "0 of each".to_owned() } else { missed.join(", ") };
        println!("\nAttached while it traced: {}. `recursion_misses`: {missed}.", names.join(", "));
    }
}
