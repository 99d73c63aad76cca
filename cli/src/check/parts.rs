//! The controller and the agents in the cluster.

use std::{collections::BTreeSet, fmt::Debug};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{Node, Pod},
};
use kube::{Api, Resource, ResourceExt as _, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use super::{
    findings::{Agents, Controller, NotReady, Parts},
    nodes,
};
use crate::{cluster::Cluster, error::CliError};

/// Labels of the chart's objects. They do not depend on the name of the release.
const AGENT: &str = "app.kubernetes.io/part-of=traffictrace,app.kubernetes.io/component=agent";
const CONTROLLER: &str = "app.kubernetes.io/part-of=traffictrace,app.kubernetes.io/component=controller";

/// Looks for the controller and the agents in all namespaces, or only in `system` if this account may not search
/// everywhere.
pub(super) async fn find(cluster: &Cluster, system: &str) -> Result<Parts, CliError> {
    Ok(Parts { controller: controller(cluster, system).await?, agents: agents(cluster, system).await? })
}

async fn controller(cluster: &Cluster, system: &str) -> Result<Option<Controller>, CliError> {
    let Some(found) = list::<Deployment>(cluster, system, CONTROLLER).await? else { return Ok(None) };
    let Some(deployment) = found.into_iter().next() else { return Ok(Some(Controller::default())) };
    let is_ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0) > 0;
    let reason = if is_ready {
        None
    } else {
        let pods = list::<Pod>(cluster, &deployment.namespace().unwrap_or_default(), CONTROLLER).await?;
        let pods = pods.unwrap_or_default();
        pods.iter().find_map(nodes::not_ready).or_else(|| pods.is_empty().then(|| "it has no pod".to_owned()))
    };
    let spec = deployment.spec.template.spec.as_ref();
    let image = spec.and_then(|spec| spec.containers.first()).and_then(|container| container.image.clone());
    Ok(Some(Controller { deployment: Some(full_name(&deployment)), image, is_ready, reason }))
}

async fn agents(cluster: &Cluster, system: &str) -> Result<Option<Agents>, CliError> {
    let Some(found) = list::<DaemonSet>(cluster, system, AGENT).await? else { return Ok(None) };
    let Some(set) = found.into_iter().next() else { return Ok(Some(Agents::default())) };
    let status = set.status.clone().unwrap_or_default();
    let counted = |number: i32| usize::try_from(number).unwrap_or(0);
    let template = set.spec.template.spec.clone().unwrap_or_default();
    let mut agents = Agents {
        daemon_set: Some(full_name(&set)),
        images: template.containers.iter().filter_map(|container| container.image.clone()).collect(),
        ready: counted(status.number_ready),
        nodes: counted(status.desired_number_scheduled),
        not_ready: Vec::new(),
    };
    let namespace = set.namespace().unwrap_or_default();
    let Some(pods) = list::<Pod>(cluster, &namespace, AGENT).await? else { return Ok(Some(agents)) };
    let running = pods.iter().flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers));
    let images: BTreeSet<String> = running.filter_map(|container| container.image.clone()).collect();
    if !images.is_empty() {
        agents.images = images.into_iter().collect();
    }
    let known = match Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(CliError::of(error, &cluster.url)),
    };
    let mut not_ready = BTreeSet::new();
    let mut with_pod = BTreeSet::new();
    for pod in &pods {
        let node = node_of(pod);
        with_pod.insert(node.clone());
        if let Some(reason) = nodes::not_ready(pod) {
            not_ready.insert(NotReady { node, reason });
        }
    }
    for node in &known {
        if !with_pod.contains(&node.name_any()) {
            not_ready.insert(NotReady { node: node.name_any(), reason: nodes::no_pod(node, &template) });
        }
    }
    agents.nodes = agents.nodes.max(known.len());
    agents.not_ready = not_ready.into_iter().collect();
    Ok(Some(agents))
}

/// Returns the node of a pod. For a pod that is not scheduled yet, the DaemonSet controller puts the node into an
/// affinity.
fn node_of(pod: &Pod) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let wanted = spec.affinity.and_then(|affinity| affinity.node_affinity);
    let wanted = wanted.and_then(|node| node.required_during_scheduling_ignored_during_execution);
    let fields = wanted.into_iter().flat_map(|required| required.node_selector_terms);
    let fields = fields.flat_map(|term| term.match_fields.unwrap_or_default());
    let wanted = fields
        .filter(|field| field.key == "metadata.name")
        .find_map(|field| field.values?.into_iter().next());
    spec.node_name.or(wanted).unwrap_or_else(|| "(no node)".to_owned())
}

fn full_name<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Lists objects with these labels in all namespaces, or only in `system` if this account may not list everywhere; `None` if it
/// may not list there either.
async fn list<K>(cluster: &Cluster, system: &str, labels: &str) -> Result<Option<Vec<K>>, CliError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let params = ListParams::default().labels(labels);
    for api in [Api::<K>::all(cluster.client.clone()), Api::namespaced(cluster.client.clone(), system)] {
        match api.list(&params).await {
            Ok(list) => return Ok(Some(list.items)),
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Err(error) => return Err(CliError::of(error, &cluster.url)),
        }
    }
    Ok(None)
}
