//! The pod and container of each cgroup id.
//!
//! Names and owners are kept while a session may need them: a container and its folder may be gone before the kubelet
//! reports its name, and a pod may be deleted while its rows stay in the report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::cgroups::container_of;
use crate::session::{Pod, Uid};

/// Smallest made-up id. Such an id stands for a container of an earlier report whose cgroup is unknown. The kernel
/// counts its ids up from 1 (`kernfs_node.id`: a 32-bit number, with a generation above it), so they do not reach this
/// value.
const PAST: u64 = 1 << 63;

/// Known cgroups and their owners.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    cgroups: HashMap<u64, Owner>,
    pods: BTreeMap<Uid, PodNames>,
    /// Names for the made-up ids, from [`PAST`] on.
    past: Vec<Owned>,
}

#[derive(Debug)]
struct Owner {
    pod: Uid,
    container: Container,
}

#[derive(Debug)]
enum Container {
    /// The pod's own folder, outside of any container.
    None,
    /// A container's folder, by the runtime's id in the folder's name.
    Id(String),
    /// A container, by its name.
    Name(String),
}

#[derive(Debug)]
struct PodNames {
    namespace: String,
    name: String,
    /// The container's name for every runtime id that the pod ever had.
    ids: BTreeMap<String, String>,
    /// Name of the only container, if the pod has just one.
    only: Option<String>,
}

/// Pod and container of a cgroup, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owned {
    pub(crate) pod: String,
    /// Name of the container; `None` for the pod's own folder and its sandbox, and until the kubelet has reported the
    /// name.
    pub(crate) container: Option<String>,
}

impl Identities {
    /// Records the names of a pod and its containers. Earlier container ids are kept.
    pub(crate) fn learn(&mut self, pod: &Pod) {
        let names = self.pods.entry(pod.uid.clone()).or_insert_with(|| PodNames {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            ids: BTreeMap::new(),
            only: None,
        });
        names.ids.extend(pod.container_ids.iter().map(|(id, name)| (id.clone(), name.clone())));
        let mut containers = pod.containers.iter();
        names.only = containers.next().filter(|_| containers.next().is_none()).cloned();
    }

    /// Records a pod's own cgroup.
    pub(crate) fn saw_pod(&mut self, cgroup: u64, pod: &Uid) {
        self.cgroups.insert(cgroup, Owner { pod: pod.clone(), container: Container::None });
    }

    /// Records the cgroup of a container with this name.
    pub(crate) fn saw_named(&mut self, cgroup: u64, pod: &Uid, name: &str) {
        self.cgroups.insert(cgroup, Owner { pod: pod.clone(), container: Container::Name(name.to_owned()) });
    }

    /// Records a cgroup directly below a pod's.
    pub(crate) fn saw_child(&mut self, cgroup: u64, pod: &Uid, folder: &Path) {
        let container = container_of(folder).map_or(Container::None, |found| Container::Id(found.name.id));
        self.cgroups.insert(cgroup, Owner { pod: pod.clone(), container });
    }

    /// Records a container's folder name that the kernel reported for a cgroup, without its pod. The pod is found once
    /// its status has the container's id.
    pub(crate) fn saw_folder(&mut self, cgroup: u64, folder: &Path) {
        let Some(id) = container_of(folder).map(|found| found.name.id) else { return };
        let mut pods = self.pods.iter();
        let pod = match (pods.next(), pods.next()) {
            // If only one pod is known, the cgroup belongs to that pod.
            (Some(pod), None) => Some(pod),
            _ => self.pods.iter().find(|(_, names)| names.ids.contains_key(&id)),
        };
        if let Some((uid, _)) = pod {
            self.cgroups.insert(cgroup, Owner { pod: uid.clone(), container: Container::Id(id) });
        }
    }

    /// Returns true if the cgroup has a recorded owner.
    pub(crate) fn knows(&self, cgroup: u64) -> bool {
        cgroup >= PAST || self.cgroups.contains_key(&cgroup)
    }

    /// Returns the names of a cgroup's pod and container.
    pub(crate) fn resolve(&self, cgroup: u64) -> Option<Owned> {
        if let Some(at) = cgroup.checked_sub(PAST) {
            return self.past.get(usize::try_from(at).ok()?).cloned();
        }
        let owner = self.cgroups.get(&cgroup)?;
        let pod = self.pods.get(&owner.pod)?;
        let container = match &owner.container {
            Container::None => None,
            Container::Name(name) => Some(name.clone()),
            Container::Id(id) => pod.ids.get(id).or(pod.only.as_ref()).cloned(),
        };
        Some(Owned { pod: pod.name.clone(), container })
    }

    /// Returns an id for a container of an earlier report: the id of its cgroup if that still exists, otherwise a new
    /// made-up id.
    pub(crate) fn id_for(&mut self, namespace: &str, pod: &str, container: Option<&str>) -> u64 {
        let owned = Owned { pod: pod.to_owned(), container: container.map(str::to_owned) };
        let same_pod = |uid: &Uid| {
            self.pods.get(uid).is_some_and(|names| names.namespace == namespace && names.name == pod)
        };
        let present = self
            .cgroups
            .iter()
            .filter(|(_, owner)| same_pod(&owner.pod))
            .map(|(cgroup, _)| *cgroup)
            // If several have the same name (one has ended), any will do, since rows also differ by process id.
            .filter(|cgroup| self.resolve(*cgroup).as_ref() == Some(&owned))
            .max();
        present.unwrap_or_else(|| {
            self.past.push(owned);
            PAST + (self.past.len() as u64 - 1)
        })
    }

    /// Forgets all pods except `pods`. If `pods` is empty, forgets everything.
    pub(crate) fn keep(&mut self, pods: &BTreeSet<&Uid>) {
        self.pods.retain(|uid, _| pods.contains(uid));
        self.cgroups.retain(|_, owner| pods.contains(&owner.pod));
        if pods.is_empty() {
            self.past.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cgroups::PodKey;

    const POD: &str = "kubepods/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60";

    fn pod(containers: &[&str], ids: &[(&str, &str)]) -> Pod {
        Pod {
            uid: "u1".into(),
            key: PodKey::of_uid("u1"),
            namespace: "web".into(),
            name: "shop-0".into(),
            created: Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            finished: false,
            running: true,
            containers: containers.iter().map(|name| (*name).to_owned()).collect(),
            container_ids: ids.iter().map(|(id, name)| (id.repeat(32), (*name).to_owned())).collect(),
            sandboxed: None,
        }
    }

    fn child(id: &str) -> std::path::PathBuf {
        Path::new(POD).join(format!("cri-containerd-{}.scope", id.repeat(32)))
    }

    fn named(identities: &Identities, cgroup: u64) -> Option<String> {
        identities.resolve(cgroup).unwrap().container
    }

    #[test]
    fn a_name_that_comes_after_the_containers_end_is_taken() {
        let mut identities = Identities::default();
        identities.learn(&pod(&["main", "sidecar"], &[]));
        identities.saw_pod(10, &"u1".to_owned());
        identities.saw_child(11, &"u1".to_owned(), &child("aa"));
        assert_eq!(named(&identities, 11), None);
        // The pod's status first lists only the other container, and later this one.
        identities.learn(&pod(&["main", "sidecar"], &[("bb", "main")]));
        assert_eq!(named(&identities, 11), None);
        identities.learn(&pod(&["main", "sidecar"], &[("aa", "sidecar")]));
        assert_eq!(named(&identities, 11).as_deref(), Some("sidecar"));
        // A status that no longer lists the container changes nothing.
        identities.learn(&pod(&["main", "sidecar"], &[]));
        assert_eq!(named(&identities, 11).as_deref(), Some("sidecar"));
        assert_eq!(identities.resolve(10), Some(Owned { pod: "shop-0".into(), container: None }));
        assert_eq!(identities.resolve(12), None);
    }

    #[test]
    fn a_folder_that_only_the_kernel_saw_is_told_by_its_containers_id() {
        let mut identities = Identities::default();
        identities.learn(&pod(&["main", "sidecar"], &[]));
        identities.learn(&Pod { uid: "u2".into(), name: "shop-1".into(), ..pod(&["main", "sidecar"], &[]) });
        let folder = "aa".repeat(32);
        identities.saw_folder(11, Path::new(&folder));
        assert!(!identities.knows(11), "it could be of either pod");
        identities.learn(&pod(&["main", "sidecar"], &[("aa", "main")]));
        identities.saw_folder(11, Path::new(&folder));
        assert_eq!(
            identities.resolve(11),
            Some(Owned { pod: "shop-0".into(), container: Some("main".into()) })
        );
    }

    #[test]
    fn the_only_container_of_a_pod_needs_no_status() {
        let mut identities = Identities::default();
        identities.learn(&pod(&["main"], &[]));
        identities.saw_child(11, &"u1".to_owned(), &child("aa"));
        identities.saw_pod(10, &"u1".to_owned());
        assert_eq!(named(&identities, 11).as_deref(), Some("main"));
        assert_eq!(named(&identities, 10), None);
    }

    #[test]
    fn rows_of_an_earlier_report_find_their_cgroup_again() {
        let mut identities = Identities::default();
        identities.learn(&pod(&["main", "sidecar"], &[("aa", "main")]));
        identities.saw_child(11, &"u1".to_owned(), &child("aa"));
        assert_eq!(identities.id_for("web", "shop-0", Some("main")), 11);
        let past = identities.id_for("web", "shop-0", Some("sidecar"));
        assert!(past >= PAST);
        assert_eq!(
            identities.resolve(past),
            Some(Owned { pod: "shop-0".into(), container: Some("sidecar".into()) })
        );
        assert!(identities.id_for("other", "shop-0", Some("main")) >= PAST);
    }

    #[test]
    fn forgets_what_no_session_needs() {
        let mut identities = Identities::default();
        identities.learn(&pod(&["main"], &[]));
        identities.saw_pod(10, &"u1".to_owned());
        let uid = "u1".to_owned();
        identities.keep(&[&uid].into());
        assert!(identities.resolve(10).is_some());
        identities.keep(&BTreeSet::new());
        assert!(identities.resolve(10).is_none() && !identities.knows(10));
    }
}
