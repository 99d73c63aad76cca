//! The pods of the cluster: the number that a selector matches on each node, and their addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Selector, SelectorExt as _};
use traffictrace_crd::Protocol;

use super::owners::Owners;
use crate::kubeapi::Key;
use crate::merge::LivePods;
use crate::session::container_names;

/// The part of a pod that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodRecord {
    key: Key,
    labels: Labels,
    node: Option<String>,
    /// Names of the pod's containers of all kinds.
    containers: BTreeSet<String>,
    /// Named ports of the pod's containers.
    ports: Vec<(String, Protocol, u16)>,
    /// The pod's own addresses; empty if it uses its node's.
    addresses: Vec<IpAddr>,
    /// Set if the pod has run to its end. It then has no traffic, and other pods may get its address.
    finished: bool,
    /// Time since which the pod has had its present node, labels, containers and phase, as far as selectors and counts
    /// depend on them.
    since: Timestamp,
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
        let scheduled =
            status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
        // Of the init containers, only those that run beside the others serve.
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports =
            spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
        let ports = ports.filter_map(|port| {
            let protocol = protocol_named(port.protocol.as_deref())?;
            Some((port.name.clone()?, protocol, u16::try_from(port.container_port).ok()?))
        });
        let placed = scheduled.and_then(|condition| condition.last_transition_time.as_ref());
        let placed = placed.or(pod.metadata.creation_timestamp.as_ref());
        Self {
            key,
            since: placed.map_or(Timestamp::MIN, |time| time.0),
            labels: pod.metadata.labels.unwrap_or_default(),
            containers: container_names(&spec),
            ports: ports.collect(),
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

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Returns true if a container's port has this name, protocol and number.
    pub(super) fn has_port(&self, name: &str, protocol: Protocol, number: u16) -> bool {
        self.ports.iter().any(|(own, of, port)| own == name && (*of, *port) == (protocol, number))
    }
}

/// Returns the protocol of a port of a Service or container, TCP if it names none; `None` if traces do not have it.
pub(super) fn protocol_named(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

/// A pod's labels.
pub(super) type Labels = BTreeMap<String, String>;

/// All pods by namespace, and the owners of addresses.
#[derive(Debug, Default)]
pub(super) struct Pods {
    namespaces: HashMap<String, HashMap<String, PodRecord>>,
    addresses: Owners,
}

impl Pods {
    /// Records a new or changed pod. Returns its old and new labels if selectors may now count it differently.
    pub(super) fn apply(&mut self, mut pod: PodRecord, now: Timestamp) -> Vec<Labels> {
        let key = pod.key.clone();
        let pods = self.namespaces.entry(key.namespace.clone()).or_default();
        let old = pods.get(&key.name);
        let counted =
            |pod: &PodRecord| (pod.labels.clone(), pod.node.clone(), pod.containers.clone(), pod.finished);
        pod.since = match old {
            None => pod.since.min(now),
            Some(old) if counted(old) == counted(&pod) => old.since,
            Some(_) => now,
        };
        if old == Some(&pod) {
            return Vec::new();
        }
        let labels = match old {
            None => vec![pod.labels.clone()],
            Some(old) if counted(old) == counted(&pod) => Vec::new(),
            Some(old) => vec![old.labels.clone(), pod.labels.clone()],
        };
        if let Some(old) = old.filter(|old| !old.finished) {
            let lost = old.addresses.iter().filter(|had| pod.finished || !pod.addresses.contains(had));
            let told_at_the_end =
                pod.addresses.iter().filter(|has| pod.finished && !old.addresses.contains(has));
            for address in lost.chain(told_at_the_end) {
                self.addresses.give_up(*address, &old.key, now);
            }
        }
        // A pod that is first seen after its end may have given up its address long ago, so the address does not name
        // it.
        for address in pod.addresses.iter().filter(|_| !pod.finished) {
            self.addresses.take(*address, &key);
        }
        pods.insert(key.name, pod);
        labels
    }

    /// Removes a pod, and returns its labels.
    pub(super) fn remove(&mut self, key: &Key, now: Timestamp) -> Option<Labels> {
        let pods = self.namespaces.get_mut(&key.namespace)?;
        // If a new pod with the same name is known already, this is the late deletion of the old one.
        if pods.get(&key.name)?.key != *key {
            return None;
        }
        let old = pods.remove(&key.name)?;
        if pods.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        for address in old.addresses.iter().filter(|_| !old.finished) {
            self.addresses.give_up(*address, key, now);
        }
        Some(old.labels)
    }

    /// Counts, by node, the unfinished pods of a namespace that are scheduled and match the selector. With
    /// `containers`, only pods that have one of these count.
    pub(super) fn by_node(
        &self,
        namespace: &str,
        selector: &Selector,
        containers: &[String],
    ) -> BTreeMap<String, LivePods> {
        let mut nodes: BTreeMap<String, LivePods> = BTreeMap::new();
        for pod in self.namespaces.get(namespace).into_iter().flat_map(HashMap::values) {
            let wanted = containers.is_empty() || containers.iter().any(|name| pod.containers.contains(name));
            let traced = wanted && !pod.finished && selector.matches(&pod.labels);
            if let Some(node) = pod.node.as_ref().filter(|_| traced) {
                let live = nodes.entry(node.clone()).or_insert(LivePods { count: 0, since: pod.since });
                *live = LivePods { count: live.count + 1, since: live.since.min(pod.since) };
            }
        }
        nodes
    }

    /// Returns the pod with a name.
    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<&PodRecord> {
        self.namespaces.get(namespace)?.get(name)
    }

    /// Returns the pod that has an address, or had it last, as [`Owners::at`] does.
    pub(super) fn at(&self, address: IpAddr, now: Timestamp) -> Option<&Key> {
        self.addresses.at(address, now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, app: &str, phase: &str, address: &str) -> PodRecord {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "shop", "labels": { "app": app } },
            "spec": { "nodeName": node, "containers": [{ "name": "main" }], "initContainers": [{ "name": app }] },
            "status": { "phase": phase, "podIP": address, "podIPs": [{ "ip": address }, { "ip": "fd00::1" }] },
        }))
        .unwrap();
        pod.into()
    }

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into(), uid: String::new() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Returns the number of pods by node.
    fn counts(pods: &Pods, selector: &Selector, containers: &[String]) -> Vec<(String, i32)> {
        let nodes = pods.by_node("shop", selector, containers);
        nodes.into_iter().map(|(node, live)| (node, live.count)).collect()
    }

    #[test]
    fn counts_what_runs_where() {
        let mut pods = Pods::default();
        pods.apply(pod("a", "n1", "web", "Running", "10.0.0.1"), at(0));
        pods.apply(pod("b", "n1", "web", "Pending", "10.0.0.2"), at(0));
        pods.apply(pod("c", "n2", "db", "Running", "10.0.0.3"), at(0));
        pods.apply(pod("d", "", "web", "Pending", "10.0.0.4"), at(0));
        pods.apply(pod("e", "n3", "web", "Succeeded", "10.0.0.5"), at(0));
        let all = Selector::default();
        assert_eq!(counts(&pods, &all, &[]), [("n1".to_owned(), 2), ("n2".to_owned(), 1)]);
        let web = Selector::from_iter([("app", "web")]);
        assert_eq!(counts(&pods, &web, &[]), [("n1".to_owned(), 2)]);
        assert!(pods.by_node("other", &all, &[]).is_empty());
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            counts(&pods, &all, &names)
        };
        assert_eq!(named(&["db", "none"]), [("n2".to_owned(), 1)]);
        assert_eq!((named(&["main"]).len(), named(&["none"]).len()), (2, 0));
        pods.remove(&key("a"), at(0));
        assert_eq!(counts(&pods, &web, &[]), [("n1".to_owned(), 1)]);
    }

    #[test]
    fn a_node_has_a_pod_since_it_was_placed_there_or_became_one_that_is_selected() {
        let placed = |name: &str, app: &str, addresses: &str| {
            let mut pod = pod(name, "n1", app, "Running", addresses);
            pod.since = at(10);
            pod
        };
        let mut pods = Pods::default();
        let since = |pods: &Pods, app: &'static str| {
            let nodes = pods.by_node("shop", &Selector::from_iter([("app", app)]), &[]);
            nodes.get("n1").map(|live| live.since)
        };
        // A controller that starts later than the pod sees it first at `at(50)`: the time is then that of the pod's own
        // start.
        pods.apply(placed("a", "web", "none"), at(50));
        assert_eq!(since(&pods, "web"), Some(at(10)));
        pods.apply(placed("a", "web", "10.0.0.1"), at(60));
        assert_eq!(since(&pods, "web"), Some(at(10)), "an address is no news for selectors");
        pods.apply(placed("a", "db", "10.0.0.1"), at(70));
        assert_eq!((since(&pods, "web"), since(&pods, "db")), (None, Some(at(70))));
        pods.apply(placed("b", "db", "10.0.0.2"), at(80));
        assert_eq!(since(&pods, "db"), Some(at(10)), "the first of several");

        let api: Pod = serde_json::from_value(json!({
            "metadata": { "name": "c", "namespace": "shop", "creationTimestamp": at(1).to_string() },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": { "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": at(9).to_string() },
                { "type": "PodScheduled", "status": "True", "lastTransitionTime": at(3).to_string() },
            ] },
        }))
        .unwrap();
        let unscheduled = Pod { status: None, ..api.clone() };
        assert_eq!((PodRecord::from(api).since, PodRecord::from(unscheduled).since), (at(3), at(1)));
    }

    #[test]
    fn an_address_names_a_pod_also_after_its_end_until_another_has_it() {
        let mut pods = Pods::default();
        assert_eq!(pods.apply(pod("a", "n1", "web", "Running", "10.0.0.1"), at(0)).len(), 1);
        assert!(
            pods.apply(pod("a", "n1", "web", "Running", "10.0.0.1"), at(0)).is_empty(),
            "nothing has changed"
        );
        assert_eq!(pods.at(ip("10.0.0.1"), at(1)), Some(&key("a")));
        assert_eq!(pods.at(ip("fd00::1"), at(1)), Some(&key("a")));
        pods.apply(pod("a", "n1", "web", "Failed", "10.0.0.1"), at(0));
        assert_eq!(pods.at(ip("10.0.0.1"), at(1)), Some(&key("a")));

        // The next pod gets the address before the last one is deleted.
        pods.apply(pod("b", "n1", "web", "Running", "10.0.0.1"), at(0));
        pods.remove(&key("a"), at(0));
        assert_eq!(pods.at(ip("10.0.0.1"), at(1)), Some(&key("b")));

        // The address of this pod becomes known only at its end.
        pods.apply(pod("c", "n1", "web", "Pending", "none"), at(0));
        pods.apply(pod("c", "n1", "web", "Succeeded", "10.0.0.3"), at(0));
        assert_eq!(pods.at(ip("10.0.0.3"), at(1)), Some(&key("c")));
        // This pod is first seen after its end, so its address may have been given up long ago.
        pods.apply(pod("d", "n1", "web", "Succeeded", "10.0.0.4"), at(0));
        assert_eq!(pods.at(ip("10.0.0.4"), at(1)), None);
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
        pods.apply(host.into(), at(0));
        assert_eq!(pods.at(ip("192.168.0.1"), at(1)), None);
        assert_eq!(counts(&pods, &Selector::default(), &[]), [("n1".to_owned(), 1)]);
    }

    #[test]
    fn the_end_of_a_pod_is_not_that_of_one_made_anew() {
        let mut pods = Pods::default();
        let old = pod("a", "n1", "web", "Running", "10.0.0.1");
        let mut new = pod("a", "n2", "db", "Running", "10.0.0.2");
        new.key.uid = "new".into();
        pods.apply(old.clone(), at(0));
        assert_eq!(pods.apply(new.clone(), at(0)), [old.labels.clone(), new.labels.clone()]);
        // The address still names the old pod for some time, because no other pod has it.
        assert_eq!(pods.at(ip("10.0.0.1"), at(1)), Some(&old.key));
        assert_eq!(pods.at(ip("10.0.0.1"), at(1000)), None);
        assert_eq!(pods.remove(&old.key, at(0)), None);
        assert_eq!(counts(&pods, &Selector::default(), &[]), [("n2".to_owned(), 1)]);
        assert_eq!(pods.remove(&new.key, at(0)), Some(new.labels));
        assert_eq!(pods.at(ip("10.0.0.2"), at(1000)), None);
    }
}
