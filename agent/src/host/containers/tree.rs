//! The containers of the cgroup2 tree, as they start and end.
//!
//! inotify reports when a folder is made or removed, and when the first process enters a container that has no name yet.
//! The runtime makes the folder and moves a process of its own into it, which becomes the container's first program some
//! milliseconds later. So a container is usually known before it moves its first byte.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::time::{sleep_until, timeout};

use super::{
    Names,
    supervisor::{Answer, ask},
};
use crate::cgroups::{CgroupError, CgroupRoot, ContainerPath, container_of};

/// Maximum depth of folders that are searched. A container inside a kind node inside a pod is at depth twelve.
const MAX_DEPTH: usize = 32;
/// Size of the buffer for events, in bytes.
const EVENT_BYTES: usize = 64 * 1024;
/// Time for which the name of a container is looked for after its first process was seen. The supervisor becomes that
/// process's ancestor only when the runtime's own process has exited.
const NAMING: Duration = Duration::from_secs(3);
/// Interval between two attempts to find the same name.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// Interval between two scans of the whole tree, if the tree cannot be watched.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// Events take at most one part in this many of the time, on average. A process that creates and removes cgroups all the
/// time must not keep the flow table from being read.
const EVENT_SHARE: u32 = 20;
/// Maximum time spent on events at once after a quiet time.
const BURST: Duration = Duration::from_millis(200);

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    /// Folder, runtime and id of the container.
    pub(crate) path: ContainerPath,
    /// Id of the container's cgroup.
    pub(crate) cgroup: u64,
    /// Names of the container, if they are known.
    pub(crate) names: Option<Names>,
    naming: Naming,
}

#[cfg(test)]
impl Container {
    /// Makes a container whose name is known already, or is not looked for.
    pub(super) fn known(path: ContainerPath, names: Option<Names>) -> Self {
        Self { path, cgroup: 1, names, naming: Naming::Over }
    }
}

/// State of the search for a container's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// The container has no process yet.
    Empty,
    /// The name has been looked for since this time.
    Since(Instant),
    /// The name is known, or the search has been given up.
    Over,
}

/// The purpose of an inotify watch.
#[derive(Clone, Debug)]
enum Watched {
    /// Folders that are made and removed in this folder.
    Folder(PathBuf),
    /// Processes that enter the container with this folder.
    Events(PathBuf),
}

/// All running containers.
pub(crate) struct ContainerTree {
    root: CgroupRoot,
    watches: Watches,
    events: EventStream<Vec<u8>>,
    watched: HashMap<WatchDescriptor, Watched>,
    containers: BTreeMap<PathBuf, Container>,
    /// True if a part of the tree is not watched.
    is_blind: bool,
    /// True if the user was warned that a part of the tree is not watched.
    was_told: bool,
    scanned: Instant,
    /// Processing events for a time `t` moves this moment on by `t * EVENT_SHARE`, from the present on at least. While
    /// it lies more than `BURST * EVENT_SHARE` in the future, events wait.
    paid: Instant,
}

impl std::fmt::Debug for ContainerTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerTree").field("containers", &self.containers).finish_non_exhaustive()
    }
}

impl ContainerTree {
    /// Finds the running containers and follows them from now on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Io`] if inotify is refused, as when the limit `fs.inotify.max_user_instances` is reached.
    pub(crate) fn new(root: CgroupRoot) -> Result<Self, CgroupError> {
        let io_error = |source| CgroupError::Io {
            action: "watch (see the sysctls fs.inotify.*)",
            path: root.path().to_owned(),
            source,
        };
        let inotify = Inotify::init().map_err(io_error)?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; EVENT_BYTES]).map_err(io_error)?;
        let now = Instant::now();
        let mut tree = Self {
            root,
            watches,
            events,
            watched: HashMap::new(),
            containers: BTreeMap::new(),
            is_blind: false,
            was_told: false,
            scanned: now,
            paid: now,
        };
        tree.scan();
        tree.refresh();
        Ok(tree)
    }

    /// Returns the running containers, ordered by their folders.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    /// Returns the innermost container with a name that contains the cgroup or, if none has a name, the innermost
    /// container.
    pub(crate) fn around(&self, cgroup: &Path) -> Option<&Container> {
        let mut innermost = None;
        for folder in cgroup.ancestors() {
            let Some(container) = self.containers.get(folder) else { continue };
            if container.names.is_some() {
                return Some(container);
            }
            innermost = innermost.or(Some(container));
        }
        innermost
    }

    /// Waits until containers may have started, ended or got a name, and updates the list.
    ///
    /// # Errors
    ///
    /// The operating system's error if inotify cannot be read.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        sleep_until(self.next_events().into()).await;
        let asks = self.containers.values().any(|container| matches!(container.naming, Naming::Since(_)));
        let wait = if asks { ASK_INTERVAL } else { SCAN_INTERVAL };
        match timeout(wait, self.events.next()).await {
            Ok(Some(event)) => self.apply(event?),
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => {}
        }
        self.refresh();
        Ok(())
    }

    /// Updates the list with everything that has happened until now.
    pub(crate) fn refresh(&mut self) {
        let begin = Instant::now();
        if begin < self.next_events() {
            return;
        }
        while let Some(Some(Ok(event))) = self.events.next().now_or_never() {
            self.apply(event);
        }
        if self.is_blind && self.scanned.elapsed() >= SCAN_INTERVAL {
            self.scan();
        }
        self.find_names();
        self.paid = self.paid.max(begin) + begin.elapsed() * EVENT_SHARE;
    }

    /// Time before which no events are processed.
    fn next_events(&self) -> Instant {
        self.paid.checked_sub(BURST * EVENT_SHARE).unwrap_or(self.paid)
    }

    fn apply(&mut self, event: EventOwned) {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            self.scan();
            return;
        }
        let Some(watched) = self.watched.get(&event.wd).cloned() else { return };
        if event.mask.contains(EventMask::IGNORED) {
            self.watched.remove(&event.wd);
            return;
        }
        match (watched, event.name) {
            (Watched::Events(path), _) => {
                if let Some(container) = self.containers.get_mut(&path)
                    && container.naming == Naming::Empty
                {
                    container.naming = Naming::Since(Instant::now());
                }
            }
            (Watched::Folder(folder), Some(name)) if event.mask.contains(EventMask::ISDIR) => {
                let path = folder.join(name);
                self.forget(&path);
                if event.mask.contains(EventMask::CREATE) {
                    self.look_into(&path);
                }
            }
            _ => {}
        }
    }

    /// Scans the whole tree.
    fn scan(&mut self) {
        self.is_blind = false;
        self.scanned = Instant::now();
        let before = std::mem::take(&mut self.containers);
        self.look_into(Path::new(""));
        for (path, known) in before {
            if let Some(container) = self.containers.get_mut(&path)
                && container.cgroup == known.cgroup
            {
                *container = known;
            }
        }
    }

    /// Adds a folder and those below it. Each folder is watched before it is read, so nothing can appear unnoticed in
    /// between.
    fn look_into(&mut self, top: &Path) {
        let mut open = vec![(top.to_owned(), top.components().count())];
        while let Some((folder, depth)) = open.pop() {
            self.watch(
                &folder,
                WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR,
                Watched::Folder(folder.clone()),
            );
            let container = container_of(&folder).filter(|container| container.path == folder);
            if let Some((path, cgroup)) =
                container.and_then(|path| Some((path, self.root.id_of(&folder).ok()?)))
            {
                // The watch is set before the first search for a process, so none can enter unnoticed in between.
                self.watch(&folder.join("cgroup.events"), WatchMask::MODIFY, Watched::Events(folder.clone()));
                let naming = Naming::Since(Instant::now());
                self.containers.insert(folder.clone(), Container { path, cgroup, names: None, naming });
            }
            if depth < MAX_DEPTH {
                let children = self.root.children(&folder);
                open.extend(children.iter().map(|name| (folder.join(name), depth + 1)));
            }
        }
    }

    /// Removes the containers at a folder and below it.
    fn forget(&mut self, top: &Path) {
        let gone = self.containers.range(top.to_owned()..).map(|(path, _)| path);
        let gone: Vec<PathBuf> = gone.take_while(|path| path.starts_with(top)).cloned().collect();
        for path in gone {
            self.containers.remove(&path);
        }
    }

    /// Looks for the names that are still missing.
    fn find_names(&mut self) {
        let Self { containers, root, .. } = self;
        for container in containers.values_mut() {
            let Naming::Since(since) = container.naming else { continue };
            match ask(root, &container.path) {
                Answer::Named(names) => {
                    container.names = Some(names);
                    container.naming = Naming::Over;
                }
                // The search goes on when a process enters the container, which inotify reports.
                Answer::Empty => container.naming = Naming::Empty,
                Answer::Unknown if since.elapsed() >= NAMING => container.naming = Naming::Over,
                Answer::Unknown => {}
            }
        }
    }

    fn watch(&mut self, path: &Path, mask: WatchMask, watched: Watched) {
        match self.watches.add(self.root.path().join(path), mask) {
            Ok(watch) => {
                self.watched.insert(watch, watched);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.is_blind = true;
                // Warned only once: each scan fails again, and by then the live screen may be shown.
                if !std::mem::replace(&mut self.was_told, true) {
                    tracing::warn!(
                        "cannot watch {} ({error}): new containers are seen within {} s only; raise the sysctl \
                         fs.inotify.max_user_watches",
                        path.display(),
                        SCAN_INTERVAL.as_secs()
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestCgroup, writable_cgroups};

    async fn until(tree: &mut ContainerTree, wanted: impl Fn(&ContainerTree) -> bool) {
        while !wanted(tree) {
            timeout(Duration::from_secs(5), tree.changed()).await.expect("no event").unwrap();
        }
    }

    #[tokio::test]
    async fn containers_come_and_go_at_any_depth() {
        let Some(root) = writable_cgroups() else { return };
        let cgroup = TestCgroup::new(&root);
        let (outer, inner) = ("ab".repeat(32), "cd".repeat(32));
        cgroup.make(&outer);
        let mut tree = ContainerTree::new(root).unwrap();
        let path = |below: &str| cgroup.path().join(below);
        assert!(tree.containers.contains_key(&path(&outer)));
        let nested = format!("{outer}/kubelet/kubepods/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60/{inner}");
        let made = cgroup.make(&nested);
        until(&mut tree, |tree| tree.containers.contains_key(&made)).await;
        let first = tree.containers[&made].cgroup;
        assert_eq!(tree.around(&made.join("below")).map(|container| container.cgroup), Some(first));
        // If the innermost container has no name, the innermost one with a name is returned.
        let names = Names::single("node");
        tree.containers.get_mut(&path(&outer)).unwrap().names.clone_from(&names);
        assert_eq!(tree.around(&made).and_then(|container| container.names.clone()), names);

        // After a restart, the container is another cgroup with the same name.
        cgroup.remove(&nested);
        cgroup.make(&nested);
        until(&mut tree, |tree| tree.containers.get(&made).is_some_and(|now| now.cgroup != first)).await;
        cgroup.remove(&nested);
        until(&mut tree, |tree| !tree.containers.contains_key(&made)).await;
        assert!(tree.containers.contains_key(&path(&outer)));
    }

    #[tokio::test]
    async fn the_first_process_is_an_event() {
        let Some(root) = writable_cgroups() else { return };
        let cgroup = TestCgroup::new(&root);
        let name = "ab".repeat(32);
        let path = cgroup.make(&name);
        let mut tree = ContainerTree::new(root).unwrap();
        assert_eq!(tree.containers[&path].naming, Naming::Empty);
        let _process = cgroup.sleeper(&name);
        until(&mut tree, |tree| tree.containers[&path].naming != Naming::Empty).await;
        // The search for the name is given up after [`NAMING`], because the container has no supervisor.
        until(&mut tree, |tree| tree.containers[&path].naming == Naming::Over).await;
        assert_eq!(tree.containers[&path].names, None);
    }
}
