//! The BPF programs that a process has attached, read from the kernel.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Result, TestError, bpf};

/// The kernel's counters of one name's programs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Runs that statistics counted.
    pub(super) runs: f64,
    /// Time of these runs, ns.
    pub(super) nanos: f64,
    /// Events for which the program did not run, since it was running on that CPU already.
    pub(super) recursion_misses: u64,
}

/// Programs that links of a process attach, by name.
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
            // Fields that are 0 are left out.
            counters.runs += program["run_cnt"].as_f64().unwrap_or(0.0);
            counters.nanos += program["run_time_ns"].as_f64().unwrap_or(0.0);
            counters.recursion_misses += program["recursion_misses"].as_u64().unwrap_or(0);
        }
    }
    Ok(programs)
}

/// Ids of all links of the machine, none where they cannot be listed.
pub(super) fn links() -> BTreeSet<u64> {
    let links = bpf::show("link").unwrap_or_default();
    links.iter().filter_map(|link| link["id"].as_u64()).collect()
}

/// Programs seen attached in the course of a measurement, with the sum of their recursion misses.
#[derive(Debug, Default)]
pub(super) struct Seen {
    misses: BTreeMap<String, u64>,
}

impl Seen {
    /// Adds the programs of a process that is about to detach them.
    ///
    /// # Errors
    ///
    /// When statistics of BPF programs were on, so that rates are not what they seem.
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

    /// Prints them.
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
