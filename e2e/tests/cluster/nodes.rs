//! Nodes that are drained and deleted, and agents that come back to a node that has nothing left to trace.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::DeleteParams};
use traffictrace_crd::{Duration as Span, GroupBy, Phase, TrafficTraceSpec, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, levers::Levers, spec},
};

use crate::setup::{REPORTED, exchange, finish, shows_exactly};

/// The pods of a trace are gone from a node when its agent is killed: the next one finds the report of the one before, and
/// tells the gap at once.
#[tokio::test]
async fn agent_killed_where_no_pod_is_left() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let trace = namespace.trace("left", spec("left")).await?;
    let [server, client] = exchange(&namespace, (here, there), "left", "left", 6).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    namespace.delete_pod(&client.name).await?;
    levers.pull(&["agent-kill", here]).await?;
    let told = |status: &TrafficTraceStatus| {
        let found = status.interruptions.iter().any(|interruption| {
            interruption.node_name.as_deref() == Some(here) && interruption.since.is_some()
        });
        if found { Ok(()) } else { Err(format!("{:?}", status.interruptions)) }
    };
    trace.status_where("the interruption", REPORTED, told).await?;
    // Nothing moved meanwhile, so what is shown stays exact.
    let status = shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert!(status.summary.lost.contains("interrupted on 1 node"), "{:?}", status.summary);
    Ok(())
}

/// A node whose pods were taken away before it left the cluster had nothing more to count: the trace ends in time, and
/// lacks nothing.
#[tokio::test]
async fn drained_and_deleted() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let minute = TrafficTraceSpec { duration: Span::new("75s"), ..spec("drained") };
    let trace = namespace.trace("drained", minute).await?;
    let [server, client] = exchange(&namespace, (there, here), "drained", "drained", 6).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    // As kubectl drain does; the agent's own pod stays, as those of every DaemonSet.
    namespace.delete_pod(&client.name).await?;
    let reports = traffictrace_e2e::support::wait::until_async(
        "the report that nothing is left there",
        REPORTED,
        async || {
            let reports = trace.reports().await?;
            let of_node = reports.iter().find(|report| report.spec.node_name == there);
            let idle = of_node.is_some_and(|report| report.spec.active_pods == 0);
            Ok(if idle { Ok(()) } else { Err(format!("{reports:?}")) })
        },
    );
    reports.await?;
    let nodes: Api<Node> = Api::all(cluster.client().clone());
    // Its kubelet must not make it anew.
    levers.pull(&["node-kill", there]).await?;
    let deleted = nodes.delete(there, &DeleteParams::default()).await;
    deleted.map_err(TestError::kube("delete a node"))?;
    let over = trace.status_where("its end", Duration::from_secs(120), |status| {
        let over = matches!(status.phase, Some(Phase::Completed | Phase::Failed));
        if over { Ok(status.clone()) } else { Err(format!("{:?}", status.conditions)) }
    });
    let over = over.await;
    levers.pull(&["node-start", there]).await?;
    let status = over?;
    assert_eq!((status.phase, status.missing_nodes.len()), (Some(Phase::Completed), 0), "{status:?}");
    assert_eq!(status.summary.lost, "none", "{:?}", status.conditions);
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}
