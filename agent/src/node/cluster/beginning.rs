//! Requests that an agent makes before it begins to trace: its node's earlier reports, and the size of the cluster. The
//! size gives the time over which the agents of all nodes spread the requests that they would make at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use tokio_util::sync::CancellationToken;
use traffictrace_crd::{NODE_LABEL, TrafficTraceReport, node_label};

use crate::kubeapi::{ApiServer, Backoff, explain, retry_after};

/// Maximum number of nodes that may send a request in one second when all nodes have the same reason to.
const NODES_PER_SECOND: f64 = 200.0;
/// Maximum time over which requests are spread, however large the cluster is.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);
/// Minimum time after which the size of the cluster is read again. A random time of up to the same length is added.
const LEARN_AGAIN: Duration = Duration::from_secs(3600);

/// Reads the reports that earlier agents of this node wrote. Retries until there is an answer: without these reports,
/// this agent might report less than was already shown.
pub(super) async fn own_reports(api: &ApiServer, node: &str) -> Vec<TrafficTraceReport> {
    let reports: Api<DeserializeGuard<TrafficTraceReport>> = Api::all(api.client.clone());
    // The list does not come from the API server's cache, which may lack a report that was written a moment ago.
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

/// The time over which requests of all nodes are spread. It grows with the number of nodes, which is read from the
/// agents' own DaemonSet; without one, the time is zero. All clones share the value.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    milliseconds: Arc<AtomicU64>,
    /// Cancelled when the process is ending and must not wait any more.
    hurry: CancellationToken,
}

impl Spread {
    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    /// Returns a random part of the time over which requests are spread.
    pub(super) fn part(&self) -> Duration {
        self.get().mul_f64(fastrand::f64())
    }

    /// Waits for the time that [`Spread::part`] returns, or until [`Spread::hurry()`] is called.
    pub(super) async fn pause(&self) {
        tokio::select! {
            () = self.hurry.cancelled() => {}
            () = tokio::time::sleep(self.part()) => {}
        }
    }

    /// Ends all pauses, because the process is ending.
    pub(super) fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Reads the size of the cluster. If that fails, the last known size stays.
    pub(super) async fn learn(&self, api: &ApiServer, DaemonSetName { namespace, name }: &DaemonSetName) {
        let sets: Api<DaemonSet> = Api::namespaced(api.client.clone(), namespace);
        match sets.get(name).await {
            Ok(set) => {
                let nodes = set.status.map_or(0, |status| status.desired_number_scheduled);
                let spread = u64::try_from(spread_of(nodes).as_millis()).unwrap_or(u64::MAX);
                self.milliseconds.store(spread, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(
                "cannot learn the size of the cluster, going by {:?} for what all nodes do: {}",
                self.get(),
                explain(&error, "daemonsets", &api.url)
            ),
        }
    }

    /// Reads the size again every one to two hours, since clusters grow.
    pub(super) async fn follow(self, api: ApiServer, daemon_set: DaemonSetName) {
        loop {
            tokio::time::sleep(LEARN_AGAIN.mul_f64(1.0 + fastrand::f64())).await;
            self.learn(&api, &daemon_set).await;
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

    #[tokio::test]
    async fn nothing_is_spread_when_the_process_must_end() {
        let spread = Spread::default();
        spread.milliseconds.store(3_600_000, Ordering::Relaxed);
        let pausing = tokio::spawn({
            let spread = spread.clone();
            async move { spread.pause().await }
        });
        tokio::task::yield_now().await;
        assert!(!pausing.is_finished());
        spread.hurry();
        let both = async {
            spread.pause().await;
            pausing.await
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), both).await;
        assert!(ended.is_ok_and(|ended| ended.is_ok()));
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
