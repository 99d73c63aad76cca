//! The target of a trace on one host: a cgroup, containers, everything, or a process with or without its descendants.

mod containers;
mod process;

use std::{
    collections::BTreeMap,
    fs,
    future::pending,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use traffictrace_crd::human;

use self::{
    containers::{ContainersTarget, Wanted},
    process::ProcessTarget,
};
use super::{HostError, TargetArgs, containers::Names};
use crate::{
    cgroups::{CgroupError, CgroupFolder, CgroupRoot, container_of, find_root},
    engine::{CgroupKind, Engine, SelectedCgroup, SessionId, SessionSpec},
};

/// Maximum time between two drains of the engine while a container is waited for.
const TICK: Duration = Duration::from_millis(500);

/// The target of a trace.
#[derive(Debug)]
pub(crate) enum Target {
    /// A cgroup. Its folder is held open, so that the cgroup's id is not reused.
    Cgroup { root: CgroupRoot, folder: CgroupFolder, heading: String },
    /// One container by its name, all containers, or everything on the host by container and service.
    Containers(Box<ContainersTarget>),
    /// A process by its id.
    Process(ProcessTarget),
}

impl Target {
    /// Finds the target that the command line names. A container need not exist yet if it is [waited](Self::wait)
    /// for.
    pub(crate) fn find(args: &TargetArgs) -> Result<Self, HostError> {
        let name = |pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            human::printable(name.trim_end()).into_owned()
        };
        let root = find_root(args.cgroup_root.as_deref())?;
        let wanted = match &args.container {
            Some(pattern) => Some(Wanted::Named { pattern: pattern.clone(), wait: args.wait }),
            None if args.host => Some(Wanted::Host),
            None if args.all => Some(Wanted::All),
            None => None,
        };
        if let Some(wanted) = wanted {
            return Ok(Self::Containers(Box::new(ContainersTarget::find(root, wanted)?)));
        }
        let Some(pid) = args.pid else {
            let path = args.cgroup.as_deref().unwrap_or_else(|| root.path());
            let folder = root.open(path)?;
            let heading = match container_of(folder.path()) {
                Some(container) if container.path == folder.path() => {
                    format!("{}, cgroup {}", human::printable(&container.to_string()), shown(folder.path()))
                }
                _ => format!("cgroup {}", shown(folder.path())),
            };
            return Ok(Self::Cgroup { root, folder, heading });
        };
        let path = root.of_pid(pid)?;
        let name = name(pid);
        if args.only_pid {
            let heading = format!("process {pid} ({name}) alone");
            return Ok(Self::Process(ProcessTarget::new(root, pid, false, heading)));
        }
        match container_of(&path) {
            Some(container) => {
                let folder = root.open(&container.path)?;
                let container = human::printable(&container.to_string()).into_owned();
                let heading = format!("{container}, which process {pid} ({name}) is in");
                Ok(Self::Cgroup { root, folder, heading })
            }
            None => {
                let heading = format!(
                    "process {pid} ({name}) and its descendants: it is in no container (cgroup {})",
                    shown(&path)
                );
                Ok(Self::Process(ProcessTarget::new(root, pid, true, heading)))
            }
        }
    }

    /// Describes the target for people.
    pub(crate) fn heading(&self) -> String {
        match self {
            Self::Cgroup { heading, .. } => heading.clone(),
            Self::Containers(containers) => containers.heading(),
            Self::Process(process) => process.heading.clone(),
        }
    }

    /// Root of the cgroup2 tree.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Cgroup { root, .. } => root.path(),
            Self::Containers(containers) => containers.root.path(),
            Self::Process(process) => process.root.path(),
        }
    }

    /// Starts a session that selects the target and traces as `spec` says.
    pub(crate) fn start(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
        spec: SessionSpec,
    ) -> Result<(), HostError> {
        match self {
            Self::Cgroup { folder, .. } => {
                let cgroups = BTreeMap::from([selected(folder, CgroupKind::Container)]);
                engine.start(session, SessionSpec { cgroups, ..spec })?;
                Ok(())
            }
            Self::Containers(containers) => containers.start(engine, session, spec),
            Self::Process(process) => process.start(engine, session, spec),
        }
    }

    /// Waits, after [`Self::start`], for a container that has not started yet. Returns true if there is something to
    /// trace, and false if `stopped` came first.
    pub(crate) async fn wait(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
        mut stopped: impl Future<Output = ()> + Unpin,
    ) -> Result<bool, HostError> {
        let Self::Containers(containers) = self else { return Ok(true) };
        if !containers.is_awaited() {
            return Ok(true);
        }
        eprintln!("Waiting for {} to start. Ctrl-C ends.", containers.heading());
        let begin = Instant::now();
        let limit = containers.limit();
        while containers.is_awaited() {
            let left = limit.map_or(TICK, |limit| limit.saturating_sub(begin.elapsed()));
            if left.is_zero() {
                return Err(containers.not_started());
            }
            tokio::select! {
                () = &mut stopped => return Ok(false),
                changed = containers.changed() => changed?,
                () = tokio::time::sleep(left.min(TICK)) => engine.tick(),
            }
            containers.follow(engine, session)?;
        }
        Ok(true)
    }

    /// Waits until a part of the target may have started or ended, so that [`Self::follow`] is due at once.
    pub(crate) async fn changed(&mut self) -> Result<(), HostError> {
        match self {
            Self::Containers(containers) => containers.changed().await,
            Self::Cgroup { .. } | Self::Process(_) => pending().await,
        }
    }

    /// Selects what has the target's name now: a service or container that restarts gets a new cgroup with its old name.
    /// If nothing is left to trace, returns a description of what has ended.
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
                        return Ok(Some(format!("cgroup {}", shown(path))));
                    }
                    current => current?,
                };
                if current.id() != folder.id()
                    && let Some(spec) = engine.spec(session)
                {
                    let cgroups = BTreeMap::from([selected(&current, CgroupKind::Container)]);
                    let spec = SessionSpec { cgroups, ..spec.clone() };
                    engine.update(session, spec)?;
                    *folder = current;
                }
                Ok(None)
            }
            Self::Containers(containers) => containers.follow(engine, session),
            Self::Process(process) => process.follow(engine, session),
        }
    }

    /// Returns true if [`Self::names_of`] has names.
    pub(crate) fn has_names(&self) -> bool {
        matches!(self, Self::Containers(_))
    }

    /// Returns the names of the container or service that a cgroup belongs to; `None` if the target is only one.
    pub(crate) fn names_of(&mut self, cgroup: u64, path: impl FnOnce() -> Option<PathBuf>) -> Option<Names> {
        match self {
            Self::Containers(containers) => containers.names_of(cgroup, path),
            Self::Cgroup { .. } | Self::Process(_) => None,
        }
    }
}

/// Makes a cgroup's path safe to print. Whoever made the cgroup has chosen its name.
fn shown(path: &Path) -> String {
    human::printable(&format!("/{}", path.display())).into_owned()
}

/// Describes the cgroup of a folder for a session.
fn selected(folder: &CgroupFolder, kind: CgroupKind) -> (u64, SelectedCgroup) {
    (folder.id(), SelectedCgroup { kind, path: folder.path().to_owned() })
}
