//! Nodes that are drained and deleted, agents that return to a node with nothing left to trace, and nodes without an
//! agent.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use traffictrace_crd::{
    Duration as Span, GroupBy, Phase, TrafficTraceSpec, TrafficTraceStatus, condition_reason, condition_type,
};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, Namespace, Trace, levers::Levers, spec},
    wait,
};

use crate::setup::{REPORTED, exchange, finish, server, shows_exactly, start_server, transfer};

/// Time until a node without a report counts as not traced.
const UNTRACED_AFTER: Duration = Duration::from_secs(30);
/// Labels of the agents and of the controller.
const AGENTS: &str = "app.kubernetes.io/name=traffictrace,app.kubernetes.io/component=agent";
const CONTROLLER: &str = "app.kubernetes.io/name=traffictrace,app.kubernetes.io/component=controller";

fn degraded(status: &TrafficTraceStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == condition_type::DEGRADED)
}

/// Waits until the condition Degraded has this reason; returns the status.
async fn lacks(trace: &Trace, reason: &str, limit: Duration) -> Result<TrafficTraceStatus> {
    trace
        .status_where(reason, limit, |status| match degraded(status) {
            Some(degraded) if degraded.reason == reason => Ok(status.clone()),
            other => Err(format!("{other:?}")),
        })
        .await
}

/// Waits for the final status.
async fn over(trace: &Trace) -> Result<TrafficTraceStatus> {
    trace
        .status_where("its end", Duration::from_secs(120), |status| {
            let over = matches!(status.phase, Some(Phase::Completed | Phase::Failed));
            if over { Ok(status.clone()) } else { Err(format!("{:?}", status.conditions)) }
        })
        .await
}

/// Returns the two nodes, the controller's first. Tests end only the second one: if the controller's node ended, no
/// status would report that for a minute.
async fn controller_and_other(cluster: &Cluster) -> Result<(&str, &str)> {
    let pods: Api<Pod> = Api::all(cluster.client().clone());
    let found = pods.list(&ListParams::default().labels(CONTROLLER)).await;
    let found = found.map_err(TestError::kube("look for the controller"))?;
    let (one, other) = cluster.two_nodes();
    let on = |node: &str| {
        found
            .items
            .iter()
            .any(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node))
    };
    Ok(if on(other) { (other, one) } else { (one, other) })
}

async fn delete_node(cluster: &Cluster, node: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(cluster.client().clone());
    let deleted = nodes.delete(node, &DeleteParams::default()).await;
    deleted.map(drop).map_err(TestError::kube("delete a node"))
}

/// The pods of a trace have left a node when its agent is killed: the next agent finds the report of its predecessor
/// and reports the gap at once.
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
    // Nothing moved meanwhile, so the shown numbers stay exact.
    let status = shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert!(status.summary.lost.contains("interrupted on 1 node"), "{:?}", status.summary);
    Ok(())
}

/// A node whose pods were removed before it left the cluster had nothing more to count: the trace ends in time, and its
/// status reports no loss.
#[tokio::test]
async fn drained_and_deleted() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = controller_and_other(&cluster).await?;
    let minute = TrafficTraceSpec { duration: Span::new("75s"), ..spec("drained") };
    let trace = namespace.trace("drained", minute).await?;
    let [server, client] = exchange(&namespace, (there, here), "drained", "drained", 6).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    // Pods are deleted as by kubectl drain; the agent's own pod stays, as it belongs to a DaemonSet.
    namespace.delete_pod(&client.name).await?;
    let reports = wait::until_async("the report that nothing is left there", REPORTED, async || {
        let reports = trace.reports().await?;
        let of_node = reports.iter().find(|report| report.spec.node_name == there);
        let idle = of_node.is_some_and(|report| report.spec.active_pods == 0);
        Ok(if idle { Ok(()) } else { Err(format!("{reports:?}")) })
    });
    reports.await?;
    // The node is killed before it is deleted, since its kubelet would create the Node object again.
    levers.pull(&["node-kill", there]).await?;
    delete_node(&cluster, there).await?;
    let over = over(&trace).await;
    levers.pull(&["node-start", there]).await?;
    cluster.agent_ready(there).await?;
    let status = over?;
    assert_eq!((status.phase, status.missing_nodes.len()), (Some(Phase::Completed), 0), "{status:?}");
    assert_eq!(status.summary.lost, "none", "{:?}", status.conditions);
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}

/// A node whose agent dies before its pods are deleted, and which then leaves the cluster, is not missing: its pods are
/// gone, and the status reports that their last interval may lack bytes.
#[tokio::test]
async fn deleted_before_its_last_report() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = controller_and_other(&cluster).await?;
    let minute = TrafficTraceSpec { duration: Span::new("75s"), ..spec("unreported") };
    let trace = namespace.trace("unreported", minute).await?;
    let [server_pod, client] = exchange(&namespace, (there, here), "unreported", "unreported", 6).await?;
    // This server waits for a connection that never comes, so it runs until it is deleted.
    start_server(&namespace, &server("idle", there, "unreported", 1)).await?;
    let counted = finish(&namespace, &[&server_pod, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    levers.pull(&["node-kill", there]).await?;
    let told = left_after_its_pods(&cluster, &namespace, &trace, there).await;
    levers.pull(&["node-start", there]).await?;
    cluster.agent_ready(there).await?;
    for status in told? {
        assert!(status.missing_nodes.is_empty(), "{status:?}");
        assert_eq!(status.summary.lost, "maybe: the last interval of 1 node", "{:?}", status.conditions);
        let message = degraded(&status).map(|degraded| degraded.message.clone()).unwrap_or_default();
        assert!(message.contains(&format!("gone from {there}")), "{message}");
    }
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}

/// Deletes the pods of a dead node and then the node; returns the status before the trace ends, and the final one.
async fn left_after_its_pods(
    cluster: &Cluster,
    namespace: &Namespace,
    trace: &Trace,
    node: &str,
) -> Result<[TrafficTraceStatus; 2]> {
    let pods: Api<Pod> = namespace.api();
    // Deleted without a grace period, because the node can no longer end them.
    for pod in ["unreported-client", "idle"] {
        let deleted = pods.delete(pod, &DeleteParams::default().grace_period(0)).await;
        deleted.map_err(TestError::kube(format!("delete the pod {pod}")))?;
    }
    delete_node(cluster, node).await?;
    let running = lacks(trace, condition_reason::NODES_LEFT, REPORTED).await?;
    assert_eq!(running.phase, Some(Phase::Running));
    let over = over(trace).await?;
    assert_eq!(over.phase, Some(Phase::Completed));
    Ok([running, over])
}

/// A node with pods of a trace has no agent: the status reports that while the trace runs. The agent that is started at
/// last reports what it could not count.
#[tokio::test]
async fn without_an_agent() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let trace = namespace.trace("absent", spec("absent")).await?;
    // Agents run on nodes whose label says Linux, so the test changes this node's label. A change of their DaemonSet
    // would restart the other node's agent too.
    agent_wanted(&cluster, there, false).await?;
    let told = untraced(&namespace, &trace, (here, there)).await;
    agent_wanted(&cluster, there, true).await?;
    let told = told?;
    assert_eq!((told.phase, told.summary.nodes.as_str()), (Some(Phase::Running), "1/2"));
    assert_eq!(told.missing_nodes, [there]);
    assert_eq!(told.summary.lost, "not traced on 1 node");
    let Some(degraded) = degraded(&told) else { return Err(TestError::unexpected("conditions", "none")) };
    let begin = format!("No agent has reported from {there}, ");
    assert!(degraded.status == "True" && degraded.message.starts_with(&begin), "{degraded:?}");
    let start = told.start_time.as_ref().map(|time| time.0).unwrap_or_default();
    let waited =
        Duration::try_from(degraded.last_transition_time.0.duration_since(start)).unwrap_or_default();
    assert!(waited >= UNTRACED_AFTER, "named after {waited:?}: no node was given time to report");

    let late = |status: &TrafficTraceStatus| {
        let told = status.interruptions.iter().any(|interruption| {
            interruption.node_name.as_deref() == Some(there) && interruption.reason == "AgentStartedLate"
        });
        let traced = status.missing_nodes.is_empty() && status.summary.nodes == "2/2";
        if told && traced { Ok(status.clone()) } else { Err(format!("{:?}", status.summary)) }
    };
    let status = trace.status_where("the agent that came late", Duration::from_secs(120), late).await?;
    assert_eq!(status.summary.lost, "maybe: interrupted on 1 node", "{:?}", status.conditions);
    Ok(())
}

/// Starts a transfer between two nodes, the second of which has no agent; returns the status that names that node.
async fn untraced(
    namespace: &Namespace,
    trace: &Trace,
    (here, there): (&str, &str),
) -> Result<TrafficTraceStatus> {
    transfer(namespace, (here, there), "absent", 240).await?;
    lacks(trace, condition_reason::NODES_MISSING, UNTRACED_AFTER + REPORTED).await
}

/// Makes the DaemonSet remove its agent from a node, or create one there, and waits for that.
async fn agent_wanted(cluster: &Cluster, node: &str, wanted: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(cluster.client().clone());
    let system = if wanted { "linux" } else { "none" };
    let label = Patch::Merge(json!({"metadata": {"labels": {"kubernetes.io/os": system}}}));
    let pods: Api<Pod> = Api::all(cluster.client().clone());
    let of_node = ListParams::default().labels(AGENTS).fields(&format!("spec.nodeName={node}"));
    wait::until_async("the agent to come or go", Duration::from_secs(120), async || {
        // A kubelet that has just registered its node may set the label back once more.
        let patched = nodes.patch(node, &PatchParams::default(), &label).await;
        patched.map_err(TestError::kube("label a node"))?;
        let found = pods.list(&of_node).await.map_err(TestError::kube("list the agents"))?;
        if found.items.len() == usize::from(wanted) {
            return Ok(Ok(()));
        }
        let node = nodes.get(node).await.map_err(TestError::kube("read a node"))?;
        let pods: Vec<_> =
            found.items.iter().map(|pod| (&pod.metadata.deletion_timestamp, &pod.status)).collect();
        Ok(Err(format!("{} agents: {pods:?}; labels {:?}", pods.len(), node.metadata.labels)))
    })
    .await
}
