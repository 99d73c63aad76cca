//! What an agent asks the API server once, before it begins.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use traffictrace_crd::{NODE_LABEL, TrafficTraceReport, node_label};

use crate::kubeapi::{ApiServer, Backoff, explain, retry_after};

/// How many nodes may write or ask in a second when all of them have the same reason.
const NODES_PER_SECOND: f64 = 200.0;
/// The longest time that something is spread over, however large the cluster is.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);

/// The reports that agents of this node have written before. Asks until there is an answer: without it, what this agent
/// would write could be less than what was shown.
pub(super) async fn own_reports(api: &ApiServer, node: &str) -> Vec<TrafficTraceReport> {
    let reports: Api<DeserializeGuard<TrafficTraceReport>> = Api::all(api.client.clone());
    // Not from a cache, which may lack what was written a moment ago.
    let ours = ListParams::default().labels(&format!("{NODE_LABEL}={}", node_label(node)));
    let (mut backoff, mut said) = (Backoff::default(), String::new());
    loop {
        match reports.list(&ours).await {
            Ok(found) => {
                let readable = found.items.into_iter().filter_map(|report| match report.0 {
                    Ok(report) => Some(report),
                    Err(invalid) => {
                        tracing::warn!("leaving out a report of this node that cannot be read: {invalid}");
                        None
                    }
                });
                return readable.filter(|report| report.spec.node_name == node).collect();
            }
            Err(error) => {
                let reason = explain(&error, "traffictracereports", &api.url);
                if reason != said {
                    tracing::warn!("waiting: {reason}");
                    said = reason;
                }
                tokio::time::sleep(backoff.next(retry_after(&error))).await;
            }
        }
    }
}

/// A DaemonSet, by namespace and name.
#[derive(Clone, Debug)]
pub(crate) struct DaemonSetName {
    namespace: String,
    name: String,
}

impl std::str::FromStr for DaemonSetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected NAMESPACE/NAME, such as traffictrace-system/traffictrace-agent".to_owned()),
        }
    }
}

/// How long what all nodes do for one reason is spread over. It grows with the cluster, whose size the agents' own
/// DaemonSet knows; without it, the cluster counts as small.
pub(super) async fn spread(api: &ApiServer, daemon_set: Option<&DaemonSetName>) -> Duration {
    let Some(DaemonSetName { namespace, name }) = daemon_set else { return Duration::ZERO };
    let sets: Api<DaemonSet> = Api::namespaced(api.client.clone(), namespace);
    match sets.get(name).await {
        Ok(set) => spread_of(set.status.map_or(0, |status| status.desired_number_scheduled)),
        Err(error) => {
            tracing::warn!(
                "cannot learn the size of the cluster, taking it for a small one: {}",
                explain(&error, "daemonsets", &api.url)
            );
            Duration::ZERO
        }
    }
}

fn spread_of(nodes: i32) -> Duration {
    Duration::from_secs_f64(f64::from(nodes.max(0)) / NODES_PER_SECOND).min(LONGEST_SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_grows_with_the_cluster() {
        for (nodes, milliseconds) in [(-1, 0), (2, 10), (1000, 5000), (5000, 10_000)] {
            assert_eq!(spread_of(nodes), Duration::from_millis(milliseconds));
        }
    }

    #[test]
    fn a_name_without_a_namespace_says_what_to_write() {
        let name: DaemonSetName = "system/agent".parse().unwrap();
        assert_eq!((name.namespace.as_str(), name.name.as_str()), ("system", "agent"));
        for wrong in ["agent", "/agent", "system/"] {
            assert!(wrong.parse::<DaemonSetName>().unwrap_err().contains("NAMESPACE/NAME"));
        }
    }
}
