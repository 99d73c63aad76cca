//! The parts of a pod that matter on a node.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::Uid;
use crate::cgroups::PodKey;

/// kubelet's annotations on the API object that represents a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Parts of common RuntimeClass names of sandboxed runtimes: gVisor and Kata. Processes in such a sandbox use the
/// sockets of its own kernel, which the host's kernel does not see.
const SANDBOXED: [&str; 3] = ["gvisor", "runsc", "kata"];

/// A pod of this node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    /// UID of the object in the API.
    pub(crate) uid: Uid,
    /// Key by which kubelet names the pod's folder.
    pub(crate) key: PodKey,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) labels: BTreeMap<String, String>,
    /// Set if all containers have ended for good.
    pub(crate) finished: bool,
    /// Set if the kubelet reports the pod as running and it is not being deleted.
    pub(crate) running: bool,
    /// Names of all containers: init, sidecar, ephemeral and ordinary ones.
    pub(crate) containers: BTreeSet<String>,
    /// Name of a container by its runtime id, for all that the kubelet has reported, including ended ones.
    pub(crate) container_ids: BTreeMap<String, String>,
    /// Name of the RuntimeClass, if it is a sandboxed runtime.
    pub(crate) sandboxed: Option<String>,
}

impl Pod {
    /// Reads a pod. Returns `None` if a field is missing that every pod has.
    pub(crate) fn read(object: &api::Pod, now: Timestamp) -> Option<Self> {
        let meta = &object.metadata;
        let uid = meta.uid.clone()?;
        let spec = object.spec.as_ref()?;
        let mark = |name: &str| meta.annotations.as_ref().and_then(|marks| marks.get(name));
        // Only a mirror pod's folder is named by its manifest's hash. Anybody who can create pods can write these
        // annotations, so the planner also ensures that no two pods share a folder.
        let hash = mark(MIRROR).and_then(|_| mark(CONFIG_HASH)).and_then(|hash| PodKey::of_config_hash(hash));
        let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
        Some(Self {
            key: hash.unwrap_or_else(|| PodKey::of_uid(&uid)),
            uid,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map_or(now, |time| time.0),
            labels: meta.labels.clone().unwrap_or_default(),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            running: phase == Some("Running") && meta.deletion_timestamp.is_none(),
            containers: container_names(spec),
            container_ids: object.status.as_ref().map(ids).unwrap_or_default(),
            sandboxed: spec.runtime_class_name.clone().filter(|class| is_sandboxed(class)),
        })
    }
}

/// Returns the names of all containers of a pod: init, sidecar, ephemeral and ordinary ones.
pub(crate) fn container_names(spec: &api::PodSpec) -> BTreeSet<String> {
    let init = spec.init_containers.iter().flatten().map(|container| &container.name);
    let ordinary = spec.containers.iter().map(|container| &container.name);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.name);
    init.chain(ordinary).chain(ephemeral).cloned().collect()
}

fn ids(status: &api::PodStatus) -> BTreeMap<String, String> {
    let groups =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let mut ids = BTreeMap::new();
    for container in groups.into_iter().flatten().flatten() {
        let ended = |state: &Option<api::ContainerState>| {
            state
                .as_ref()
                .and_then(|state| state.terminated.as_ref())
                .and_then(|ended| ended.container_id.clone())
        };
        let known = [container.container_id.clone(), ended(&container.state), ended(&container.last_state)];
        for id in known.into_iter().flatten() {
            // The form is `containerd://<id>`; folders are named by the id alone.
            let id = id.split_once("://").map_or(id.as_str(), |(_, id)| id);
            if !id.is_empty() {
                ids.insert(id.to_owned(), container.name.clone());
            }
        }
    }
    ids
}

fn is_sandboxed(class: &str) -> bool {
    let class = class.to_ascii_lowercase();
    SANDBOXED.iter().any(|name| class.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "8f14e45fceea167a5a36dedd4bea2543";

    fn read(object: serde_json::Value) -> Pod {
        Pod::read(&serde_json::from_value(object).unwrap(), Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn knows_every_container_by_every_id_it_had() {
        let pod = read(json!({
            "metadata": { "uid": "u1", "name": "shop-0", "namespace": "web", "labels": { "app": "shop" } },
            "spec": {
                "initContainers": [{ "name": "setup" }, { "name": "proxy", "restartPolicy": "Always" }],
                "containers": [{ "name": "web" }],
                "ephemeralContainers": [{ "name": "debug" }],
            },
            "status": {
                "initContainerStatuses": [{
                    "name": "setup", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "containerID": "containerd://aa",
                }],
                "containerStatuses": [{
                    "name": "web", "image": "", "imageID": "", "ready": true, "restartCount": 1,
                    "containerID": "containerd://cc",
                    "lastState": { "terminated": { "exitCode": 1, "containerID": "containerd://bb" } },
                }],
                "ephemeralContainerStatuses": [{
                    "name": "debug", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": 0, "containerID": "cri-o://dd" } },
                }],
            },
        }));
        assert_eq!(pod.key, PodKey::of_uid("u1"));
        assert_eq!(pod.containers.iter().collect::<Vec<_>>(), ["debug", "proxy", "setup", "web"]);
        let ids: Vec<_> = pod.container_ids.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
        assert_eq!(ids, [("aa", "setup"), ("bb", "web"), ("cc", "web"), ("dd", "debug")]);
    }

    #[test]
    fn a_static_pod_is_found_by_the_hash_of_its_manifest() {
        let object = |annotations: serde_json::Value| {
            read(json!({ "metadata": { "uid": "u1", "annotations": annotations }, "spec": { "containers": [] } })).key
        };
        let mirror = object(json!({ MIRROR: HASH, CONFIG_HASH: HASH }));
        assert_eq!(mirror, PodKey::of_config_hash(HASH).unwrap());
        for no_mirror in [
            json!({ CONFIG_HASH: HASH }),
            json!({ MIRROR: "x", CONFIG_HASH: "0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60" }),
            json!({ MIRROR: "x" }),
        ] {
            assert_eq!(object(no_mirror.clone()), PodKey::of_uid("u1"), "{no_mirror}");
        }
    }

    #[test]
    fn a_pod_runs_until_it_is_told_to_end() {
        let object = |phase: &str, deletion: Option<&str>| {
            read(json!({
                "metadata": { "uid": "u1", "deletionTimestamp": deletion },
                "spec": { "containers": [] }, "status": { "phase": phase },
            }))
        };
        let state = |pod: Pod| (pod.running, pod.finished);
        assert_eq!(state(object("Pending", None)), (false, false));
        assert_eq!(state(object("Running", None)), (true, false));
        assert_eq!(state(object("Running", Some("2026-11-23T10:00:00Z"))), (false, false));
        assert_eq!(state(object("Failed", None)), (false, true));
    }

    #[test]
    fn sandboxed_runtimes_are_known_by_their_class() {
        for (class, sandboxed) in
            [("gvisor", true), ("kata-qemu", true), ("Runsc-KVM", true), ("nvidia", false), ("crun", false)]
        {
            let pod = read(json!({
                "metadata": { "uid": "u1" },
                "spec": { "containers": [], "runtimeClassName": class },
            }));
            assert_eq!(pod.sandboxed.is_some(), sandboxed, "{class}");
        }
    }
}
