//! The Services of the cluster: their addresses, and the ports of pods that they offer.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt as _};
use traffictrace_crd::Protocol;

use super::peers::{Addresses, Directory};
use super::pods::{PodRecord, protocol_named};
use crate::kubeapi::Key;

/// Maximum number of Services that are named for one port.
const NAMED: usize = 16;

/// The part of a Service that is kept in memory.
#[derive(Clone, Debug)]
pub(super) struct ServiceRecord {
    addresses: Addresses,
    /// Labels that select the Service's pods; empty if the Service has no selector.
    selector: Selector,
    ports: Vec<Port>,
}

/// A port of a Service.
#[derive(Clone, Debug)]
struct Port {
    protocol: Protocol,
    /// Port number at which clients reach the Service.
    number: u16,
    /// Number or name of the pods' port.
    target: IntOrString,
}

impl From<Service> for ServiceRecord {
    fn from(service: Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let ports = spec.ports.unwrap_or_default().into_iter().filter_map(|port| {
            let protocol = protocol_named(port.protocol.as_deref())?;
            let number = u16::try_from(port.port).ok()?;
            // Without a target, or with the target 0, the pods' port has the same number.
            let target = port.target_port.filter(|target| *target != IntOrString::Int(0));
            Some(Port { protocol, number, target: target.unwrap_or(IntOrString::Int(port.port)) })
        });
        Self {
            ports: ports.collect(),
            selector: spec.selector.unwrap_or_default().into_iter().collect(),
            addresses: service.into(),
        }
    }
}

/// All Services, by address and by namespace.
#[derive(Debug, Default)]
pub(super) struct Services {
    directory: Directory,
    namespaces: HashMap<String, BTreeMap<String, ServiceRecord>>,
}

impl Services {
    pub(super) fn apply(&mut self, service: ServiceRecord) {
        let key = service.addresses.key().clone();
        self.directory.apply(service.addresses.clone());
        // Only ports that lead to pods are needed. A Service without a selector selects no pods, and clients of a
        // headless Service connect to the pods' own addresses and ports.
        if service.selector.selects_all() || service.addresses.is_empty() {
            self.forget(&key);
        } else {
            self.namespaces.entry(key.namespace).or_default().insert(key.name, service);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.directory.remove(key);
        let services = self.namespaces.get(&key.namespace);
        // If a new Service with the same name is known already, this is the late deletion of the old one.
        if services.and_then(|all| all.get(&key.name)).is_some_and(|known| known.addresses.key() == key) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(services) = self.namespaces.get_mut(&key.namespace) {
            services.remove(&key.name);
            if services.is_empty() {
                self.namespaces.remove(&key.namespace);
            }
        }
    }

    /// Returns the Service that has an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Key> {
        self.directory.at(address)
    }

    /// Returns the Services that offer a pod's port, as `NAME:PORT` with the Service's own port; at most [`NAMED`].
    pub(super) fn of(&self, pod: &PodRecord, protocol: Protocol, port: u16) -> Vec<String> {
        let leads_here = |target: &IntOrString| match target {
            IntOrString::Int(number) => *number == i32::from(port),
            IntOrString::String(name) => pod.has_port(name, protocol, port),
        };
        let services = self.namespaces.get(pod.namespace()).into_iter().flatten();
        let names = services.flat_map(|(name, service)| {
            let offers = |of: &&Port| {
                of.protocol == protocol && leads_here(&of.target) && service.selector.matches(pod.labels())
            };
            service.ports.iter().filter(offers).map(move |port| format!("{name}:{}", port.number))
        });
        names.take(NAMED).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, spec: Value) -> Service {
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec }))
            .unwrap()
    }

    fn web(namespace: &str) -> PodRecord {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "web-1", "namespace": namespace, "labels": { "app": "web", "tier": "front" } },
            "spec": {
                "containers": [{ "name": "main", "ports": [{ "name": "http", "containerPort": 8080 }, { "containerPort": 1 }] }],
                "initContainers": [
                    { "name": "mesh", "restartPolicy": "Always", "ports": [{ "name": "admin", "containerPort": 15000 }] },
                    { "name": "set-up", "ports": [{ "name": "admin", "containerPort": 15001 }] },
                ],
            },
        }))
        .unwrap();
        pod.into()
    }

    #[test]
    fn a_port_of_a_pod_has_the_services_that_lead_to_it() {
        let mut services = Services::default();
        let selector = json!({ "app": "web" });
        for (name, address, ports) in [
            ("own", "10.96.0.1", json!([{ "port": 8080 }])),
            (
                "number",
                "10.96.0.2",
                json!([{ "port": 80, "targetPort": 8080 }, { "port": 81, "targetPort": 9 }]),
            ),
            (
                "name",
                "10.96.0.3",
                json!([{ "port": 82, "targetPort": "http" }, { "port": 83, "targetPort": "admin" }]),
            ),
            (
                "udp",
                "10.96.0.4",
                json!([{ "port": 8080, "protocol": "UDP" }, { "port": 8080, "protocol": "SCTP" }]),
            ),
            ("headless", "None", json!([{ "port": 8080 }])),
        ] {
            services.apply(
                service(name, json!({ "clusterIP": address, "selector": selector, "ports": ports })).into(),
            );
        }
        let other =
            json!({ "clusterIP": "10.96.0.5", "selector": { "app": "db" }, "ports": [{ "port": 8080 }] });
        services.apply(service("other", other).into());
        let outside = json!({ "clusterIP": "10.96.0.6", "ports": [{ "port": 8080 }] });
        services.apply(service("outside", outside).into());

        let of = |services: &Services, protocol, port| services.of(&web("shop"), protocol, port);
        assert_eq!(of(&services, Protocol::Tcp, 8080), ["name:82", "number:80", "own:8080"]);
        assert_eq!(of(&services, Protocol::Udp, 8080), ["udp:8080"]);
        assert_eq!(of(&services, Protocol::Tcp, 15000), ["name:83"]);
        assert!(of(&services, Protocol::Tcp, 15001).is_empty(), "it has ended");
        assert!(of(&services, Protocol::Udp, 15000).is_empty());
        assert!(of(&services, Protocol::Tcp, 80).is_empty());
        assert!(services.of(&web("else"), Protocol::Tcp, 8080).is_empty());
        assert_eq!(services.at("10.96.0.3".parse().unwrap()).map(|key| key.name.as_str()), Some("name"));

        // A Service without a selector offers no ports, and neither does a deleted one.
        let kept = json!({ "clusterIP": "10.96.0.1", "ports": [{ "port": 8080 }] });
        services.apply(service("own", kept).into());
        services.remove(&Key::of(&service("number", json!({}))));
        assert_eq!(of(&services, Protocol::Tcp, 8080), ["name:82"]);
        assert!(services.at("10.96.0.1".parse().unwrap()).is_some());
    }

    #[test]
    fn not_more_than_a_few_services_are_named() {
        let mut services = Services::default();
        for number in 10..40 {
            let spec = json!({
                "clusterIP": format!("10.96.0.{number}"), "selector": { "tier": "front" }, "ports": [{ "port": 8080 }],
            });
            services.apply(service(&format!("web-{number}"), spec).into());
        }
        let names = services.of(&web("shop"), Protocol::Tcp, 8080);
        assert_eq!((names.len(), names[0].as_str(), names[15].as_str()), (16, "web-10:8080", "web-25:8080"));
    }
}
