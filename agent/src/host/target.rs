//! What is traced on one host: a cgroup, or a process with or without its descendants.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use procfs::{
    ProcError,
    process::{Process, all_processes},
};

use super::{HostError, TargetArgs};
use crate::{
    cgroups::{CgroupError, CgroupFolder, CgroupRoot, container_of, find_root},
    engine::{CgroupKind, Engine, HttpSpec, SelectedCgroup, SessionId, SessionSpec},
};

/// Shortest time between two looks for the cgroups of a process's descendants.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A look may take one part in so many of the time: on a machine with many processes it takes longer.
const LOOK_SHARE: u32 = 50;

/// What is traced.
#[derive(Debug)]
pub(crate) enum Target {
    /// A cgroup; its folder is held open, so that its id stays its own.
    Cgroup { root: CgroupRoot, folder: CgroupFolder, heading: String },
    /// A process by its id.
    Process { root: CgroupRoot, pid: u32, descendants: bool, heading: String, next_look: Instant },
}

impl Target {
    /// Finds what the command line names.
    pub(crate) fn find(args: &TargetArgs) -> Result<Self, HostError> {
        let name =
            |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
        let root = find_root(args.cgroup_root.as_deref())?;
        if let Some(id) = &args.container {
            let container = id.find(&root)?;
            let folder = root.open(&container.path)?;
            let heading = format!("{container}, cgroup /{}", folder.path().display());
            return Ok(Self::Cgroup { root, folder, heading });
        }
        let Some(pid) = args.pid else {
            let path = args.cgroup.as_deref().unwrap_or_else(|| root.path());
            let folder = root.open(path)?;
            let heading = match container_of(folder.path()) {
                Some(container) if container.path == folder.path() => {
                    format!("{container}, cgroup /{}", folder.path().display())
                }
                _ => format!("cgroup /{}", folder.path().display()),
            };
            return Ok(Self::Cgroup { root, folder, heading });
        };
        let path = root.of_pid(pid)?;
        let name = name(pid);
        if args.only_pid {
            let heading = format!("process {pid} ({name}) alone");
            return Ok(Self::Process { root, pid, descendants: false, heading, next_look: Instant::now() });
        }
        match container_of(&path) {
            Some(container) => {
                let folder = root.open(&container.path)?;
                let heading = format!("{container}, which process {pid} ({name}) is in");
                Ok(Self::Cgroup { root, folder, heading })
            }
            None => {
                let heading = format!(
                    "process {pid} ({name}) and its descendants: it is in no container (cgroup /{})",
                    path.display()
                );
                Ok(Self::Process { root, pid, descendants: true, heading, next_look: Instant::now() })
            }
        }
    }

    /// What is traced, for people.
    pub(crate) fn heading(&self) -> String {
        let (Self::Cgroup { heading, .. } | Self::Process { heading, .. }) = self;
        heading.clone()
    }

    /// Root of the cgroup2 tree.
    pub(crate) fn root(&self) -> &Path {
        let (Self::Cgroup { root, .. } | Self::Process { root, .. }) = self;
        root.path()
    }

    /// Goes on with what has the target's name now: a service that restarts gets a new cgroup under its old name. If there
    /// is nothing left to trace, returns what is gone.
    pub(crate) fn follow(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
    ) -> Result<Option<String>, HostError> {
        match self {
            Self::Cgroup { root, folder, .. } => {
                let path = folder.path();
                let current = match root.open(path) {
                    Err(CgroupError::NoSuchCgroup { .. }) => {
                        return Ok(Some(format!("cgroup /{}", path.display())));
                    }
                    current => current?,
                };
                if current.id() != folder.id()
                    && let Some(spec) = engine.spec(session)
                {
                    let spec = SessionSpec { cgroups: selected(&current), ..spec.clone() };
                    engine.update(session, spec)?;
                    *folder = current;
                }
                Ok(None)
            }
            // Descendants may outlive the process.
            Self::Process { root, pid, descendants: true, next_look, .. } => {
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
            Self::Process { root, pid, .. } => {
                if has_ended(*pid) {
                    return Ok(Some(format!("process {pid}")));
                }
                let pids = BTreeMap::from([(*pid, false)]);
                look_at(root, &pids, engine, session)?;
                Ok(None)
            }
        }
    }

    /// Arms the kernel for it: a session that wants what `spec` says and selects the target.
    pub(crate) fn start(
        &self,
        engine: &mut Engine,
        session: &SessionId,
        mut spec: SessionSpec,
    ) -> Result<(), HostError> {
        match self {
            Self::Cgroup { folder, .. } => {
                spec.cgroups = selected(folder);
                engine.start(session, spec)?;
            }
            Self::Process { root, pid, descendants, .. } => {
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
            }
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

/// The cgroup of a folder, as a session selects it.
fn selected(folder: &CgroupFolder) -> BTreeMap<u64, SelectedCgroup> {
    let path = folder.path().to_owned();
    BTreeMap::from([(folder.id(), SelectedCgroup { kind: CgroupKind::Container, path })])
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
