//! Containers as a target: one by its name, all of them, or everything on the host, by container and service.

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

/// Time for which a container may be absent, as during a restart, before its trace ends.
const RESTART: Duration = Duration::from_secs(3);
/// Maximum number of cgroups whose names are kept. Beyond it, the oldest ones that no longer exist are forgotten, and
/// their rows show an id.
const MAX_NAMES: usize = 100_000;

/// The containers to trace.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// One container, and those that later have its name.
    Named {
        /// Name or id on the command line.
        pattern: ContainerPattern,
        /// The maximum time to wait for the container; `None` if it must be running.
        wait: Option<Wait>,
    },
    /// All containers.
    All,
    /// All containers, and everything else on the host.
    Host,
}

/// The property by which a restarted container is recognised.
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

    /// Returns true if this is the traced container. If a container is first known by its id and gets a name later,
    /// the id stays valid.
    fn is_of(&self, container: &Container) -> bool {
        match self {
            Self::Names(names) => container.names.as_ref() == Some(names),
            Self::Id(id) => container.path.name.id == *id,
        }
    }
}

/// The containers that are traced.
#[derive(Debug)]
pub(crate) struct ContainersTarget {
    pub(super) root: CgroupRoot,
    tree: ContainerTree,
    wanted: Wanted,
    /// Identity and description of the single container, once it is known.
    identity: Option<(Identity, String)>,
    /// Selected folders, by the id of their cgroups.
    open: BTreeMap<u64, CgroupFolder>,
    /// Names of all cgroups that have been selected or have rows.
    names: HashMap<u64, Names>,
    /// Time since which nothing is selected, if something was selected before.
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

    /// Finds the container on the command line, or the names of a container that is known by its id. The container may be
    /// absent if it is waited for.
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

    /// Returns true if the container has not been seen yet.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.wanted, Wanted::Named { .. }) && self.identity.is_none()
    }

    /// Maximum time to wait for the container.
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
        // Loading the programs takes a while, during which containers start and end, so the selection is updated at
        // once.
        engine.start(session, spec)?;
        self.follow(engine, session)?;
        Ok(())
    }

    /// Selects the containers that run now. If the trace is over because nothing is left and nothing is waited for,
    /// returns a description of what has ended.
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

    /// Returns the folders that have to be selected now, by the id of their cgroups.
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

    /// Opens new folders, and closes those that are no longer selected.
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
                // The container has ended in the meantime; the next event will report it.
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

    /// Stores the names of containers, since their rows stay when they end.
    fn remember_names(&mut self) {
        let Self { tree, names, .. } = self;
        for container in tree.containers() {
            // A container's name may become known some time after its start.
            let is_known =
                names.get(&container.cgroup).is_some_and(|known| Some(known) == container.names.as_ref());
            if !is_known {
                names.insert(container.cgroup, best_names(tree, container));
            }
        }
        if self.names.len() > MAX_NAMES {
            let running: HashSet<u64> = self.tree.containers().map(|container| container.cgroup).collect();
            let mut gone: Vec<u64> = self.names.keys().copied().filter(|id| !running.contains(id)).collect();
            // Ids of cgroups only grow, so the lowest are the oldest.
            gone.sort_unstable();
            gone.iter().take(gone.len() / 2).for_each(|id| drop(self.names.remove(id)));
        }
    }

    /// Returns the names of the container or service that a cgroup belongs to. `path` returns the cgroup's folder from the
    /// root of the tree, if it is known.
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

/// Returns the names of a container. Without names: those of the innermost container around it, or its id.
fn best_names(tree: &ContainerTree, container: &Container) -> Names {
    let around = tree.around(&container.path.path).and_then(|around| around.names.clone());
    around.unwrap_or_else(|| named(&short(&container.path.name.id)))
}

/// Shortens an id as container tools do.
fn short(id: &str) -> String {
    id.get(..12).filter(|_| id.len() == 64).unwrap_or(id).to_owned()
}

fn named(name: &str) -> Names {
    Names { container: Some(name.to_owned()), ..Names::default() }
}

/// Names a cgroup outside of containers, or the cgroup of a container that has ended without a name: by its innermost
/// systemd service or scope, else by its folder.
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
        // The rows keep the name of a container that has ended.
        cgroup.remove(&"ab".repeat(32));
        timeout(Duration::from_secs(5), target.changed()).await.unwrap().unwrap();
        target.remember_names();
        assert_eq!(target.names_of(id, || None), Some(named("abababababab")));
    }

    /// A container that is created before it runs is found by its id. Its supervisor, which knows the name, starts
    /// later.
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

        // A shell that has the name of Podman's supervisor. Its child, the container's process, ends when its
        // standard input is closed.
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
