//! The folders of this node's pods, as they are made and removed.
//!
//! The kubelet makes a pod's folder before the pod's first container, so a pod whose tracing starts when its folder
//! appears is traced from its first byte. inotify reports folders made in a cgroup filesystem, since kernfs uses the
//! ordinary `mkdir`, and also through a read-only bind mount, since the inodes are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask, Watches};

use super::forms::{is_kubelet_root, pod_form};
use super::{CgroupError, CgroupRoot, PodKey};

/// Maximum depth at which the root folder of a kubelet is searched for.
const MAX_DEPTH: usize = 12;
/// Size of the buffer for one read of events, in bytes. The events' contents are not used.
const EVENT_BYTES: usize = 4096;

/// Finds and follows the pod folders below a part of the cgroup tree.
pub(crate) struct PodTree {
    root: CgroupRoot,
    base: PathBuf,
    kubelet_roots: BTreeSet<PathBuf>,
    watches: Watches,
    events: EventStream<Vec<u8>>,
}

impl PodTree {
    /// Starts to follow the pod folders below `base`, which is relative to the root; an empty path means the whole
    /// tree.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoSuchCgroup`] if `base` does not exist; [`CgroupError::Io`] if inotify is refused, as when the
    /// limit `fs.inotify.max_user_instances` is reached.
    pub(crate) fn new(root: CgroupRoot, base: &Path) -> Result<Self, CgroupError> {
        let base = root.open(base)?.path().to_owned();
        let io_error = |source| CgroupError::Io {
            action: "watch (see the sysctls fs.inotify.*)",
            path: root.path().join(&base),
            source,
        };
        let inotify = Inotify::init().map_err(io_error)?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; EVENT_BYTES]).map_err(io_error)?;
        Ok(Self { root, base, kubelet_roots: BTreeSet::new(), watches, events })
    }

    /// Waits until a child of a watched folder is made or removed. [`PodTree::scan`] then finds the change.
    ///
    /// # Errors
    ///
    /// The operating system's error if inotify cannot be read.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(drop),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Returns all existing pod folders, and watches each folder in which more can appear.
    ///
    /// The watch is set before the folder is read, so nothing can appear unnoticed in between.
    pub(crate) fn scan(&mut self) -> BTreeMap<PodKey, PathBuf> {
        self.kubelet_roots.retain(|path| self.root.path().join(path).is_dir());
        if self.kubelet_roots.is_empty() {
            self.find_kubelets();
        }
        let mut pods = BTreeMap::new();
        for path in self.kubelet_roots.clone() {
            self.scan_below(&path, 0, &mut pods);
        }
        pods
    }

    /// Searches the whole tree for the root folders of kubelets, including new ones. The search is cheap enough to
    /// run every half minute, but not at every event.
    pub(crate) fn find_kubelets(&mut self) {
        let base = self.base.clone();
        self.watch(&base);
        self.find_below(&base, 0);
    }

    /// Also watches the folder of one pod, so that the folders of its containers count as changes.
    pub(crate) fn watch_pod(&mut self, folder: &Path) {
        self.watch(folder);
    }

    fn find_below(&mut self, cgroup: &Path, depth: usize) {
        let name = cgroup.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_kubelet_root(name) {
            // The kubelet's folder may be removed and made anew, which only a watch of its parent reports.
            if let Some(parent) = cgroup.parent() {
                self.watch(parent);
            }
            self.kubelet_roots.insert(cgroup.to_owned());
            return;
        }
        if depth == MAX_DEPTH || pod_form(name).is_some() {
            return;
        }
        for child in self.root.children(cgroup) {
            self.find_below(&cgroup.join(child), depth + 1);
        }
    }

    fn scan_below(&mut self, cgroup: &Path, depth: usize, pods: &mut BTreeMap<PodKey, PathBuf>) {
        self.watch(cgroup);
        for child in self.root.children(cgroup) {
            let path = cgroup.join(&child);
            match pod_form(&child) {
                Some(key) => {
                    pods.insert(key, path);
                }
                // The folders of the QoS classes, `burstable` and `besteffort`.
                None if depth < 2 => self.scan_below(&path, depth + 1, pods),
                None => {}
            }
        }
    }

    fn watch(&mut self, cgroup: &Path) {
        let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR;
        let path = self.root.path().join(cgroup);
        // Adding a watch again changes nothing. The kernel removes the watch together with the folder.
        if let Err(error) = self.watches.add(&path, mask)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                "cannot watch {} ({error}): new pods are seen at the next scan only; raise the sysctl \
                 fs.inotify.max_user_watches",
                path.display()
            );
        }
    }
}
