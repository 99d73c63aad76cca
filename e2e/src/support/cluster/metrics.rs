//! Metrics of agents, read through the API server as a person would.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

use super::Cluster;
use crate::support::{Result, TestError, wait};

/// Port of metrics and health in the chart.
const PORT: u16 = 9464;

impl Cluster {
    /// Requests a path such as `/metrics` from a node's agent and returns the answer.
    ///
    /// # Errors
    ///
    /// Fails when there is no agent on the node, or its answer is not a success.
    pub async fn ask_agent(&self, node: &str, path: &str) -> Result<String> {
        let pods: Api<Pod> = Api::all(self.client().clone());
        let here = ListParams::default()
            .labels("app.kubernetes.io/component=agent")
            .fields(&format!("spec.nodeName={node}"));
        let found = pods.list(&here).await.map_err(TestError::kube("list the agents"))?;
        let running = found.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
        let pod = running.ok_or_else(|| TestError::unexpected("the agent", format!("none on {node}")))?;
        let (namespace, name) =
            (pod.metadata.namespace.unwrap_or_default(), pod.metadata.name.unwrap_or_default());
        let url = format!("/api/v1/namespaces/{namespace}/pods/{name}:{PORT}/proxy{path}");
        let request = http::Request::get(&url).body(Vec::new());
        let request = request.map_err(|error| TestError::unexpected(format!("the address {url}"), error))?;
        let action = format!("ask the agent of {node} for {path}");
        self.client().request_text(request).await.map_err(TestError::kube(action))
    }

    /// Waits until a node's agent is ready. After a restart, a node is Ready before its agent runs.
    ///
    /// # Errors
    ///
    /// Fails when the agent is not ready within two minutes.
    pub async fn agent_ready(&self, node: &str) -> Result<()> {
        let what = format!("the agent of {node} to be ready");
        wait::until_async(&what, Duration::from_secs(120), async || {
            let answer = self.ask_agent(node, "/readyz").await;
            Ok(answer.map(drop).map_err(|error| error.to_string()))
        })
        .await
    }

    /// Returns the value of a metric without labels of a node's agent.
    ///
    /// # Errors
    ///
    /// Fails as [`Cluster::ask_agent`] does, or when there is no such metric.
    pub async fn agent_metric(&self, node: &str, name: &str) -> Result<f64> {
        let text = self.ask_agent(node, "/metrics").await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.and_then(|value| value.parse().ok());
        value.ok_or_else(|| TestError::unexpected(format!("the metric {name}"), text))
    }
}
