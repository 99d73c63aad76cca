//! The pods of the cluster: which a selector matches, by node, and which addresses they have.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::core::{Selector, SelectorExt as _};

use crate::kubeapi::Key;

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodRecord {
    key: Key,
    labels: Labels,
    node: Option<String>,
    /// Its own addresses; none when it uses its node's.
    addresses: Vec<IpAddr>,
    /// It has run to its end: it has neither traffic nor a claim to its address.
    finished: bool,
}

impl From<Pod> for PodRecord {
    fn from(pod: Pod) -> Self {
        let key = Key::of(&pod);
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let addresses = if spec.host_network == Some(true) {
            Vec::new()
        } else {
            let listed = status.pod_ips.unwrap_or_default().into_iter().map(|address| address.ip);
            let mut all: Vec<IpAddr> =
                listed.chain(status.pod_ip).filter_map(|text| text.parse().ok()).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        Self {
            key,
            labels: pod.metadata.labels.unwrap_or_default(),
            node: spec.node_name.filter(|name| !name.is_empty()),
            addresses,
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        }
    }
}

impl PodRecord {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

/// A pod's labels.
pub(super) type Labels = BTreeMap<String, String>;

/// All pods, by namespace, and who has which address.
#[derive(Debug, Default)]
pub(super) struct Pods {
    namespaces: HashMap<String, HashMap<String, PodRecord>>,
    addresses: HashMap<IpAddr, Key>,
}

impl Pods {
    /// Takes a pod that is new or has changed. Returns the labels, old and new, by which a selector may count other pods
    /// than before; none if nothing that matters for counting has changed.
    pub(super) fn apply(&mut self, pod: PodRecord) -> Vec<Labels> {
        let pods = self.namespaces.entry(pod.key.namespace.clone()).or_default();
        let old = pods.get(&pod.key.name);
        if old == Some(&pod) {
            return Vec::new();
        }
        let mut labels = Vec::new();
        if let Some(old) = old {
            release(&mut self.addresses, old);
            let counted = |pod: &PodRecord| (pod.node.clone(), pod.finished);
            if old.labels != pod.labels || counted(old) != counted(&pod) {
                labels.extend([old.labels.clone(), pod.labels.clone()]);
            }
        } else {
            labels.push(pod.labels.clone());
        }
        if !pod.finished {
            for address in &pod.addresses {
                self.addresses.insert(*address, pod.key.clone());
            }
        }
        pods.insert(pod.key.name.clone(), pod);
        labels
    }

    /// Takes a pod's end, and returns its labels. A pod that was made anew under the name stays.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Labels> {
        let pods = self.namespaces.get_mut(&key.namespace)?;
        if pods.get(&key.name)?.key.uid != key.uid {
            return None;
        }
        let old = pods.remove(&key.name)?;
        if pods.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        release(&mut self.addresses, &old);
        Some(old.labels)
    }

    /// The number of pods of a namespace, by node, that the selector matches and that are on a node and not finished.
    pub(super) fn by_node(&self, namespace: &str, selector: &Selector) -> BTreeMap<String, i32> {
        let mut counts = BTreeMap::new();
        for pod in self.namespaces.get(namespace).into_iter().flat_map(HashMap::values) {
            if let Some(node) = pod.node.as_ref().filter(|_| !pod.finished && selector.matches(&pod.labels)) {
                *counts.entry(node.clone()).or_insert(0) += 1;
            }
        }
        counts
    }

    /// The pod that has an address now.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Key> {
        self.addresses.get(&address)
    }
}

/// Gives up the addresses of a pod, unless another pod has them already.
fn release(addresses: &mut HashMap<IpAddr, Key>, pod: &PodRecord) {
    for address in &pod.addresses {
        if addresses.get(address) == Some(&pod.key) {
            addresses.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, app: &str, phase: &str, address: &str) -> PodRecord {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "shop", "uid": name, "labels": { "app": app } },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": phase, "podIP": address, "podIPs": [{ "ip": address }, { "ip": "fd00::1" }] },
        }))
        .unwrap();
        pod.into()
    }

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into(), uid: name.into() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn counts_what_runs_where() {
        let mut pods = Pods::default();
        pods.apply(pod("a", "n1", "web", "Running", "10.0.0.1"));
        pods.apply(pod("b", "n1", "web", "Pending", "10.0.0.2"));
        pods.apply(pod("c", "n2", "db", "Running", "10.0.0.3"));
        pods.apply(pod("d", "", "web", "Pending", "10.0.0.4"));
        pods.apply(pod("e", "n3", "web", "Succeeded", "10.0.0.5"));
        let all = Selector::default();
        assert_eq!(pods.by_node("shop", &all), [("n1".to_owned(), 2), ("n2".to_owned(), 1)].into());
        let web = Selector::from_iter([("app", "web")]);
        assert_eq!(pods.by_node("shop", &web), [("n1".to_owned(), 2)].into());
        assert!(pods.by_node("other", &all).is_empty());
        pods.remove(&key("a"));
        assert_eq!(pods.by_node("shop", &web), [("n1".to_owned(), 1)].into());
    }

    #[test]
    fn an_address_belongs_to_a_pod_that_has_not_finished() {
        let mut pods = Pods::default();
        assert_eq!(pods.apply(pod("a", "n1", "web", "Running", "10.0.0.1")).len(), 1);
        assert!(pods.apply(pod("a", "n1", "web", "Running", "10.0.0.1")).is_empty(), "nothing has changed");
        assert_eq!(pods.at(ip("10.0.0.1")), Some(&key("a")));
        assert_eq!(pods.at(ip("fd00::1")), Some(&key("a")));
        pods.apply(pod("a", "n1", "web", "Failed", "10.0.0.1"));
        assert_eq!(pods.at(ip("10.0.0.1")), None);

        // The next pod gets the address before the last one is deleted.
        pods.apply(pod("b", "n1", "web", "Running", "10.0.0.1"));
        pods.remove(&key("a"));
        assert_eq!(pods.at(ip("10.0.0.1")), Some(&key("b")));
    }

    #[test]
    fn a_pod_on_the_host_network_has_no_address_of_its_own() {
        let host: Pod = serde_json::from_value(json!({
            "metadata": { "name": "h", "namespace": "shop" },
            "spec": { "nodeName": "n1", "hostNetwork": true, "containers": [] },
            "status": { "phase": "Running", "podIP": "192.168.0.1" },
        }))
        .unwrap();
        let mut pods = Pods::default();
        pods.apply(host.into());
        assert_eq!(pods.at(ip("192.168.0.1")), None);
        assert_eq!(pods.by_node("shop", &Selector::default()), [("n1".to_owned(), 1)].into());
    }

    #[test]
    fn a_pod_that_was_made_anew_outlives_the_end_of_the_old_one() {
        let mut pods = Pods::default();
        let old = pod("a", "n1", "web", "Running", "10.0.0.1");
        let mut new = pod("a", "n2", "web", "Running", "10.0.0.2");
        new.key.uid = "new".into();
        pods.apply(old.clone());
        pods.apply(new.clone());
        assert_eq!(pods.at(ip("10.0.0.1")), None);
        assert_eq!(pods.remove(&old.key), None);
        assert_eq!(pods.by_node("shop", &Selector::default()), [("n2".to_owned(), 1)].into());
        assert!(pods.remove(&new.key).is_some());
        assert_eq!(pods.at(ip("10.0.0.2")), None);
    }
}
