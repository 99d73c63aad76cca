//! The cgroup folders of this node's pods, kept open.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cgroups::{CgroupFolder, CgroupRoot, PodKey};
use crate::engine::CgroupKind;
use crate::session::{Place, Pod, Uid};

/// An open cgroup folder of a pod.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) folder: CgroupFolder,
    pub(super) kind: CgroupKind,
    /// The container's name, if the folder belongs to one container.
    pub(super) container: Option<String>,
}

/// All folders of all pods.
#[derive(Debug)]
pub(super) struct Folders {
    root: CgroupRoot,
    of_pods: BTreeMap<Uid, Vec<Located>>,
    /// Removed folders, kept open until the kernel no longer selects them.
    released: Vec<Located>,
}

impl Folders {
    pub(super) fn new(root: CgroupRoot) -> Self {
        Self { root, of_pods: BTreeMap::new(), released: Vec::new() }
    }

    /// Opens the folders of `pods`, whose paths relative to the root are in `found`, and releases all other folders.
    pub(super) fn locate<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a Pod>,
        found: &BTreeMap<PodKey, PathBuf>,
    ) {
        let mut old = std::mem::take(&mut self.of_pods);
        for pod in pods {
            let Some(path) = found.get(&pod.key) else { continue };
            let known = old.remove(&pod.uid).and_then(|mut located| located.pop());
            let located = match known {
                Some(known) if self.root.id_of(path).is_ok_and(|id| id == known.folder.id()) => known,
                other => {
                    self.released.extend(other);
                    match self.root.open(path) {
                        Ok(folder) => Located { folder, kind: CgroupKind::Pod, container: None },
                        // The folder was removed after it was listed, so the pod goes without it.
                        Err(error) => {
                            tracing::debug!("pod {}/{}: {error}", pod.namespace, pod.name);
                            continue;
                        }
                    }
                }
            };
            self.of_pods.insert(pod.uid.clone(), vec![located]);
        }
        self.released.extend(old.into_values().flatten());
    }

    /// Sets the folders of one pod.
    pub(super) fn place(&mut self, pod: &Uid, located: Vec<Located>) {
        let old = self.of_pods.insert(pod.clone(), located);
        self.released.extend(old.into_iter().flatten());
    }

    /// Removes the folders of one pod.
    pub(super) fn displace(&mut self, pod: &Uid) {
        self.released.extend(self.of_pods.remove(pod).into_iter().flatten());
    }

    /// Returns the folders of a pod.
    pub(super) fn of(&self, pod: &Uid) -> &[Located] {
        self.of_pods.get(pod).map_or(&[], Vec::as_slice)
    }

    /// Returns all folders in the form that the planner needs.
    pub(super) fn places(&self) -> BTreeMap<Uid, Vec<Place>> {
        let place = |Located { folder, kind, container }: &Located| Place {
            cgroup: folder.id(),
            kind: *kind,
            path: folder.path().to_owned(),
            container: container.clone(),
        };
        self.of_pods.iter().map(|(uid, located)| (uid.clone(), located.iter().map(place).collect())).collect()
    }

    /// Returns the paths of a pod's folders, relative to the root.
    pub(super) fn paths(&self, pod: &Uid) -> Vec<PathBuf> {
        self.of(pod).iter().map(|located| located.folder.path().to_owned()).collect()
    }

    /// Returns ids and paths of the cgroups directly below a pod's cgroup, which belong to its containers.
    pub(super) fn children(&self, pod: &Uid) -> Vec<(u64, PathBuf)> {
        let own = self.of(pod).iter().filter(|located| located.kind == CgroupKind::Pod);
        own.flat_map(|located| {
            let path = located.folder.path();
            self.root.children(path).into_iter().map(|child| path.join(child))
        })
        // A folder that was removed after it was listed has no id any more and is left out.
        .filter_map(|path| self.root.id_of(&path).ok().map(|id| (id, path)))
        .collect()
    }

    /// Closes the removed folders, which the kernel no longer selects.
    pub(super) fn release(&mut self) {
        self.released.clear();
    }
}
