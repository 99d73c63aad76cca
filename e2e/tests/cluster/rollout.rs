//! Changes of the pods of agents and controller, as by `kubectl patch`.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, access::Accounts},
    wait,
};

/// Maximum time until agents and controller have restarted.
const ROLLED_OUT: Duration = Duration::from_secs(180);

/// Changes the pods of the agents and, if there is a change for it, of the controller, and waits until all have
/// restarted.
pub(crate) async fn roll_out(cluster: &Cluster, agent: &Value, controller: Option<&Value>) -> Result<()> {
    let accounts = Accounts::find(cluster.client()).await?;
    let (set, deployment) = (accounts.daemon_set, accounts.deployment);
    let sets: Api<DaemonSet> = Api::namespaced(cluster.client().clone(), &accounts.namespace);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().clone(), &accounts.namespace);
    let patch = |spec: &Value| Patch::Strategic(json!({"spec": {"template": {"spec": spec}}}));
    let patched = sets.patch(&set, &PatchParams::default(), &patch(agent)).await;
    patched.map_err(TestError::kube("change the DaemonSet"))?;
    if let Some(controller) = controller {
        let patched = deployments.patch(&deployment, &PatchParams::default(), &patch(controller)).await;
        patched.map_err(TestError::kube("change the Deployment"))?;
    }
    wait::until_async("agents and controller to run anew", ROLLED_OUT, async || {
        let set = sets.get(&set).await.map_err(TestError::kube("read the DaemonSet"))?;
        let deployment = deployments.get(&deployment).await;
        let deployment = deployment.map_err(TestError::kube("read the Deployment"))?;
        let (wanted, status) = (set.metadata.generation, set.status.unwrap_or_default());
        let agents = status.observed_generation == wanted
            && status.updated_number_scheduled == Some(status.desired_number_scheduled)
            && status.number_ready == status.desired_number_scheduled;
        let (wanted, state) = (deployment.metadata.generation, deployment.status.unwrap_or_default());
        let controller = state.observed_generation == wanted
            && state.updated_replicas == Some(1)
            && state.replicas == Some(1)
            && state.ready_replicas == Some(1);
        Ok(if agents && controller { Ok(()) } else { Err(format!("{status:?} {state:?}")) })
    })
    .await
}
