//! What is traced on one host: a cgroup, containers, everything, or a process with or without its descendants.

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

/// Longest time between two looks at the engine while a container is waited for.
const TICK: Duration = Duration::from_millis(500);

/// What is traced.
#[derive(Debug)]
pub(crate) enum Target {
    /// A cgroup; its folder is held open, so that its id stays its own.
    Cgroup { root: CgroupRoot, folder: CgroupFolder, heading: String },
    /// Containers by name, all of them, or everything on the host by container and service.
    Containers(Box<ContainersTarget>),
    /// A process by its id.
    Process(ProcessTarget),
}

impl Target {
    /// Finds what the command line names. A container may be absent yet if it is to be [waited](Self::wait) for.
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

    /// What is traced, for people.
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

    /// Arms the kernel for the target: a session that wants what `spec` says and selects the target.
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

    /// Waits for a container that has not started yet, after [`Self::start`]. Returns whether there is something to trace,
    /// which there is not when `stopped` came before.
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

    /// Ends when [`Self::follow`] may have something to do sooner than at the next tick.
    pub(crate) async fn changed(&mut self) -> Result<(), HostError> {
        match self {
            Self::Containers(containers) => containers.changed().await,
            Self::Cgroup { .. } | Self::Process(_) => pending().await,
        }
    }

    /// Goes on with what has the target's name now: a service or container that restarts gets a new cgroup under its old
    /// name. If there is nothing left to trace, returns what is gone.
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

    /// Whether the cgroups of what is traced have names, see [`Self::names_of`].
    pub(crate) fn has_names(&self) -> bool {
        matches!(self, Self::Containers(_))
    }

    /// The names of the container or service that a cgroup belongs to, where several are traced.
    pub(crate) fn names_of(&mut self, cgroup: u64, path: impl FnOnce() -> Option<PathBuf>) -> Option<Names> {
        match self {
            Self::Containers(containers) => containers.names_of(cgroup, path),
            Self::Cgroup { .. } | Self::Process(_) => None,
        }
    }
}

/// A cgroup's path for people. Whoever made the cgroup has chosen its name.
fn shown(path: &Path) -> String {
    human::printable(&format!("/{}", path.display())).into_owned()
}

/// The cgroup of a folder, as a session selects it.
fn selected(folder: &CgroupFolder, kind: CgroupKind) -> (u64, SelectedCgroup) {
    (folder.id(), SelectedCgroup { kind, path: folder.path().to_owned() })
}
