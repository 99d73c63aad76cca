//! The container to which the cgroup of a socket belongs, from the point of view of one session.

use std::collections::HashMap;

use super::{CgroupKind, SessionSpec};

/// Maximum number of levels searched, deeper than any runtime nests. The kernel programs stop at the same depth.
const MAX_DEPTH: usize = 32;

/// A cache of [`Self::of`], from the cgroup of a socket to the cgroup of its rows. It stays valid, since the ancestors
/// of a cgroup never change.
#[derive(Debug, Default)]
pub(super) struct Containers {
    known: HashMap<u64, u64>,
}

impl Containers {
    /// Clears the cache, because the session selects other cgroups now.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// Returns the cgroup whose rows a socket in `cgroup` is counted in: the selected container around it, or the child
    /// of the selected pod. Returns `cgroup` itself if it has neither, as in a selected tree or if a process selects
    /// the socket, and if its ancestors are unknown.
    pub(super) fn of(
        &mut self,
        cgroup: u64,
        spec: &SessionSpec,
        parent_of: &dyn Fn(u64) -> Option<u64>,
    ) -> u64 {
        if let Some(known) = self.known.get(&cgroup) {
            return *known;
        }
        let found = search(cgroup, spec, parent_of);
        self.known.insert(cgroup, found);
        found
    }
}

fn search(cgroup: u64, spec: &SessionSpec, parent_of: impl Fn(u64) -> Option<u64>) -> u64 {
    let kind = |id| spec.cgroups.get(&id).map(|selected| selected.kind);
    let mut level = cgroup;
    for _ in 0..MAX_DEPTH {
        if kind(level) == Some(CgroupKind::Container) {
            return level;
        }
        let Some(parent) = parent_of(level).filter(|parent| *parent != 0) else { break };
        if kind(parent) == Some(CgroupKind::Pod) {
            return level;
        }
        level = parent;
    }
    cgroup
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SelectedCgroup;

    /// Returns the parent of a cgroup. Cgroup 1 is the root, 2 a pod, 3 a container, and 4 nested in the container.
    fn parent(id: u64) -> Option<u64> {
        (1..=4).contains(&id).then(|| id - 1)
    }

    fn selecting(id: u64, kind: CgroupKind) -> SessionSpec {
        let selected = SelectedCgroup { kind, path: "pod".into() };
        SessionSpec { cgroups: [(id, selected)].into(), ..SessionSpec::default() }
    }

    #[test]
    fn below_a_pod_each_child_is_a_container() {
        let spec = selecting(2, CgroupKind::Pod);
        assert_eq!(search(4, &spec, parent), 3);
        assert_eq!(search(3, &spec, parent), 3);
        assert_eq!(search(2, &spec, parent), 2, "the pod's own cgroup");
    }

    #[test]
    fn in_a_tree_each_cgroup_stands_for_itself_but_inside_a_selected_container() {
        let mut spec = selecting(1, CgroupKind::Tree);
        assert_eq!(search(4, &spec, parent), 4);
        spec.cgroups.extend(selecting(3, CgroupKind::Container).cgroups);
        assert_eq!((search(4, &spec, parent), search(2, &spec, parent)), (3, 2));
    }

    #[test]
    fn nested_cgroups_belong_to_their_container() {
        assert_eq!(search(4, &selecting(3, CgroupKind::Container), parent), 3);
        assert_eq!(search(9, &selecting(3, CgroupKind::Container), parent), 9, "not known");
    }
}
