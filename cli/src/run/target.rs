//! The target of a trace: pods selected by labels, or the pods of a workload or a Service given by its name.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Resource,
    api::ListParams,
    core::{NamespaceResourceScope, Selector},
};
use serde::de::DeserializeOwned;

use super::selector;
use crate::{cluster::Cluster, error::CliError, text::quoted};

/// The pods that a command line names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// Pods with these labels.
    Labels(LabelSelector),
    /// Pods of this object.
    Object(Kind, String),
}

/// A kind of object that has pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    Service,
}

/// The names of each kind that kubectl accepts.
const KINDS: [(Kind, &[&str]); 7] = [
    (Kind::Pod, &["pod", "pods", "po"]),
    (Kind::Deployment, &["deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"]),
    (Kind::ReplicaSet, &["replicaset", "replicasets", "rs", "replicaset.apps", "replicasets.apps"]),
    (Kind::StatefulSet, &["statefulset", "statefulsets", "sts", "statefulset.apps", "statefulsets.apps"]),
    (Kind::DaemonSet, &["daemonset", "daemonsets", "ds", "daemonset.apps", "daemonsets.apps"]),
    (Kind::Job, &["job", "jobs", "job.batch", "jobs.batch"]),
    (Kind::Service, &["service", "services", "svc"]),
];

/// A target, looked up in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Labels of the pods.
    pub(super) selector: LabelSelector,
    /// Name of the requested pod, if its labels select other pods too.
    pub(super) pod: Option<String>,
    /// A message for the user about the target.
    pub(super) notice: Option<String>,
}

impl Target {
    /// Parses `KIND/NAME`.
    ///
    /// # Errors
    ///
    /// A sentence if the kind does not exist or has no pods.
    pub(super) fn object(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').ok_or("write KIND/NAME")?;
        let known = KINDS.iter().find(|(_, names)| names.contains(&kind.to_lowercase().as_str()));
        let Some((kind, _)) = known else {
            let kinds: Vec<&str> = KINDS.iter().map(|(_, names)| names[0]).collect();
            return Err(format!(
                "cannot trace {}: write one of {} before the /",
                quoted(text),
                kinds.join(", ")
            ));
        };
        if name.is_empty() || name.contains('/') {
            return Err(format!("cannot trace {}: there must be one name after the /", quoted(text)));
        }
        Ok(Self::Object(*kind, name.to_owned()))
    }

    /// Returns a prefix from which the API server makes a unique name for the trace.
    pub(super) fn generate_name(&self) -> String {
        let base = match self {
            Self::Object(_, name) => name.clone(),
            Self::Labels(selector) => {
                let labels = selector.match_labels.iter().flatten();
                labels.map(|(_, value)| value.clone()).find(|value| !value.is_empty()).unwrap_or_default()
            }
        };
        let base: String = base
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(40)
            .collect();
        match base.trim_matches('-') {
            "" => "trace-".to_owned(),
            base => format!("{base}-"),
        }
    }

    /// Looks up the target in the cluster, if it is an object.
    ///
    /// # Errors
    ///
    /// [`CliError`] if the object does not exist, may not be read, or does not select pods by labels.
    pub(super) async fn find(&self, cluster: &Cluster) -> Result<Found, CliError> {
        let (kind, name) = match self {
            Self::Labels(selector) => return Ok(Found { selector: selector.clone(), ..Found::default() }),
            Self::Object(kind, name) => (*kind, name.as_str()),
        };
        let selector = match kind {
            Kind::Pod => return pod(cluster, name).await,
            Kind::Deployment => Some(read::<Deployment>(cluster, name).await?.spec.selector),
            Kind::ReplicaSet => Some(read::<ReplicaSet>(cluster, name).await?.spec.selector),
            Kind::StatefulSet => Some(read::<StatefulSet>(cluster, name).await?.spec.selector),
            Kind::DaemonSet => Some(read::<DaemonSet>(cluster, name).await?.spec.selector),
            Kind::Job => read::<Job>(cluster, name).await?.spec.and_then(|spec| spec.selector),
            Kind::Service => {
                read::<Service>(cluster, name).await?.spec.and_then(|spec| of_labels(spec.selector))
            }
        };
        let selector = selector.filter(|selector| *selector != LabelSelector::default());
        let selector = selector.ok_or_else(|| {
            CliError::Usage(format!(
                "{name} selects no pods by labels: give those of the pods with --selector"
            ))
        })?;
        Ok(Found { selector, ..Found::default() })
    }
}

async fn read<K>(cluster: &Cluster, name: &str) -> Result<K, CliError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    objects.get(name).await.map_err(|error| CliError::of(error, &cluster.url))
}

fn of_labels(labels: Option<BTreeMap<String, String>>) -> Option<LabelSelector> {
    let match_labels = labels.filter(|labels| !labels.is_empty())?;
    Some(LabelSelector { match_labels: Some(match_labels), ..LabelSelector::default() })
}

/// Selects one pod by all of its labels, since traces select pods only by labels.
async fn pod(cluster: &Cluster, name: &str) -> Result<Found, CliError> {
    let pod: Pod = read(cluster, name).await?;
    let selector = of_labels(pod.metadata.labels).ok_or_else(|| {
        CliError::Usage(format!(
            "pod {name} has no labels, by which a trace selects: give it one, such as with kubectl label pod {name} \
             trace={name}"
        ))
    })?;
    let labels = Selector::try_from(selector.clone())
        .map_err(|cause| CliError::Usage(format!("cannot select pod {name} by its labels: {cause}")))?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let others = pods.list_metadata(&ListParams::default().labels_from(&labels)).await;
    let others = others.map_err(|error| CliError::of(error, &cluster.url))?;
    let others: Vec<String> = others.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    Ok(shared(name, selector, others))
}

/// Returns the target for a pod whose labels select the given pods too.
fn shared(name: &str, selector: LabelSelector, pods: Vec<String>) -> Found {
    let others: Vec<String> = pods.into_iter().filter(|other| other != name).collect();
    if others.is_empty() {
        return Found { selector, ..Found::default() };
    }
    let notice = format!(
        "Pod {name} shares its labels with {}, so they are traced too: only the flows of {name} are listed. The totals, \
         functions, flame graphs and reports are of all of these pods.",
        if let [other] = others.as_slice() { other.clone() } else { format!("{} other pods", others.len()) }
    );
    Found { selector, pod: Some(name.to_owned()), notice: Some(notice) }
}

/// Parses a selector from the command line.
pub(super) fn labels(text: &str) -> Result<Target, String> {
    selector::parse(text).map(Target::Labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        for (text, kind) in [
            ("pod/a", Kind::Pod),
            ("deploy/a", Kind::Deployment),
            ("Deployment/a", Kind::Deployment),
            ("deployments.apps/a", Kind::Deployment),
            ("sts/a", Kind::StatefulSet),
            ("ds/a", Kind::DaemonSet),
            ("rs/a", Kind::ReplicaSet),
            ("jobs/a", Kind::Job),
            ("svc/a", Kind::Service),
        ] {
            assert_eq!(Target::object(text), Ok(Target::Object(kind, "a".to_owned())), "{text}");
        }
        assert!(Target::object("node/a").unwrap_err().contains("pod, deployment"));
        assert!(Target::object("pod/").is_err());
        assert!(Target::object("pod/a/b").is_err());
    }

    #[test]
    fn a_trace_is_called_after_its_pods() {
        let name = |target: Target| target.generate_name();
        assert_eq!(name(Target::object("deploy/web").unwrap()), "web-");
        assert_eq!(name(labels("app=Web_1.x").unwrap()), "web-1-x-");
        assert_eq!(name(labels("app").unwrap()), "trace-");
        assert_eq!(name(labels("").unwrap()), "trace-");
        let long = name(Target::Object(Kind::Pod, "x".repeat(253)));
        assert_eq!(long.len(), 41);
    }

    #[test]
    fn a_pod_that_is_not_alone_is_shown_alone() {
        let pods = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let alone = shared("a", LabelSelector::default(), pods(&["a"]));
        assert_eq!(alone, Found::default());
        let found = shared("a", LabelSelector::default(), pods(&["a", "b"]));
        assert_eq!(found.pod.as_deref(), Some("a"));
        assert!(found.notice.unwrap().contains("shares its labels with b"));
    }
}
