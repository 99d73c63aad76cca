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

/// Shortest time between two looks for the cgroups of a process's descendants.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A look may take one part in so many of the time: on a machine with many processes it takes longer.
const LOOK_SHARE: u32 = 50;

/// A process by its id.
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

    /// Follows the process to where it is now. Returns what is gone, if nothing is left of it.
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
        // Descendants may outlive the process.
        let begin = Instant::now();
        if begin >= *next_look {
            follow_descendants(root, *pid, engine, session)?;
            // The kernel lists those that have not ended, and some that ended while they were listed.
            if engine.selected_processes(session)?.into_iter().all(has_ended) {
                return Ok(Some(format!("process {pid} with all its descendants")));
            }
            *next_look = Instant::now() + LOOK_INTERVAL.max(begin.elapsed() * LOOK_SHARE);
        }
        Ok(None)
    }

    /// Arms the kernel for the process.
    pub(super) fn start(
        &self,
        engine: &mut Engine,
        session: &SessionId,
        mut spec: SessionSpec,
    ) -> Result<(), HostError> {
        let Self { root, pid, descendants, .. } = self;
        // Loading the programs takes a while, in which processes come and go. All of them begin at once.
        engine.start(session, spec.clone())?;
        spec.processes.insert(*pid, *descendants);
        if *descendants {
            add_descendants(*pid, &mut spec.processes)?;
        }
        if let Some(http) = &mut spec.http {
            http.cgroups.extend(cgroups_of(root, &spec.processes));
        }
        engine.update(session, spec.clone())?;
        // The kernel follows new children from here on; those that came meanwhile are found by looking until a
        // look finds no new one.
        while *descendants && add_descendants(*pid, &mut spec.processes)? {
            if let Some(http) = &mut spec.http {
                http.cgroups.extend(cgroups_of(root, &spec.processes));
            }
            engine.update(session, spec.clone())?;
        }
        Ok(())
    }
}

/// Tells whether a process has ended: it is gone, or only waits for its parent to take notice. The first thread of a process
/// may have ended before the others. A process of which nothing can be learnt is taken to go on.
fn has_ended(pid: u32) -> bool {
    let Ok(id) = pid.try_into() else { return true };
    match Process::new(id).and_then(|process| process.stat()) {
        Ok(stat) => matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1,
        Err(error) => matches!(error, ProcError::NotFound(_)),
    }
}

/// The cgroups of these processes, by id. One that has ended has none, and most share theirs.
fn cgroups_of(root: &CgroupRoot, processes: &BTreeMap<u32, bool>) -> BTreeMap<u64, PathBuf> {
    let folders: HashSet<PathBuf> = processes.keys().filter_map(|pid| root.of_pid(*pid).ok()).collect();
    folders.into_iter().filter_map(|folder| Some((root.id_of(&folder).ok()?, folder))).collect()
}

/// Has the HTTP of a process's descendants be looked at where they are now, if the session wants HTTP: the kernel follows
/// new ones by itself, but not to their cgroups.
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

/// Has HTTP be looked at in the cgroups of these processes too, if the session wants HTTP.
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

/// Adds the descendants of `pid` that are not in `found` yet; says whether there were any.
fn add_descendants(pid: u32, found: &mut BTreeMap<u32, bool>) -> Result<bool, HostError> {
    let processes = all_processes().map_err(|source| HostError::Processes { pid, source })?;
    // A process that ends while it is looked at is not an error.
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
