//! The Pod Security levels that the product's pods need: the controller runs at every level, the agent as documented.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{Namespace as NamespaceObject, Pod, PodTemplateSpec, ServiceAccount},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{ApiServer, Namespace},
    wait,
};

/// Tries to create a pod from a template; returns the message of the refusal, if any.
async fn try_pod(
    namespace: &Namespace,
    template: &PodTemplateSpec,
) -> Result<std::result::Result<(), String>> {
    let mut pod = Pod { metadata: template.metadata.clone().unwrap_or_default(), ..Pod::default() };
    pod.metadata.name = Some("try".to_owned());
    pod.spec.clone_from(&template.spec);
    let try_out = PostParams { dry_run: true, ..PostParams::default() };
    match namespace.api::<Pod>().create(&try_out, &pod).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => Ok(Err(status.message)),
        Err(error) => Err(TestError::kube("create a pod")(error)),
    }
}

#[tokio::test]
async fn pods_need_the_documented_security_level() -> Result<()> {
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let (accounts, client) = (server.accounts(), server.client());
    let agents: Api<DaemonSet> = Api::namespaced(client.clone(), &accounts.namespace);
    let agents = agents.get(&accounts.daemon_set).await;
    let agent = agents.map_err(TestError::kube("read the DaemonSet"))?.spec.template;
    let controllers: Api<Deployment> = Api::namespaced(client.clone(), &accounts.namespace);
    let controller = controllers.get(&accounts.deployment).await;
    let controller = controller.map_err(TestError::kube("read the Deployment"))?.spec.template;
    let namespace = server.namespace().await?;
    for account in [&accounts.agent, &accounts.controller] {
        let mut object = ServiceAccount::default();
        object.metadata.name = Some(account.clone());
        let created = namespace.api::<ServiceAccount>().create(&PostParams::default(), &object).await;
        created.map_err(TestError::kube("create a ServiceAccount"))?;
    }
    let namespaces: Api<NamespaceObject> = Api::all(client.clone());
    for level in ["restricted", "baseline", "privileged"] {
        let label = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": level } } });
        let labelled =
            namespaces.patch(namespace.name(), &PatchParams::default(), &Patch::Merge(label)).await;
        labelled.map_err(TestError::kube("set the Pod Security level"))?;
        // The API server notices the label by a watch, and applies the previous level until then.
        let what = format!("the answer of the level {level} to the agent's pod");
        wait::until_async(&what, Duration::from_secs(30), async || {
            let answer = try_pod(&namespace, &agent).await?;
            let is_of_level = match &answer {
                Ok(()) => level == "privileged",
                Err(message) => message.contains(&format!("\"{level}:")) && message.contains("hostPath"),
            };
            Ok(if is_of_level { Ok(()) } else { Err(format!("{answer:?}")) })
        })
        .await?;
        let answer = try_pod(&namespace, &controller).await?;
        assert!(answer.is_ok(), "the controller's pod, level {level}: {answer:?}");
    }
    Ok(())
}
