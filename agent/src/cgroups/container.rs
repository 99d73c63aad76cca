//! The container that a cgroup path belongs to.

use std::fmt;
use std::path::{Path, PathBuf};

use super::forms::{self, ContainerName, PodKey};

/// A container found in a path of the cgroup tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerPath {
    /// Folder of the container, relative to the tree's root. Its processes may be in folders below it.
    pub(crate) path: PathBuf,
    /// Runtime and id, taken from the folder's name.
    pub(crate) name: ContainerName,
    /// The pod in whose folder the container's folder lies.
    pub(crate) pod: Option<PodKey>,
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Container tools print and accept the first twelve digits of an id; a name is shown in full.
        let id = &self.name.id;
        let short = if id.len() == 64 { id.get(..12).unwrap_or(id) } else { id };
        write!(f, "container {short} ({})", self.name.runtime)?;
        match &self.pod {
            Some(pod) => write!(f, " of pod {pod}"),
            None => Ok(()),
        }
    }
}

/// Returns the container that a cgroup belongs to: the innermost folder on its path whose name has the form of a
/// container's, so that a container inside a kind node is not taken for the node. `None` if there is none, as for the
/// root, a login session, a service or a pod's own folder.
///
/// `path` is relative to the root of the cgroup tree; a leading slash is allowed.
pub(crate) fn container_of(path: &Path) -> Option<ContainerPath> {
    let text = path.to_str()?;
    let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty()).collect();
    let (at, name) = (0..names.len())
        .rev()
        .find_map(|at| forms::container_form(&names[..at], names[at]).map(|name| (at, name)))?;
    let pod = names[..at].iter().rev().find_map(|name| forms::pod_form(name)).or_else(|| {
        // A name in the form with colons (`colon_form` in `forms.rs`) begins with the name of the pod's folder, and no
        // folder of the pod is above it.
        names[at].split_once(':').and_then(|(slice, _)| forms::pod_form(slice))
    });
    Some(ContainerPath { path: names[..=at].iter().collect(), name, pod })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::forms::Runtime;
    use super::*;

    const UID: &str = "0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60";
    const SLICE_UID: &str = "0d2f3ad1_8c1e_4d5b_9f0a_1b2c3d4e5f60";

    struct Case {
        path: String,
        folder: String,
        runtime: Runtime,
        pod: Option<&'static str>,
    }

    fn case(path: &str, folder: &str, runtime: Runtime, pod: Option<&'static str>) -> Case {
        let (outer, inner) = ("a1".repeat(32), "b2".repeat(32));
        let fill = |text: &str| {
            text.replace("OUTER", &outer)
                .replace("INNER", &inner)
                .replace("SUID", SLICE_UID)
                .replace("UID", UID)
        };
        Case { path: fill(path), folder: fill(folder), runtime, pod }
    }

    #[test]
    fn finds_the_innermost_container_in_every_layout() {
        let cases = [
            case("/kubepods/podUID/INNER", "kubepods/podUID/INNER", Runtime::Unnamed, Some(UID)),
            case(
                "/kubepods/burstable/podUID/INNER/system.slice/nginx.service",
                "kubepods/burstable/podUID/INNER",
                Runtime::Unnamed,
                Some(UID),
            ),
            case(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSUID.slice/cri-containerd-INNER.scope",
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSUID.slice/cri-containerd-INNER.scope",
                Runtime::Containerd,
                Some(UID),
            ),
            case(
                "kubepods.slice/kubepods-podSUID.slice/crio-INNER.scope/container",
                "kubepods.slice/kubepods-podSUID.slice/crio-INNER.scope",
                Runtime::CriO,
                Some(UID),
            ),
            // kind: a node is a Docker container, and its kubelet's cgroups lie inside that container's.
            case(
                "/system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podSUID.slice/cri-containerd-INNER.scope",
                "system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podSUID.slice/cri-containerd-INNER.scope",
                Runtime::Containerd,
                Some(UID),
            ),
            case(
                "/docker/OUTER/kubelet/kubepods/besteffort/podUID/INNER",
                "docker/OUTER/kubelet/kubepods/besteffort/podUID/INNER",
                Runtime::Unnamed,
                Some(UID),
            ),
            // systemd's services inside a kind node are in no inner container, so they belong to the node's container.
            case("/docker/OUTER/kubelet.slice/kubelet.service", "docker/OUTER", Runtime::Unnamed, None),
            // Docker in Docker, and Docker in a pod.
            case("/docker/OUTER/docker/INNER", "docker/OUTER/docker/INNER", Runtime::Unnamed, None),
            case(
                "/kubepods/podUID/OUTER/docker/INNER",
                "kubepods/podUID/OUTER/docker/INNER",
                Runtime::Unnamed,
                Some(UID),
            ),
            case(
                "/system.slice/containerd.service/kubepods-podSUID.slice:cri-containerd:INNER",
                "system.slice/containerd.service/kubepods-podSUID.slice:cri-containerd:INNER",
                Runtime::Containerd,
                Some(UID),
            ),
            case(
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-INNER.scope/container",
                "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-INNER.scope",
                Runtime::Podman,
                None,
            ),
            case("/lxc.payload.web/init.scope", "lxc.payload.web", Runtime::Lxc, None),
            case(
                "/machine.slice/machine-web.scope/payload",
                "machine.slice/machine-web.scope",
                Runtime::Nspawn,
                None,
            ),
            case("/default/my-redis", "default/my-redis", Runtime::Containerd, None),
        ];
        for Case { path, folder, runtime, pod } in cases {
            let found = container_of(Path::new(&path)).unwrap_or_else(|| panic!("no container in {path}"));
            assert_eq!(found.path, Path::new(&folder), "{path}");
            assert_eq!(found.name.runtime, runtime, "{path}");
            assert_eq!(found.pod, pod.map(PodKey::of_uid), "{path}");
        }
    }

    #[test]
    fn finds_none_where_there_is_none() {
        for path in [
            "/",
            "",
            "/user.slice/user-0.slice/session-3.scope",
            "/system.slice/ssh.service",
            "/init.scope",
            "/kubepods/besteffort",
            "/kubepods/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60",
        ] {
            assert_eq!(container_of(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn is_named_for_people() {
        let path = format!("/kubepods/pod{UID}/cri-containerd-{}.scope", "ab".repeat(32));
        let found = container_of(Path::new(&path)).unwrap();
        assert_eq!(found.to_string(), format!("container abababababab (containerd) of pod {UID}"));
        let found = container_of(Path::new("/default/my-redis")).unwrap();
        assert_eq!(found.to_string(), "container my-redis (containerd)");
    }

    /// Names of folders: those that runtimes make, similar ones, and arbitrary ones.
    fn folder() -> impl Strategy<Value = String> {
        let digits = "[0-9a-f]{64}|[0-9a-fA-F_]{60,66}";
        prop_oneof![
            digits,
            (
                r"docker-|cri-containerd-|libpod-|crio-conmon-|kubepods-pod|:|[^/\x00]{0,5}",
                digits,
                r"\.scope|\.slice|"
            )
                .prop_map(|(prefix, id, suffix)| format!("{prefix}{id}{suffix}")),
            Just(format!("pod{UID}")),
            Just(format!("kubepods-burstable-pod{SLICE_UID}.slice")),
            r"machine-(\\x[0-9a-g]{0,2}|[^/\x00]){0,6}\.scope",
            "lxc|lxc\\.payload\\.[^/\x00]{0,4}|default|system\\.slice|k8s\\.io",
            "[^/\x00]{1,40}",
        ]
    }

    proptest! {
        #[test]
        fn any_path_names_a_container_on_it_or_none(names in prop::collection::vec(folder(), 0..8)) {
            let path = PathBuf::from(names.join("/"));
            let found = container_of(&path);
            if let Some(container) = &found {
                prop_assert!(path.starts_with(&container.path), "{path:?}: {container:?}");
                // The path of the container that was found leads to the same container.
                prop_assert_eq!(container_of(&container.path), found.clone());
                prop_assert!(!container.path.as_os_str().is_empty());
            }
            // A leading slash makes no difference.
            prop_assert_eq!(container_of(&Path::new("/").join(&path)), found);
        }

        #[test]
        fn what_is_in_a_container_belongs_to_it(names in prop::collection::vec(folder(), 1..5)) {
            let path = PathBuf::from(names.join("/"));
            if let Some(container) = container_of(&path) {
                // No runtime names a container's folder like this, so the folder belongs to the container above it.
                let inner = path.join("init.service");
                prop_assert_eq!(container_of(&inner).map(|inner| inner.path.starts_with(&container.path)), Some(true));
            }
        }
    }
}
