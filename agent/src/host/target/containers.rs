//! Containers as a target: one by its name, all of them, or everything on the host by container and service.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::selected;
use crate::{
    cgroups::{CgroupError, CgroupFolder, CgroupRoot},
    engine::{CgroupKind, Engine, SessionId, SessionSpec},
    host::{
        HostError,
        args::Wait,
        containers::{Container, ContainerPattern, ContainerTree, Names, described},
    },
};

/// Time for which a container may be gone, as while it restarts, before its trace ends.
const RESTART: Duration = Duration::from_secs(3);
/// Most cgroups whose names are kept: beyond that, those of the longest gone are forgotten and their rows have an id.
const MAX_NAMES: usize = 100_000;

/// Which containers are traced.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// The one that is meant, and those that come later under its name.
    Named {
        /// Name or id.
        pattern: ContainerPattern,
        /// Whether one that is absent is waited for.
        wait: Option<Wait>,
    },
    /// All of them.
    All,
    /// All of them, and everything else on the host.
    Host,
}

/// What makes a container that comes later the same to people.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    Names(Names),
    Id(String),
}

impl Identity {
    fn of(container: &Container) -> Self {
        match &container.names {
            Some(names) => Self::Names(names.clone()),
            None => Self::Id(container.path.name.id.clone()),
        }
    }
}

/// Containers that are traced.
#[derive(Debug)]
pub(crate) struct ContainersTarget {
    pub(super) root: CgroupRoot,
    tree: ContainerTree,
    wanted: Wanted,
    /// Of a single container, once it is known.
    identity: Option<(Identity, String)>,
    /// Folders that are selected, by the id of their cgroups.
    open: BTreeMap<u64, CgroupFolder>,
    /// Names of all cgroups that were selected, or have rows.
    names: HashMap<u64, Names>,
    /// Time since which nothing is selected that was.
    gone: Option<Instant>,
}

impl ContainersTarget {
    pub(super) fn find(root: CgroupRoot, wanted: Wanted) -> Result<Self, HostError> {
        let tree = ContainerTree::new(root.clone())?;
        let mut target = Self {
            root,
            tree,
            wanted,
            identity: None,
            open: BTreeMap::new(),
            names: HashMap::new(),
            gone: None,
        };
        target.identify()?;
        Ok(target)
    }

    /// Finds the container that is meant. One that is waited for may be absent.
    fn identify(&mut self) -> Result<(), HostError> {
        let Wanted::Named { pattern, wait } = &self.wanted else { return Ok(()) };
        if self.identity.is_some() {
            return Ok(());
        }
        match pattern.find(self.tree.containers(), self.root.path()) {
            Ok(container) => {
                let heading =
                    format!("container {}, cgroup /{}", described(container), container.path.path.display());
                self.identity = Some((Identity::of(container), heading));
                Ok(())
            }
            Err(HostError::NoContainer { .. }) if wait.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn heading(&self) -> String {
        match (&self.wanted, &self.identity) {
            (Wanted::Named { pattern, .. }, None) => format!("container {pattern}"),
            (Wanted::Named { .. }, Some((_, heading))) => heading.clone(),
            (Wanted::All, _) => "all containers of this host".to_owned(),
            (Wanted::Host, _) => "everything on this host, by container and service".to_owned(),
        }
    }

    /// Whether the container is still to start for the first time.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.wanted, Wanted::Named { .. }) && self.identity.is_none()
    }

    /// Longest time for which the container is waited for.
    pub(super) fn limit(&self) -> Option<Duration> {
        match &self.wanted {
            Wanted::Named { wait: Some(Wait(limit)), .. } => *limit,
            _ => None,
        }
    }

    pub(super) fn not_started(&self) -> HostError {
        let text = match &self.wanted {
            Wanted::Named { pattern, .. } => pattern.to_string(),
            Wanted::All | Wanted::Host => String::new(),
        };
        HostError::NotStarted { text, waited: self.limit().unwrap_or_default() }
    }

    pub(super) async fn changed(&mut self) -> Result<(), HostError> {
        self.tree.changed().await.map_err(HostError::Follow)
    }

    pub(super) fn start(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
        spec: SessionSpec,
    ) -> Result<(), HostError> {
        // Loading the programs takes a while, in which containers come and go.
        engine.start(session, spec)?;
        self.follow(engine, session)?;
        Ok(())
    }

    /// Selects the containers that run now. Returns what is gone, if nothing will come.
    pub(super) fn follow(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
    ) -> Result<Option<String>, HostError> {
        self.tree.refresh();
        self.identify()?;
        let wanted: BTreeMap<u64, PathBuf> = match &self.wanted {
            Wanted::Host => [(self.root.id_of(Path::new(""))?, PathBuf::new())].into(),
            Wanted::All => self.running(|_| true),
            Wanted::Named { .. } => match &self.identity {
                Some((identity, _)) => self.running(|container| Identity::of(container) == *identity),
                None => BTreeMap::new(),
            },
        };
        let is_same = wanted.len() == self.open.len() && wanted.keys().all(|id| self.open.contains_key(id));
        if !is_same {
            self.select(wanted)?;
            if let Some(spec) = engine.spec(session) {
                let kind = match self.wanted {
                    Wanted::Host => CgroupKind::Tree,
                    Wanted::All | Wanted::Named { .. } => CgroupKind::Container,
                };
                let cgroups = self.open.values().map(|folder| selected(folder, kind)).collect();
                engine.update(session, SessionSpec { cgroups, ..spec.clone() })?;
            }
        }
        self.remember_names();
        Ok(self.gone())
    }

    fn running(&self, is_wanted: impl Fn(&Container) -> bool) -> BTreeMap<u64, PathBuf> {
        let wanted = self.tree.containers().filter(|container| is_wanted(container));
        wanted.map(|container| (container.cgroup, container.path.path.clone())).collect()
    }

    /// Opens the folders that are new and closes those that are not wanted any more.
    fn select(&mut self, wanted: BTreeMap<u64, PathBuf>) -> Result<(), HostError> {
        self.open.retain(|id, _| wanted.contains_key(id));
        for (id, path) in wanted {
            if self.open.contains_key(&id) {
                continue;
            }
            match self.root.open(&path) {
                Ok(folder) => {
                    self.open.insert(folder.id(), folder);
                }
                // The container has ended meanwhile, which is the next event.
                Err(CgroupError::NoSuchCgroup { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn gone(&mut self) -> Option<String> {
        let (Wanted::Named { wait: None, .. }, Some((_, heading))) = (&self.wanted, &self.identity) else {
            return None;
        };
        if !self.open.is_empty() {
            self.gone = None;
            return None;
        }
        let since = *self.gone.get_or_insert_with(Instant::now);
        (since.elapsed() >= RESTART).then(|| heading.clone())
    }

    /// Keeps the names of containers for their rows, which stay when they end.
    fn remember_names(&mut self) {
        for container in self.tree.containers() {
            if let Some(names) = &container.names
                && !self.names.contains_key(&container.cgroup)
            {
                self.names.insert(container.cgroup, names.clone());
            }
        }
        if self.names.len() > MAX_NAMES {
            let running: HashSet<u64> = self.tree.containers().map(|container| container.cgroup).collect();
            let mut gone: Vec<u64> = self.names.keys().copied().filter(|id| !running.contains(id)).collect();
            // Ids of cgroups only grow.
            gone.sort_unstable();
            gone.iter().take(gone.len() / 2).for_each(|id| drop(self.names.remove(id)));
        }
    }

    /// The names of the container, or of the service, that a cgroup belongs to. `path` is its folder, from the root on, as far
    /// as it is known.
    pub(super) fn names_of(&mut self, cgroup: u64, path: impl FnOnce() -> Option<PathBuf>) -> Option<Names> {
        if let Some(names) = self.names.get(&cgroup) {
            return Some(names.clone());
        }
        let path = path()?;
        let (names, is_final) = match self.tree.around(&path) {
            Some(container) => match &container.names {
                Some(names) => (names.clone(), true),
                None => (named(&container.path.name.id), false),
            },
            None => (named(&outside(&path)), true),
        };
        if is_final {
            self.names.insert(cgroup, names.clone());
        }
        Some(names)
    }
}

fn named(name: &str) -> Names {
    Names { container: Some(name.to_owned()), ..Names::default() }
}

/// Name of a cgroup outside of containers, or of a container that is gone and had none: its innermost service or scope of
/// systemd, else its folder.
fn outside(path: &Path) -> String {
    if let Some(container) = crate::cgroups::container_of(path) {
        return container.name.id;
    }
    let names = path.iter().rev().filter_map(|name| name.to_str());
    let unit = names.into_iter().find(|name| name.ends_with(".service") || name.ends_with(".scope"));
    unit.map_or_else(|| format!("/{}", path.display()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_no_container_is_named_by_its_unit_or_folder() {
        for (path, name) in [
            ("system.slice/ssh.service", "ssh.service"),
            ("user.slice/user-0.slice/user@0.service/app.slice/dbus.service/inner", "dbus.service"),
            ("user.slice/user-0.slice/session-3.scope", "session-3.scope"),
            ("tt-node1/system/kubelet", "/tt-node1/system/kubelet"),
            ("", "/"),
        ] {
            assert_eq!(outside(Path::new(path)), name, "{path}");
        }
        assert_eq!(outside(Path::new("docker").join("ab".repeat(32)).as_path()), "ab".repeat(32));
    }
}
