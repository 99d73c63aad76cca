//! The pods of the cluster: which a selector matches, by node, and which addresses they have.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::core::{Selector, SelectorExt as _};

use crate::kubeapi::Key;

/// The part of a pod that is kept.
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
    pub(super) fn namespace(&self) -> &str {
        &self.key.namespace
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
    /// Takes a pod that is new or has changed. Returns its labels, old and new, if selectors may count it otherwise than
    /// before.
    pub(super) fn apply(&mut self, pod: PodRecord) -> Vec<Labels> {
        let key = pod.key.clone();
        let pods = self.namespaces.entry(key.namespace.clone()).or_default();
        let old = pods.get(&key.name);
        if old == Some(&pod) {
            return Vec::new();
        }
        let counted = |pod: &PodRecord| (pod.labels.clone(), pod.node.clone(), pod.finished);
        let labels = match old {
            None => vec![pod.labels.clone()],
            Some(old) if counted(old) == counted(&pod) => Vec::new(),
            Some(old) => vec![old.labels.clone(), pod.labels.clone()],
        };
        if let Some(old) = old {
            release(&mut self.addresses, &old.key, old);
        }
        if !pod.finished {
            for address in &pod.addresses {
                self.addresses.insert(*address, key.clone());
            }
        }
        pods.insert(key.name, pod);
        labels
    }

    /// Takes a pod's end, and returns its labels.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Labels> {
        let pods = self.namespaces.get_mut(&key.namespace)?;
        // One of the same name may have been made anew meanwhile.
        if pods.get(&key.name)?.key != *key {
            return None;
        }
        let old = pods.remove(&key.name)?;
        if pods.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        release(&mut self.addresses, key, &old);
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
fn release(addresses: &mut HashMap<IpAddr, Key>, key: &Key, pod: &PodRecord) {
    for address in &pod.addresses {
        if addresses.get(address) == Some(key) {
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
            "metadata": { "name": name, "namespace": "shop", "labels": { "app": app } },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": phase, "podIP": address, "podIPs": [{ "ip": address }, { "ip": "fd00::1" }] },
        }))
        .unwrap();
        pod.into()
    }

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into(), uid: String::new() }
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
    fn the_end_of_a_pod_is_not_that_of_one_made_anew() {
        let mut pods = Pods::default();
        let old = pod("a", "n1", "web", "Running", "10.0.0.1");
        let mut new = pod("a", "n2", "db", "Running", "10.0.0.2");
        new.key.uid = "new".into();
        pods.apply(old.clone());
        assert_eq!(pods.apply(new.clone()), [old.labels.clone(), new.labels.clone()]);
        assert_eq!(pods.at(ip("10.0.0.1")), None);
        assert_eq!(pods.remove(&old.key), None);
        assert_eq!(pods.by_node("shop", &Selector::default()), [("n2".to_owned(), 1)].into());
        assert_eq!(pods.remove(&new.key), Some(new.labels));
        assert_eq!(pods.at(ip("10.0.0.2")), None);
    }
}
