//! The file that lists the pods and their cgroups, in place of a kubelet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::yaml::Fault;
use crate::cgroups::PodKey;
use crate::session::{Pod, Uid};

/// One pod of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The cgroup of the pod's only container, which then has the pod's name.
    cgroup: Option<PathBuf>,
    #[serde(default)]
    containers: Vec<Container>,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Container {
    name: String,
    cgroup: PathBuf,
}

/// A pod, and the cgroups of its containers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LocalPod {
    pub(super) pod: Pod,
    /// Name and cgroup of each container.
    pub(super) containers: Vec<(String, PathBuf)>,
}

/// Reads a pods file: a list of `{name, namespace, labels, cgroup}`, or with `containers: [{name, cgroup}]` in place of
/// `cgroup`.
///
/// # Errors
///
/// [`Fault`] with the first mistake.
pub(super) fn read(file: &Path, text: &str) -> Result<BTreeMap<Uid, LocalPod>, Fault> {
    // An empty file lists no pods.
    let entries: Option<Vec<Spanned<Entry>>> =
        serde_saphyr::from_str(text).map_err(|error| Fault::of_yaml(file, &error))?;
    let mut pods = BTreeMap::new();
    for Spanned { value: entry, referenced, .. } in entries.unwrap_or_default() {
        let line = referenced.line();
        let label = format!("{}/{}", entry.namespace, entry.name);
        let fault = |message: String| Fault {
            file: file.to_owned(),
            line: Some(line),
            message: format!("pod {label}: {message}"),
        };
        let containers = match (entry.cgroup, entry.containers) {
            (Some(cgroup), containers) if containers.is_empty() => vec![(entry.name.clone(), cgroup)],
            (None, containers) if !containers.is_empty() => {
                containers.into_iter().map(|container| (container.name, container.cgroup)).collect()
            }
            _ => return Err(fault("give either cgroup, or containers with a name and a cgroup each".into())),
        };
        let names: BTreeSet<String> = containers.iter().map(|(name, _)| name.clone()).collect();
        if names.len() != containers.len() {
            return Err(fault("two containers have the same name".into()));
        }
        let pod = Pod {
            uid: label.clone(),
            key: PodKey::of_uid(&label),
            namespace: entry.namespace,
            name: entry.name,
            created: Timestamp::UNIX_EPOCH,
            labels: entry.labels,
            finished: false,
            // The pod counts as running, and is reported as not visible until its cgroup exists.
            running: true,
            containers: names,
            container_ids: BTreeMap::new(),
            sandboxed: None,
        };
        if pods.insert(label.clone(), LocalPod { pod, containers }).is_some() {
            return Err(fault("it is there twice".into()));
        }
    }
    Ok(pods)
}

fn default_namespace() -> String {
    super::DEFAULT_NAMESPACE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        read(Path::new("pods.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_pod_is_one_cgroup_or_several_containers() {
        let pods = read(
            Path::new("pods.yaml"),
            "- {name: shop, labels: {app: shop}, cgroup: /demo/shop}\n\
             - name: db\n  namespace: data\n  containers:\n  - {name: main, cgroup: /demo/db}\n  - {name: log, cgroup: /demo/log}\n",
        )
        .unwrap();
        let shop = &pods["default/shop"];
        assert_eq!(shop.containers, [("shop".to_owned(), PathBuf::from("/demo/shop"))]);
        assert_eq!(shop.pod.labels["app"], "shop");
        let names: Vec<&str> = pods["data/db"].containers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["main", "log"]);
        assert!(read(Path::new("pods.yaml"), "").unwrap().is_empty());
        assert!(read(Path::new("pods.yaml"), "# nothing yet\n").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line, part) in [
            ("- {name: a, cgroup: /a}\n- {name: b}\n", 2, "either cgroup, or containers"),
            ("- {name: a, cgroup: /a}\n- {name: a, cgroup: /b}\n", 2, "twice"),
            ("- name: a\n  cgroups: /a\n", 2, "cgroups"),
            ("- {name: a, containers: [{name: x, cgroup: /a}, {name: x, cgroup: /b}]}\n", 1, "same name"),
            ("- {cgroup: /a}\n", 1, "name"),
        ] {
            let text = fault(text);
            assert!(text.starts_with(&format!("pods.yaml:{line}:")) && text.contains(part), "{text}");
        }
    }
}
