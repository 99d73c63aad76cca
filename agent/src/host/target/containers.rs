//! Containers as a target: one by its name, all of them, or everything on the host by container and service.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use traffictrace_crd::human;

use super::{selected, shown};
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

    /// Whether a container is the one that is meant. A name can come later than the id, which stays valid then.
    fn is_of(&self, container: &Container) -> bool {
        match self {
            Self::Names(names) => container.names.as_ref() == Some(names),
            Self::Id(id) => container.path.name.id == *id,
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

    /// Finds the container that is meant, or the names of one that was found by its id. One that is waited for may be absent.
    fn identify(&mut self) -> Result<(), HostError> {
        let Wanted::Named { pattern, wait } = &self.wanted else { return Ok(()) };
        let found = match &self.identity {
            Some((Identity::Names(_), _)) => return Ok(()),
            Some((id, _)) => {
                let named = |container: &&Container| container.names.is_some() && id.is_of(container);
                let Some(container) = self.tree.containers().find(named) else { return Ok(()) };
                Ok(container)
            }
            None => pattern.find(self.tree.containers(), self.root.path()),
        };
        match found {
            Ok(container) => {
                let heading =
                    format!("container {}, cgroup {}", described(container), shown(&container.path.path));
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
        let wanted = self.wanted()?;
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

    /// The folders that are to be selected now, by the id of their cgroups.
    fn wanted(&self) -> Result<BTreeMap<u64, PathBuf>, HostError> {
        Ok(match &self.wanted {
            Wanted::Host => [(self.root.id_of(Path::new(""))?, PathBuf::new())].into(),
            Wanted::All => self.running(|_| true),
            Wanted::Named { .. } => match &self.identity {
                Some((identity, _)) => self.running(|container| identity.is_of(container)),
                None => BTreeMap::new(),
            },
        })
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
        let Self { tree, names, .. } = self;
        for container in tree.containers() {
            // A name can come late.
            let is_known =
                names.get(&container.cgroup).is_some_and(|known| Some(known) == container.names.as_ref());
            if !is_known {
                names.insert(container.cgroup, best_names(tree, container));
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
        let container = self.tree.around(&path);
        let names =
            container.map_or_else(|| named(&outside(&path)), |container| best_names(&self.tree, container));
        if container.is_none_or(|container| container.names.is_some()) {
            self.names.insert(cgroup, names.clone());
        }
        Some(names)
    }
}

/// The names of a container; of one that has none, those of the innermost around it, or its id.
fn best_names(tree: &ContainerTree, container: &Container) -> Names {
    let around = tree.around(&container.path.path).and_then(|around| around.names.clone());
    around.unwrap_or_else(|| named(&short(&container.path.name.id)))
}

/// An id as container tools print it.
fn short(id: &str) -> String {
    id.get(..12).filter(|_| id.len() == 64).unwrap_or(id).to_owned()
}

fn named(name: &str) -> Names {
    Names { container: Some(name.to_owned()), ..Names::default() }
}

/// Name of a cgroup outside of containers, or of a container that is gone and had none: its innermost service or scope of
/// systemd, else its folder.
fn outside(path: &Path) -> String {
    if let Some(container) = crate::cgroups::container_of(path) {
        return short(&container.name.id);
    }
    let names = path.iter().rev().filter_map(|name| name.to_str());
    let unit = names.into_iter().find(|name| name.ends_with(".service") || name.ends_with(".scope"));
    unit.map_or_else(|| shown(path), |unit| human::printable(unit).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    use tokio::time::timeout;

    use super::*;
    use crate::testing::{TestCgroup, writable_cgroups};

    #[test]
    fn what_is_in_no_container_is_named_by_its_unit_or_folder() {
        for (path, name) in [
            ("system.slice/ssh.service", "ssh.service"),
            ("user.slice/user-0.slice/user@0.service/app.slice/dbus.service/inner", "dbus.service"),
            ("user.slice/user-0.slice/session-3.scope", "session-3.scope"),
            ("tt-node1/system/kubelet", "/tt-node1/system/kubelet"),
            ("", "/"),
            ("a/\u{1b}[2J", "/a/?[2J"),
            ("a/\u{1b}[2J.service", "?[2J.service"),
        ] {
            assert_eq!(outside(Path::new(path)), name, "{path}");
        }
        assert_eq!(outside(Path::new("docker").join("ab".repeat(32)).as_path()), "abababababab");
    }

    #[tokio::test]
    async fn a_container_that_nobody_names_has_its_id() {
        let Some(root) = writable_cgroups() else { return };
        let cgroup = TestCgroup::new(&root);
        let path = cgroup.make(&"ab".repeat(32));
        let id = root.id_of(&path).unwrap();
        let mut target = ContainersTarget::find(root, Wanted::All).unwrap();
        target.remember_names();
        assert_eq!(target.names_of(id, || None), Some(named("abababababab")));
        // Its row keeps the name.
        cgroup.remove(&"ab".repeat(32));
        timeout(Duration::from_secs(5), target.changed()).await.unwrap().unwrap();
        target.remember_names();
        assert_eq!(target.names_of(id, || None), Some(named("abababababab")));
    }

    /// A container that is created before it runs is found by its id, and its supervisor, which names it, comes later.
    #[tokio::test]
    async fn a_container_that_is_meant_by_its_id_stays_selected_when_its_name_comes() {
        let Some(root) = writable_cgroups() else { return };
        let cgroup = TestCgroup::new(&root);
        let id = "ab".repeat(32);
        let path = cgroup.make(&id);
        let cgroup_id = root.id_of(&path).unwrap();
        let pattern = id.parse().unwrap();
        let wanted = Wanted::Named { pattern, wait: Some(Wait(None)) };
        let mut target = ContainersTarget::find(root.clone(), wanted).unwrap();
        let selected = BTreeMap::from([(cgroup_id, path.clone())]);
        assert_eq!(target.wanted().unwrap(), selected);

        // A shell under the name of Podman's supervisor. Its child, the container's process, ends with its input.
        let procs = root.path().join(&path).join("cgroup.procs");
        let mut supervisor = Command::new("sh")
            .arg0("conmon")
            .args(["-c", r#"sh -c 'echo 0 > "$0" && cat' "$0" <&0 & wait"#])
            .arg(&procs)
            .args(["-n", "web"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !target.heading().contains("web") {
            timeout(Duration::from_secs(5), target.changed()).await.expect("no name comes").unwrap();
            target.identify().unwrap();
            assert_eq!(target.wanted().unwrap(), selected);
        }
        assert_eq!(target.identity.as_ref().unwrap().0, Identity::Names(named("web")));
        drop(supervisor.stdin.take());
        supervisor.wait().unwrap();
    }
}
