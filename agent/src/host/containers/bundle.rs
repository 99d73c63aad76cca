//! The files that contain a container's name: its specification (`config.json` in its OCI bundle), and Docker's own
//! file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Names;

/// Keys of the annotations with a pod's namespace, pod name and container name: containerd's, then those of CRI-O and
/// Podman.
const KUBERNETES: [[&str; 3]; 2] = [
    [
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.container-name",
    ],
    ["io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"],
];
/// Key of nerdctl's annotation with the name.
const NERDCTL: &str = "nerdctl/name";
/// Mount points, inside a container, of files that Docker makes in the container's folder on the host.
const OF_DOCKER: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The parts of a container's specification from which its name can be found.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Specification {
    annotations: BTreeMap<String, String>,
    mounts: Vec<Mount>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mount {
    destination: String,
    source: String,
}

impl Specification {
    /// Parses `config.json`; `None` if it is not a specification.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Returns the names in the annotations.
    pub(super) fn names(&self) -> Option<Names> {
        let value =
            |key: &str| self.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let of_pod = KUBERNETES.iter().find_map(|[namespace, pod, container]| {
            let container = value(container).filter(|name| *name != "POD");
            Names::in_pod(value(namespace)?, value(pod)?, container)
        });
        of_pod.or_else(|| Names::single(value(NERDCTL)?))
    }

    /// Returns the path of Docker's own file about the container with this id, found from the container's mounts.
    pub(super) fn dockers_file(&self, id: &str) -> Option<PathBuf> {
        let of_docker = |mount: &&Mount| OF_DOCKER.contains(&mount.destination.as_str());
        let folders =
            self.mounts.iter().filter(of_docker).filter_map(|mount| Path::new(&mount.source).parent());
        let folder = folders.into_iter().find(|folder| folder.ends_with(Path::new("containers").join(id)))?;
        Some(folder.join("config.v2.json"))
    }
}

/// Returns the name in Docker's `config.v2.json`.
pub(super) fn dockers_name(json: &[u8]) -> Option<Names> {
    #[derive(Deserialize)]
    struct Kept {
        #[serde(rename = "Name")]
        name: String,
    }
    serde_json::from_slice::<Kept>(json).ok().and_then(|kept| Names::single(&kept.name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn specification(json: &serde_json::Value) -> Specification {
        Specification::read(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn annotations_tell_the_names() {
        let pod = |container| Names::in_pod("shop", "web", container);
        for (annotations, names) in [
            (
                json!({"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web",
                    "io.kubernetes.cri.container-name": "nginx", "io.kubernetes.cri.container-type": "container"}),
                pod(Some("nginx")),
            ),
            (
                json!({"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web"}),
                pod(None),
            ),
            (
                json!({"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web",
                    "io.kubernetes.container.name": "nginx"}),
                pod(Some("nginx")),
            ),
            (
                json!({"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web",
                    "io.kubernetes.container.name": "POD"}),
                pod(None),
            ),
            (json!({"nerdctl/name": "cache", "nerdctl/namespace": "default"}), Names::single("cache")),
            (json!({"io.kubernetes.pod.name": "web"}), None),
            (json!({}), None),
        ] {
            assert_eq!(specification(&json!({ "annotations": annotations })).names(), names, "{annotations}");
        }
        assert_eq!(specification(&json!({"ociVersion": "1.0"})).names(), None);
    }

    #[test]
    fn dockers_folder_is_where_it_says_wherever_that_is() {
        let id = "ab".repeat(32);
        let mounts = |source: &str| {
            specification(&json!({"mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/etc/hosts", "source": source},
            ]}))
        };
        let file = mounts(&format!("/data/231072.231072/containers/{id}/hosts")).dockers_file(&id);
        assert_eq!(file, Some(format!("/data/231072.231072/containers/{id}/config.v2.json").into()));
        for other in ["/etc/hosts", "", "/containers/x/hosts", "../../etc/shadow"] {
            assert_eq!(mounts(other).dockers_file(&id), None, "{other}");
        }
        assert_eq!(dockers_name(br#"{"ID": "x", "Name": "/shop", "State": {}}"#), Names::single("shop"));
        assert_eq!(dockers_name(b"{}"), None);
    }

    proptest! {
        #[test]
        fn hostile_files_have_no_name_and_do_no_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            key in "[a-z./-]{0,40}",
            value in "\\PC{0,300}",
        ) {
            let _ = (Specification::read(&bytes).map(|read| read.names()), dockers_name(&bytes));
            let json = json!({"annotations": {key: &value, NERDCTL: value}});
            if let Some(names) = specification(&json).names() {
                prop_assert!(names.to_string().len() <= 253 * 4);
            }
        }
    }
}
