//! The forms of cgroup folders' names, from which follow the pod, the container and its runtime.
//!
//! The forms come from the programs that make the folders: the kubelet (`pkg/kubelet/cm`, drivers cgroupfs and
//! systemd), containerd, CRI-O, Docker, Podman, LXC and systemd-nspawn.

use std::fmt;

/// Number of hexadecimal digits in the ids of containerd, CRI-O, Docker and Podman.
const ID_DIGITS: usize = 64;

/// The part of a folder's name by which the kubelet identifies a pod: the pod's UID or, for a static pod, the hash of
/// its manifest (the annotation `kubernetes.io/config.hash` of the mirror pod in the API server).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodKey(String);

impl PodKey {
    /// Returns the key of the pod with this UID.
    pub(crate) fn of_uid(uid: &str) -> Self {
        Self(uid.to_owned())
    }

    /// Returns the key of the static pod with this manifest hash, which must be 32 hexadecimal digits. UIDs made by
    /// the API server never have this form, so a false annotation cannot name the folder of an ordinary pod.
    pub(crate) fn of_config_hash(hash: &str) -> Option<Self> {
        is_hex(hash, 32).then(|| Self(hash.to_owned()))
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The program that made a container's folder, as far as the folder's name shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// containerd, alone or below the kubelet.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// LXC, LXD or Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// The folder has the form of a container's, but does not show the program.
    Unnamed,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::CriO => "CRI-O",
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Lxc => "LXC",
            Self::Nspawn => "systemd-nspawn",
            Self::Unnamed => "container runtime",
        })
    }
}

/// The name of a container's folder, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerName {
    /// The program that made the folder.
    pub(crate) runtime: Runtime,
    /// The runtime's id or name of the container.
    pub(crate) id: String,
}

impl ContainerName {
    fn new(runtime: Runtime, id: &str) -> Self {
        Self { runtime, id: id.to_owned() }
    }
}

/// Parses the name of a pod's folder.
///
/// With the cgroupfs driver the name is `pod<UID>`, with the systemd driver
/// `[…-]kubepods[-burstable|-besteffort]-pod<UID>.slice`. In the latter each `-` of the UID is written `_`, because a
/// dash in the name of a slice means nesting.
pub(crate) fn pod_form(name: &str) -> Option<PodKey> {
    let uid = match name.strip_suffix(".slice") {
        None => name.strip_prefix("pod")?.to_owned(),
        Some(slice) => {
            let (parents, uid) = slice.rsplit_once("-pod")?;
            let qos = parents.strip_suffix("-burstable").or_else(|| parents.strip_suffix("-besteffort"));
            if !is_kubelet_root(qos.unwrap_or(parents)) {
                return None;
            }
            uid.replace('_', "-")
        }
    };
    is_pod_uid(&uid).then_some(PodKey(uid))
}

/// Returns true if this is the name of the folder with all pods of one kubelet, with or without systemd's suffix:
/// `kubepods`, `kubepods.slice` or, below a cgroup root, `kubelet-kubepods.slice`.
pub(crate) fn is_kubelet_root(name: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    name == "kubepods" || name.ends_with("-kubepods")
}

/// Parses the name of a container's folder. `parents` are the names of the folders above it, from the root on.
pub(crate) fn container_form(parents: &[&str], name: &str) -> Option<ContainerName> {
    if is_monitor(name) {
        return None;
    }
    let parent = parents.last().copied().unwrap_or_default();
    identified(name)
        .or_else(|| colon_form(name))
        .or_else(|| lxc_form(parent, name))
        .or_else(|| nspawn_form(parent, name))
        .or_else(|| containerd_namespace_form(parents, name))
        .or_else(|| pod_form(parent).map(|_| ContainerName::new(Runtime::Unnamed, name)))
}

/// Parses `<64 digits>`, `docker-<64 digits>.scope` and similar names.
fn identified(name: &str) -> Option<ContainerName> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.rsplit_once('-').unwrap_or(("", name));
    is_hex(id, ID_DIGITS).then(|| ContainerName::new(runtime_of(prefix), id))
}

/// Parses `kubepods-pod<UID>.slice:cri-containerd:<id>`, which a runtime with the cgroupfs driver makes from the path
/// of a kubelet with the systemd driver.
fn colon_form(name: &str) -> Option<ContainerName> {
    let (rest, id) = name.rsplit_once(':')?;
    let (_, prefix) = rest.rsplit_once(':')?;
    is_hex(id, ID_DIGITS).then(|| ContainerName::new(runtime_of(prefix), id))
}

/// Parses `lxc.payload.NAME` (since LXC 4) and `lxc/NAME` (before).
fn lxc_form(parent: &str, name: &str) -> Option<ContainerName> {
    let id = name.strip_prefix("lxc.payload.").or_else(|| (parent == "lxc").then_some(name))?;
    Some(ContainerName::new(Runtime::Lxc, id))
}

/// Parses `systemd-nspawn@NAME.service`, and `machine-NAME.scope` in `machine.slice`. Virtual machines are in that
/// slice too, but their processes are the hypervisor's, so they are not containers.
fn nspawn_form(parent: &str, name: &str) -> Option<ContainerName> {
    if parent != "machine.slice" {
        return None;
    }
    let service = name.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    let scope = name
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
        .filter(|machine| !machine.starts_with("qemu"));
    service.or(scope).map(|id| ContainerName::new(Runtime::Nspawn, &unescape(id)))
}

/// Parses `/NAMESPACE/NAME`: by default, containerd's own path is its namespace (such as `default`) and the
/// container's id, below the root.
fn containerd_namespace_form(parents: &[&str], name: &str) -> Option<ContainerName> {
    matches!(parents, ["default" | "k8s.io" | "moby"]).then(|| ContainerName::new(Runtime::Containerd, name))
}

fn runtime_of(prefix: &str) -> Runtime {
    match prefix {
        "cri-containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "docker" => Runtime::Docker,
        "libpod" | "libpod-payload" => Runtime::Podman,
        _ => Runtime::Unnamed,
    }
}

/// Returns true for helpers of a runtime (conmon, the LXC monitor). Their folders have names like a container's, but
/// are not containers.
fn is_monitor(name: &str) -> bool {
    name.starts_with("crio-conmon-")
        || name.starts_with("libpod-conmon-")
        || name.starts_with("lxc.monitor.")
        || name.starts_with("lxc.pivot")
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns true for a UID in the API server's form (8-4-4-4-12), and for the manifest hash of a static pod.
fn is_pod_uid(text: &str) -> bool {
    let mut groups = text.split('-');
    let dashed =
        [8, 4, 4, 4, 12].iter().all(|digits| groups.next().is_some_and(|group| is_hex(group, *digits)));
    (dashed && groups.next().is_none()) || is_hex(text, 32)
}

/// Undoes systemd's escaping in unit names: `\x2d` stands for `-`. Anything that is not an escape is kept.
fn unescape(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 2..at + 4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push_str("\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60";
    const HASH: &str = "8f14e45fceea167a5a36dedd4bea2543";

    #[test]
    fn reads_the_folder_of_a_pod_in_every_form() {
        let underscored = UID.replace('-', "_");
        for (name, key) in [
            (format!("pod{UID}"), UID),
            (format!("pod{HASH}"), HASH),
            (format!("kubepods-pod{underscored}.slice"), UID),
            (format!("kubepods-burstable-pod{underscored}.slice"), UID),
            (format!("kubepods-besteffort-pod{underscored}.slice"), UID),
            (format!("kubepods-burstable-pod{HASH}.slice"), HASH),
            (format!("kubelet-kubepods-pod{underscored}.slice"), UID),
            (format!("kubelet-kubepods-burstable-pod{underscored}.slice"), UID),
        ] {
            assert_eq!(pod_form(&name), Some(PodKey(key.to_owned())), "{name}");
        }
    }

    #[test]
    fn what_only_looks_like_a_pod_is_none() {
        for name in [
            "pod",
            "podman",
            "pod1234",
            "poddle.service",
            "kubepods",
            "kubepods.slice",
            "kubepods-burstable.slice",
            "user-pod0d2f3ad1_8c1e_4d5b_9f0a_1b2c3d4e5f60.slice",
            "machine-libpod_pod_0d2f3ad18c1e.slice",
            "pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60-1",
            "pod0D2F3AD1-8c1e-4d5b-9f0a-1b2c3d4e5f60",
        ] {
            assert_eq!(pod_form(name), None, "{name}");
        }
    }

    #[test]
    fn knows_the_folder_that_holds_all_pods() {
        for name in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice", "tt-n1-kubepods"] {
            assert!(is_kubelet_root(name), "{name}");
        }
        for name in ["kubepods-burstable.slice", "kubelet.slice", "notkubepods", "kubepods.service"] {
            assert!(!is_kubelet_root(name), "{name}");
        }
    }

    #[test]
    fn reads_the_folder_of_a_container_in_every_form() {
        let id = "0123456789abcdef".repeat(4);
        let pod = format!("pod{UID}");
        let table: Vec<(Vec<&str>, String, Runtime, &str)> = vec![
            (vec!["kubepods", "besteffort", &pod], id.clone(), Runtime::Unnamed, &id),
            (vec!["kubepods", &pod], format!("crio-{id}"), Runtime::CriO, &id),
            (vec!["kubepods", &pod], format!("kata_{id}"), Runtime::Unnamed, "kata_"),
            (vec!["kubepods.slice"], format!("cri-containerd-{id}.scope"), Runtime::Containerd, &id),
            (vec!["kubepods.slice"], format!("crio-{id}.scope"), Runtime::CriO, &id),
            (vec!["system.slice"], format!("docker-{id}.scope"), Runtime::Docker, &id),
            (vec!["system.slice"], format!("nerdctl-{id}.scope"), Runtime::Containerd, &id),
            (vec!["docker"], id.clone(), Runtime::Unnamed, &id),
            (vec!["machine.slice"], format!("libpod-{id}.scope"), Runtime::Podman, &id),
            (vec!["user.slice"], format!("libpod-payload-{id}"), Runtime::Podman, &id),
            (vec![], format!("kubepods-pod{HASH}.slice:cri-containerd:{id}"), Runtime::Containerd, &id),
            (vec![], "lxc.payload.web-1".into(), Runtime::Lxc, "web-1"),
            (vec!["lxc"], "web".into(), Runtime::Lxc, "web"),
            (vec!["machine.slice"], "systemd-nspawn@web.service".into(), Runtime::Nspawn, "web"),
            (vec!["machine.slice"], r"machine-web\x2d1.scope".into(), Runtime::Nspawn, "web-1"),
            (vec!["default"], "my-redis".into(), Runtime::Containerd, "my-redis"),
        ];
        for (parents, name, runtime, id_start) in table {
            let found = container_form(&parents, &name).unwrap_or_else(|| panic!("{parents:?}/{name}"));
            assert_eq!(found.runtime, runtime, "{parents:?}/{name}");
            assert!(found.id.starts_with(id_start), "{parents:?}/{name}: {}", found.id);
        }
    }

    #[test]
    fn services_monitors_and_machines_are_no_containers() {
        let id = "0123456789abcdef".repeat(4);
        for (parents, name) in [
            (vec!["system.slice"], "ssh.service".to_owned()),
            (vec!["system.slice"], "docker.service".into()),
            (vec!["system.slice"], "docker-compose.scope".into()),
            (vec!["user.slice", "user-0.slice"], "session-1.scope".into()),
            (vec!["kubepods.slice"], format!("crio-conmon-{id}.scope")),
            (vec!["machine.slice"], format!("libpod-conmon-{id}.scope")),
            (vec![], "lxc.monitor.web".into()),
            (vec!["machine.slice"], r"machine-qemu\x2d1\x2dvm.scope".into()),
            (vec!["a", "default"], "my-redis".into()),
            (vec![], "default".into()),
            (vec!["kubepods.slice"], "kubepods-burstable.slice".into()),
        ] {
            assert_eq!(container_form(&parents, &name), None, "{parents:?}/{name}");
        }
    }

    #[test]
    fn a_config_hash_cannot_be_the_uid_of_an_ordinary_pod() {
        assert!(PodKey::of_config_hash(HASH).is_some());
        assert_eq!(PodKey::of_config_hash(UID), None);
        assert_eq!(PodKey::of_config_hash("../../x"), None);
    }

    #[test]
    fn undoes_only_the_escapes_of_systemd() {
        assert_eq!(unescape(r"a\x2db"), "a-b");
        assert_eq!(unescape(r"a\x"), r"a\x");
        assert_eq!(unescape(r"a\xzz\x2d"), r"a\xzz-");
        assert_eq!(unescape(r"\xff"), r"\xff");
    }
}
