//! A process as a target, with or without its descendants.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use procfs::{
    ProcError,
    process::{Process, all_processes},
};

use crate::{
    cgroups::CgroupRoot,
    engine::{Engine, HttpSpec, SessionId, SessionSpec},
    host::HostError,
};

/// Minimum time between two searches for the cgroups of a process's descendants.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A search may take at most one part in this many of the time, so on a machine with many processes there are fewer
/// searches.
const LOOK_SHARE: u32 = 50;

/// A process given by its id.
#[derive(Debug)]
pub(crate) struct ProcessTarget {
    pub(super) root: CgroupRoot,
    pub(super) pid: u32,
    pub(super) descendants: bool,
    pub(super) heading: String,
    next_look: Instant,
}

impl ProcessTarget {
    pub(super) fn new(root: CgroupRoot, pid: u32, descendants: bool, heading: String) -> Self {
        Self { root, pid, descendants, heading, next_look: Instant::now() }
    }

    /// Follows the process to its current cgroup. If nothing is left of it, returns a description of what has ended.
    pub(super) fn follow(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
    ) -> Result<Option<String>, HostError> {
        let Self { root, pid, next_look, .. } = self;
        if !self.descendants {
            if has_ended(*pid) {
                return Ok(Some(format!("process {pid}")));
            }
            look_at(root, &BTreeMap::from([(*pid, false)]), engine, session)?;
            return Ok(None);
        }
        // The process may end before its descendants, so only the end of all of them ends the trace.
        let begin = Instant::now();
        if begin >= *next_look {
            follow_descendants(root, *pid, engine, session)?;
            // The kernel's list may still have processes that ended while they were being listed, so each is checked.
            if engine.selected_processes(session)?.into_iter().all(has_ended) {
                return Ok(Some(format!("process {pid} with all its descendants")));
            }
            *next_look = Instant::now() + LOOK_INTERVAL.max(begin.elapsed() * LOOK_SHARE);
        }
        Ok(None)
    }

    /// Starts a session that selects the process.
    pub(super) fn start(
        &self,
        engine: &mut Engine,
        session: &SessionId,
        mut spec: SessionSpec,
    ) -> Result<(), HostError> {
        let Self { root, pid, descendants, .. } = self;
        // Loading the programs takes a while, during which processes start and end. So the processes are listed
        // afterwards, and counting begins for all of them at once.
        engine.start(session, spec.clone())?;
        spec.processes.insert(*pid, *descendants);
        if *descendants {
            add_descendants(*pid, &mut spec.processes)?;
        }
        if let Some(http) = &mut spec.http {
            http.cgroups.extend(cgroups_of(root, &spec.processes));
        }
        engine.update(session, spec.clone())?;
        // From here on the kernel follows new children. Those that started in the meantime are found by searching
        // until a search finds no new one.
        while *descendants && add_descendants(*pid, &mut spec.processes)? {
            if let Some(http) = &mut spec.http {
                http.cgroups.extend(cgroups_of(root, &spec.processes));
            }
            engine.update(session, spec.clone())?;
        }
        Ok(())
    }
}

/// Returns true if a process has ended: it is gone, or a zombie without other threads. The first thread of a process may end
/// before the others. If nothing can be found out about a process, it counts as running.
fn has_ended(pid: u32) -> bool {
    let Ok(id) = pid.try_into() else { return true };
    match Process::new(id).and_then(|process| process.stat()) {
        Ok(stat) => matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1,
        Err(error) => matches!(error, ProcError::NotFound(_)),
    }
}

/// Returns the cgroups of processes, by id. A process that has ended has none, and most processes share theirs.
fn cgroups_of(root: &CgroupRoot, processes: &BTreeMap<u32, bool>) -> BTreeMap<u64, PathBuf> {
    let folders: HashSet<PathBuf> = processes.keys().filter_map(|pid| root.of_pid(*pid).ok()).collect();
    folders.into_iter().filter_map(|folder| Some((root.id_of(&folder).ok()?, folder))).collect()
}

/// If the session wants HTTP, adds the current cgroups of the process's descendants to it. The kernel follows new
/// descendants by itself, but not into their cgroups.
fn follow_descendants(
    root: &CgroupRoot,
    pid: u32,
    engine: &mut Engine,
    session: &SessionId,
) -> Result<(), HostError> {
    let Some(spec) = engine.spec(session).filter(|spec| spec.http.is_some()) else { return Ok(()) };
    let mut processes = spec.processes.clone();
    add_descendants(pid, &mut processes)?;
    look_at(root, &processes, engine, session)
}

/// If the session wants HTTP, adds the cgroups of these processes to it.
fn look_at(
    root: &CgroupRoot,
    processes: &BTreeMap<u32, bool>,
    engine: &mut Engine,
    session: &SessionId,
) -> Result<(), HostError> {
    let Some((spec, http)) = engine.spec(session).and_then(|spec| Some((spec, spec.http.as_ref()?))) else {
        return Ok(());
    };
    let mut cgroups = http.cgroups.clone();
    cgroups.extend(cgroups_of(root, processes));
    if cgroups != http.cgroups {
        let http = Some(HttpSpec { cgroups, ..http.clone() });
        engine.update(session, SessionSpec { http, ..spec.clone() })?;
    }
    Ok(())
}

/// Adds the descendants of `pid` that are not in `found` yet. Returns true if there were any.
fn add_descendants(pid: u32, found: &mut BTreeMap<u32, bool>) -> Result<bool, HostError> {
    let processes = all_processes().map_err(|source| HostError::Processes { pid, source })?;
    // A process that ends while it is being read is not an error.
    let mut parents: Vec<(u32, u32)> = processes
        .filter_map(|process| process.ok()?.stat().ok())
        .filter_map(|stat| Some((u32::try_from(stat.pid).ok()?, u32::try_from(stat.ppid).ok()?)))
        .collect();
    let before = found.len();
    loop {
        let count = found.len();
        parents.retain(|(child, parent)| {
            let descends = found.contains_key(parent);
            if descends {
                found.entry(*child).or_insert(true);
            }
            !descends
        });
        if found.len() == count {
            return Ok(count > before);
        }
    }
}
