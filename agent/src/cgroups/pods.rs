//! The folders of this node's pods, as they come and go.
//!
//! kubelet makes a pod's folder before its first container, so a pod that is armed when its folder appears is
//! traced from its first byte. inotify sees folders being made in a cgroup filesystem (kernfs goes through the
//! ordinary `mkdir`), also through a read-only bind mount, since the inodes are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask, Watches};

use super::forms::{is_kubelet_root, pod_form};
use super::{CgroupError, CgroupRoot, PodKey};

/// Deepest nesting at which a kubelet's own root is looked for.
const MAX_DEPTH: usize = 12;
/// Room for the events of one read; what they say is not used, only that there are some.
const EVENT_BYTES: usize = 4096;

/// Finds and follows pod folders below a part of the cgroup tree.
pub(crate) struct PodTree {
    root: CgroupRoot,
    base: PathBuf,
    kubelet_roots: BTreeSet<PathBuf>,
    watches: Watches,
    events: EventStream<Vec<u8>>,
}

impl PodTree {
    /// Starts to follow the pod folders below `base`, which is relative to the root; empty means the whole tree.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoSuchCgroup`] when `base` is not there, [`CgroupError::Io`] when inotify is refused, which
    /// happens when the limit `fs.inotify.max_user_instances` is reached.
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

    /// Waits until a folder that is watched gets or loses a child. [`PodTree::scan`] tells what changed.
    ///
    /// # Errors
    ///
    /// The system's error when inotify cannot be read any more.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        match self.events.next().await {
            Some(event) => event.map(drop),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// All pod folders that exist now, and a watch on each folder in which more can appear.
    ///
    /// The watch is set before the folder is read, so nothing can appear between the two unseen.
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

    /// Looks for kubelets' roots in the whole tree, also new ones. Cheap enough for every half minute, not for
    /// every event.
    pub(crate) fn find_kubelets(&mut self) {
        let base = self.base.clone();
        self.watch(&base);
        self.find_below(&base, 0);
    }

    /// Watches one pod's folder too: its containers' folders then count as changes.
    pub(crate) fn watch_pod(&mut self, folder: &Path) {
        self.watch(folder);
    }

    fn find_below(&mut self, cgroup: &Path, depth: usize) {
        let name = cgroup.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_kubelet_root(name) {
            // Its parent tells when it is made anew.
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
                // The folders of the classes of service, `burstable` and `besteffort`.
                None if depth < 2 => self.scan_below(&path, depth + 1, pods),
                None => {}
            }
        }
    }

    fn watch(&mut self, cgroup: &Path) {
        let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR;
        let path = self.root.path().join(cgroup);
        // Adding a watch again changes nothing; the kernel drops the watch with the folder.
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
