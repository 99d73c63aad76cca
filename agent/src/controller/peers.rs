//! Names of the peers of flows: pods, Services and nodes, by address.

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service};

use super::pods::Pods;
use crate::kubeapi::Key;
use crate::merge::PeerNames;

/// The addresses of one Service or node.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    key: Key,
    addresses: Vec<IpAddr>,
}

impl From<Service> for Addresses {
    /// A Service's addresses inside the cluster; a headless one has none.
    fn from(service: Service) -> Self {
        let key = Key::of(&service);
        let spec = service.spec.unwrap_or_default();
        let listed = spec.cluster_ips.unwrap_or_default().into_iter().chain(spec.cluster_ip);
        Self { key, addresses: listed.filter_map(|text| text.parse().ok()).collect() }
    }
}

impl From<Node> for Addresses {
    fn from(node: Node) -> Self {
        let key = Key::of(&node);
        let listed = node.status.unwrap_or_default().addresses.unwrap_or_default();
        Self {
            key,
            addresses: listed.into_iter().filter_map(|address| address.address.parse().ok()).collect(),
        }
    }
}

/// Who has which address, of one kind.
#[derive(Debug, Default)]
pub(super) struct Directory {
    by_address: HashMap<IpAddr, Key>,
    by_key: HashMap<Key, Vec<IpAddr>>,
}

impl Addresses {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

impl Directory {
    pub(super) fn apply(&mut self, entry: Addresses) {
        self.remove(&entry.key);
        for address in &entry.addresses {
            self.by_address.insert(*address, entry.key.clone());
        }
        self.by_key.insert(entry.key, entry.addresses);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        for address in self.by_key.remove(key).unwrap_or_default() {
            if self.by_address.get(&address) == Some(key) {
                self.by_address.remove(&address);
            }
        }
    }
}

/// The names of objects without a namespace, each with the UID of the newest one that has it: one that was made anew
/// comes before the end of the old one is told.
#[derive(Debug, Default)]
pub(super) struct Names {
    uids: HashMap<String, String>,
}

impl Names {
    /// Takes an object; tells whether its name is new.
    pub(super) fn apply(&mut self, key: &Key) -> bool {
        self.uids.insert(key.name.clone(), key.uid.clone()).is_none()
    }

    /// Takes an object's end; tells whether nothing has the name any more.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let is_newest = self.uids.get(&key.name) == Some(&key.uid);
        is_newest && self.uids.remove(&key.name).is_some()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.uids.contains_key(name)
    }
}

/// Which peers of a flow are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PeerScope {
    /// Pods and Services of all namespaces, and nodes
    #[default]
    Cluster,
    /// Pods and Services of the trace's own namespace, and nodes
    Namespace,
}

/// The peers of one trace, of all three kinds. A node's address names the node, also where a pod on the host network uses
/// it.
pub(super) struct Peers<'a> {
    pub(super) pods: &'a Pods,
    pub(super) services: &'a Directory,
    pub(super) nodes: &'a Directory,
    pub(super) scope: PeerScope,
    /// The trace's.
    pub(super) namespace: &'a str,
}

impl Peers<'_> {
    fn is_named(&self, namespace: &str) -> bool {
        self.scope == PeerScope::Cluster || namespace == self.namespace
    }
}

impl PeerNames for Peers<'_> {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        if let Some(pod) = self.pods.at(address) {
            return self.is_named(&pod.namespace).then(|| format!("pod {pod}"));
        }
        if let Some(service) = self.services.by_address.get(&address) {
            return self.is_named(&service.namespace).then(|| format!("service {service}"));
        }
        self.nodes.by_address.get(&address).map(|node| format!("node {node}"))
    }

    fn may_show(&self, name: &str) -> bool {
        let object = name.strip_prefix("pod ").or_else(|| name.strip_prefix("service "));
        let namespace = object.and_then(|object| object.split_once('/')).map(|(namespace, _)| namespace);
        namespace.is_none_or(|namespace| self.is_named(namespace))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_have_the_name_of_what_has_them() {
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": "api", "namespace": "shop" },
            "spec": { "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"] },
        }))
        .unwrap();
        let headless: Service = serde_json::from_value(json!({
            "metadata": { "name": "none", "namespace": "shop" }, "spec": { "clusterIP": "None", "clusterIPs": ["None"] },
        }))
        .unwrap();
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "n1" },
            "status": { "addresses": [
                { "type": "InternalIP", "address": "192.168.0.1" }, { "type": "Hostname", "address": "n1" } ] },
        }))
        .unwrap();
        let (pods, mut services, mut nodes) = (Pods::default(), Directory::default(), Directory::default());
        services.apply(service.clone().into());
        services.apply(headless.into());
        nodes.apply(node.into());
        let peers = |services: &Directory, text: &str, scope| {
            let peers = Peers { pods: &pods, services, nodes: &nodes, scope, namespace: "web" };
            peers.name_of(text.parse().unwrap())
        };
        let name = |services: &Directory, text: &str| peers(services, text, PeerScope::Cluster);
        assert_eq!(name(&services, "fd00::7").as_deref(), Some("service shop/api"));
        assert_eq!(name(&services, "192.168.0.1").as_deref(), Some("node n1"));
        assert_eq!(name(&services, "10.96.0.8"), None);
        let within = |text: &str| peers(&services, text, PeerScope::Namespace);
        assert_eq!(within("fd00::7"), None, "another namespace's");
        assert_eq!(within("192.168.0.1").as_deref(), Some("node n1"));
        services.remove(&Key::of(&service));
        assert_eq!(name(&services, "10.96.0.7"), None);
    }

    #[test]
    fn names_of_other_namespaces_are_not_kept_either() {
        let (pods, services, nodes) = (Pods::default(), Directory::default(), Directory::default());
        let may_show = |scope, name: &str| {
            Peers { pods: &pods, services: &services, nodes: &nodes, scope, namespace: "shop" }.may_show(name)
        };
        for (name, within) in
            [("pod shop/a", true), ("pod other/a", false), ("service other/a", false), ("node n1", true)]
        {
            assert!(may_show(PeerScope::Cluster, name));
            assert_eq!(may_show(PeerScope::Namespace, name), within, "{name}");
        }
    }

    #[test]
    fn a_node_that_was_made_anew_is_there() {
        let node = |uid: &str| Key { namespace: String::new(), name: "n1".into(), uid: uid.into() };
        let mut names = Names::default();
        assert!(names.apply(&node("a")) && !names.apply(&node("b")));
        assert!(!names.remove(&node("a")) && names.has("n1"));
        assert!(names.remove(&node("b")) && !names.has("n1"));
    }
}
