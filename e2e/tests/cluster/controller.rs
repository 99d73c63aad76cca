//! The controller is killed or runs twice, or a trace is created again: all bytes are shown, and only once.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use traffictrace_crd::GroupBy;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, access::Accounts, levers::Levers, spec},
    wait,
};

use crate::setup::{exchange, finish, reporting, server, shows_exactly, start_server, transfer};

/// Maximum time until a Deployment has all of its pods.
const ROLLED_OUT: Duration = Duration::from_secs(120);

/// Finds the controller's Deployment, which must exist.
async fn deployment(cluster: &Cluster) -> Result<(Api<Deployment>, String)> {
    let accounts = Accounts::find(cluster.client()).await?;
    Ok((Api::namespaced(cluster.client().clone(), &accounts.namespace), accounts.deployment))
}

/// Waits until the controller has `replicas` ready pods.
async fn scaled(cluster: &Cluster, replicas: i32) -> Result<()> {
    let (deployments, name) = deployment(cluster).await?;
    let what = format!("{replicas} controllers");
    wait::until_async(&what, ROLLED_OUT, async || {
        let found = deployments.get(&name).await.map_err(TestError::kube("read the Deployment"))?;
        let status = found.status.unwrap_or_default();
        let right = [status.ready_replicas, status.replicas].map(Option::unwrap_or_default) == [replicas; 2];
        Ok(if right { Ok(()) } else { Err(format!("{status:?}")) })
    })
    .await
}

/// Sets the number of running controllers.
pub(crate) async fn scale(cluster: &Cluster, replicas: i32) -> Result<()> {
    let (deployments, name) = deployment(cluster).await?;
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas, "strategy": {"type": "Recreate"}}}));
    let scaled_to = deployments.patch(&name, &PatchParams::default(), &patch).await;
    scaled_to.map_err(TestError::kube("scale the controller"))?;
    scaled(cluster, replicas).await
}

/// The controller is killed during a trace. Its successor continues from the status: totals do not fall, and the final
/// status is exact.
#[tokio::test]
async fn killed_in_mid_trace() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let trace = namespace.trace("killed", spec("killed")).await?;
    let pods = transfer(&namespace, cluster.two_nodes(), "killed", 25).await?;
    reporting(&trace, 2).await?;
    let never_falls = trace.watch();
    for _ in 0..2 {
        let before = levers.run(&["controller-pid"])?;
        levers.pull(&["controller-kill"]).await?;
        wait::until_async("another controller", ROLLED_OUT, async || {
            // Between the two no controller runs, and the command fails.
            let now = levers.run(&["controller-pid"]).unwrap_or_else(|_| before.clone());
            Ok(if now == before { Err(format!("still {before}")) } else { Ok(()) })
        })
        .await?;
    }
    scaled(&cluster, 1).await?;
    let counted = finish(&namespace, &pods.each_ref()).await?;
    let status = shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert_eq!((status.interruptions.len(), status.summary.lost.as_str()), (0, "none"), "{status:?}");
    never_falls.end().await?;
    Ok(())
}

/// Two controllers write the same status alternately: neither overwrites what the other wrote without having read it.
#[tokio::test]
async fn doubled() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let trace = namespace.trace("doubled", spec("doubled")).await?;
    scale(&cluster, 2).await?;
    let pods = transfer(&namespace, cluster.two_nodes(), "doubled", 20).await?;
    let never_falls = trace.watch();
    let counted = finish(&namespace, &pods.each_ref()).await?;
    let shown = shows_exactly(&trace, &counted, GroupBy::Endpoint).await;
    // Whatever the result, the next test must find one controller.
    scale(&cluster, 1).await?;
    shown?;
    never_falls.end().await?;
    Ok(())
}

/// A trace that is deleted and immediately created again under its name shows only the bytes that were moved since.
#[tokio::test]
async fn made_anew_under_its_name() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let mut seen = Vec::new();
    for round in ["first", "second"] {
        let trace = namespace.trace("anew", spec("anew")).await?;
        assert!(!seen.contains(&trace.uid().to_owned()), "another object");
        let [server, client] = exchange(&namespace, cluster.two_nodes(), round, "anew", 10).await?;
        let counted = finish(&namespace, &[&server, &client]).await?;
        shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
        seen.push(trace.uid().to_owned());
        trace.delete().await?;
        for pod in [&server.name, &client.name] {
            namespace.delete_pod(pod).await?;
        }
    }
    Ok(())
}

/// The deletion of a namespace removes its traces from the kernel, and no writer keeps sending requests.
#[tokio::test]
async fn namespace_deleted_in_mid_trace() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (node, _) = cluster.two_nodes();
    start_server(&namespace, &server("server", node, "going", 1)).await?;
    let trace = namespace.trace("going", spec("going")).await?;
    reporting(&trace, 1).await?;
    let held = levers.kernel_objects(node)?;
    assert!(!held.programs.is_empty(), "{held:?}");
    drop(namespace);
    levers.nothing_left(node, &held).await?;
    wait::until_async("no report to wait", Duration::from_secs(90), async || {
        let waiting = cluster.agent_metric(node, "traffictrace_agent_reports_waiting").await?;
        Ok(if waiting == 0.0 { Ok(()) } else { Err(format!("{waiting} reports")) })
    })
    .await
}
