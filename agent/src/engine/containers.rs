//! Which container the cgroup of a socket belongs to, for one session.

use std::collections::HashMap;

use super::{CgroupKind, SessionSpec};

/// Deeper than any runtime nests; the kernel programs stop there too.
const MAX_DEPTH: usize = 32;

/// Answers that were found before; what is above a cgroup never changes.
#[derive(Debug, Default)]
pub(super) struct Containers {
    known: HashMap<u64, u64>,
}

impl Containers {
    /// Forgets all answers: the session selects other cgroups now.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// The cgroup that rows of a socket in `cgroup` are booked to: the selected container around it, or the child of
    /// the selected pod. Where nothing is known of it, or it was selected by its process: `cgroup` itself.
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

    /// 1 root, 2 pod, 3 container, 4 nested in it.
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
    fn nested_cgroups_belong_to_their_container() {
        assert_eq!(search(4, &selecting(3, CgroupKind::Container), parent), 3);
        assert_eq!(search(9, &selecting(3, CgroupKind::Container), parent), 9, "not known");
    }
}
