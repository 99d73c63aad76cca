//! Names of the peers of flows by address: pods, Services and nodes.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Service};
use traffictrace_crd::Protocol;

use super::pods::Pods;
use super::services::Services;
use crate::kubeapi::Key;
use crate::merge::{NodeNames, PeerNames};

/// The addresses of one Service or node.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    key: Key,
    addresses: Vec<IpAddr>,
}

impl Addresses {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

impl From<Service> for Addresses {
    /// Reads a Service's addresses inside the cluster. A headless Service has none.
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

/// The addresses of all objects of one kind: Services or nodes.
#[derive(Debug, Default)]
pub(super) struct Directory {
    by_address: HashMap<IpAddr, Key>,
    by_key: HashMap<Key, Vec<IpAddr>>,
}

impl Directory {
    pub(super) fn apply(&mut self, entry: Addresses) {
        self.remove(&entry.key);
        for address in &entry.addresses {
            self.by_address.insert(*address, entry.key.clone());
        }
        self.by_key.insert(entry.key, entry.addresses);
    }

    /// Returns the object that has an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Key> {
        self.by_address.get(&address)
    }

    pub(super) fn remove(&mut self, key: &Key) {
        for address in self.by_key.remove(key).unwrap_or_default() {
            if self.by_address.get(&address) == Some(key) {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Names of the cluster's nodes. A node that is deleted and created again with the same name counts as the same node.
#[derive(Debug, Default)]
pub(super) struct NodeSet {
    uids: HashMap<String, String>,
}

impl NodeSet {
    pub(super) fn apply(&mut self, key: &Key) {
        self.uids.insert(key.name.clone(), key.uid.clone());
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if self.uids.get(&key.name) == Some(&key.uid) {
            self.uids.remove(&key.name);
        }
    }
}

impl NodeNames for NodeSet {
    fn has_node(&self, name: &str) -> bool {
        self.uids.contains_key(name)
    }
}

/// The peers that a status names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PeerScope {
    /// Pods and Services of all namespaces, and nodes.
    #[default]
    Cluster,
    /// Of pods and Services only those of the trace's own namespace; nodes too.
    Namespace,
}

/// Finds the name of an address: a pod, else a Service, else a node. Pods on the host network have no addresses of
/// their own in [`Pods`], so a node's address always names the node.
pub(super) struct Peers<'a> {
    pub(super) pods: &'a Pods,
    pub(super) services: &'a Services,
    pub(super) nodes: &'a Directory,
    /// The only namespace whose pods and Services are named, if there is such a limit.
    pub(super) only: Option<&'a str>,
    pub(super) now: Timestamp,
}

impl PeerNames for Peers<'_> {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        let told = |key: &&Key| self.only.is_none_or(|only| key.namespace == only);
        let pod = self.pods.at(address, self.now).filter(told).map(|key| format!("pod {key}"));
        let service = || self.services.at(address).filter(told).map(|key| format!("service {key}"));
        let node = || self.nodes.at(address).map(|key| format!("node {key}"));
        pod.or_else(service).or_else(node)
    }

    fn services_of(&self, namespace: &str, pod: &str, protocol: Protocol, port: u16) -> Vec<String> {
        let pod = self.pods.named(namespace, pod);
        pod.map(|pod| self.services.of(pod, protocol, port)).unwrap_or_default()
    }

    fn may_show(&self, name: &str) -> bool {
        let object = name.strip_prefix("pod ").or_else(|| name.strip_prefix("service "));
        let namespace = object.and_then(|object| object.split_once('/')).map(|(namespace, _)| namespace);
        namespace.is_none_or(|namespace| self.only.is_none_or(|only| namespace == only))
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
        let (pods, mut services, mut nodes) = (Pods::default(), Services::default(), Directory::default());
        services.apply(service.clone().into());
        services.apply(headless.into());
        nodes.apply(node.into());
        let name_for = |only, services: &Services, text: &str| {
            Peers { pods: &pods, services, nodes: &nodes, only, now: Timestamp::UNIX_EPOCH }
                .name_of(text.parse().unwrap())
        };
        let name = |services: &Services, text: &str| name_for(None, services, text);
        assert_eq!(name(&services, "fd00::7").as_deref(), Some("service shop/api"));
        assert_eq!(name(&services, "192.168.0.1").as_deref(), Some("node n1"));
        assert_eq!(name(&services, "10.96.0.8"), None);
        for (only, named) in [("shop", Some("service shop/api")), ("other", None)] {
            assert_eq!(name_for(Some(only), &services, "fd00::7").as_deref(), named, "{only}");
            assert_eq!(name_for(Some(only), &services, "192.168.0.1").as_deref(), Some("node n1"));
        }
        services.remove(&Key::of(&service));
        assert_eq!(name(&services, "10.96.0.7"), None);
    }

    #[test]
    fn a_name_of_another_namespace_that_a_status_has_is_not_kept() {
        let (pods, services, nodes) = (Pods::default(), Services::default(), Directory::default());
        let may_show = |only, name: &str| {
            Peers { pods: &pods, services: &services, nodes: &nodes, only, now: Timestamp::UNIX_EPOCH }
                .may_show(name)
        };
        for (name, within) in
            [("pod shop/a", true), ("pod other/a", false), ("service other/a", false), ("node n1", true)]
        {
            assert!(may_show(None, name));
            assert_eq!(may_show(Some("shop"), name), within, "{name}");
        }
    }
}
