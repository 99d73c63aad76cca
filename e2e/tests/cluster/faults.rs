//! Faults in the middle of a transfer: the shown totals never fall, and only a killed agent may lose bytes, which the
//! status then reports.

use std::{collections::BTreeMap, time::Duration};

use traffictrace_crd::{GroupBy, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        Cluster, Counted, Namespace, NeverFalls, PodPlan, Trace,
        levers::Levers,
        rows::{self, Row},
        spec,
    },
    truth::Bytes,
};

use crate::setup::{RUN, arguments, finish, server, shows_exactly, start_server};

/// Maximum delay of a status after a fault: clients of the API must find out that their connections are dead.
const RECOVERED: Duration = Duration::from_secs(150);

/// A running transfer between two nodes, a trace of both ends that has seen its first bytes, and a check that totals
/// never fall.
struct Scene {
    cluster: Cluster,
    levers: Levers,
    namespace: Namespace,
    server: PodPlan,
    client: PodPlan,
    trace: Trace,
    never_falls: NeverFalls,
}

impl Scene {
    /// Sets the scene up, with a transfer that lasts for `seconds`.
    async fn set(seconds: u32) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::alone().await? else { return Ok(None) };
        let Some(levers) = Levers::find() else { return Ok(None) };
        let namespace = cluster.namespace().await?;
        let (here, there) = cluster.two_nodes();
        let trace = namespace.trace("fault", spec("fault")).await?;
        let server = server("server", there, "fault", 3);
        let addresses = start_server(&namespace, &server).await?;
        let seconds = seconds.to_string();
        let work = ["load", "--for", &seconds, "--rate", "600KiB", "--reply", "200KiB", "--connections", "3"];
        let client =
            PodPlan::new("client", here, "fault", arguments(&[&work, &["--wait", "60"]], &addresses[..1]));
        namespace.start(&client).await?;
        let never_falls = trace.watch();
        let scene = Self { cluster, levers, namespace, server, client, trace, never_falls };
        scene.more_than(1 << 20).await?;
        Ok(Some(scene))
    }

    /// Waits until the trace shows more than `bytes` received bytes; returns the status.
    async fn more_than(&self, bytes: i64) -> Result<TrafficTraceStatus> {
        let what = format!("more than {bytes} received bytes");
        let status = self.trace.status_where(&what, RECOVERED, |status| {
            if status.totals.rx_bytes > bytes {
                Ok(status.clone())
            } else {
                Err(format!("{:?}", status.totals))
            }
        });
        status.await
    }

    /// Waits until the status names an interruption on the node. The agent there then counts again, and a container
    /// that starts from now on is counted from its first byte.
    async fn interruption_told(&self, node: &str) -> Result<()> {
        let interrupted = self.trace.status_where("the interruption", RECOVERED, |status| {
            if names_interruption(status, node) { Ok(()) } else { Err(format!("{:?}", status.interruptions)) }
        });
        interrupted.await
    }

    /// Waits until the transfer ends; the status must show exactly what both ends counted.
    async fn ends_exactly(self) -> Result<TrafficTraceStatus> {
        let counted = finish(&self.namespace, &[&self.server, &self.client]).await?;
        let status = self.exactly(&counted).await?;
        self.never_falls.end().await?;
        Ok(status)
    }

    async fn exactly(&self, counted: &[Counted]) -> Result<TrafficTraceStatus> {
        let truth = rows::counted(counted, GroupBy::Endpoint);
        let what = "what the workloads counted";
        let compared = self
            .trace
            .status_where(what, RECOVERED, |status| rows::compare(&truth, status).map(|()| status.clone()));
        compared.await
    }
}

fn names_interruption(status: &TrafficTraceStatus, node: &str) -> bool {
    status.interruptions.iter().any(|interruption| interruption.node_name.as_deref() == Some(node))
}

/// Asserts that no row shows more than was counted.
fn nothing_invented(counted: &[Counted], status: &TrafficTraceStatus) -> Result<()> {
    let truth: BTreeMap<Row, Bytes> = rows::counted(counted, GroupBy::Endpoint);
    for (row, shown) in rows::shown(&status.top_flows)? {
        let Some(most) = truth.get(&row) else {
            return Err(TestError::unexpected("a row", format!("{row:?} {shown:?}, which nobody counted")));
        };
        assert!(shown.0 <= most.0 && shown.1 <= most.1, "{row:?}: shown {shown:?}, counted {most:?}");
    }
    Ok(())
}

/// The agent is killed: its successor continues from the last report, and the status reports the gap.
#[tokio::test]
async fn agent_killed() -> Result<()> {
    let Some(scene) = Scene::set(60).await? else { return Ok(()) };
    let node = scene.cluster.two_nodes().0.to_owned();
    let before = scene.trace.status().await?.totals;
    scene.levers.pull(&["agent-kill", &node]).await?;
    scene.interruption_told(&node).await?;
    // The successor counts: the other node's end alone cannot have added so many bytes.
    scene.more_than(before.rx_bytes + (4 << 20)).await?;
    let counted = finish(&scene.namespace, &[&scene.server, &scene.client]).await?;
    let server_rows = rows::counted(&counted[..1], GroupBy::Endpoint);
    let status = scene.trace.status_where("the other node's exact rows", RECOVERED, |status| {
        let shown = rows::shown(&status.top_flows).map_err(|error| error.to_string())?;
        let right = server_rows.iter().all(|(row, bytes)| shown.get(row) == Some(bytes));
        if right { Ok(status.clone()) } else { Err(format!("{shown:?}")) }
    });
    nothing_invented(&counted, &status.await?)?;
    scene.never_falls.end().await?;
    Ok(())
}

/// The API server is away for a minute: nothing is lost, and the status catches up.
#[tokio::test]
async fn api_server_stopped_for_a_minute() -> Result<()> {
    let Some(scene) = Scene::set(100).await? else { return Ok(()) };
    scene.levers.pull(&["api-stop"]).await?;
    // The length of the fault, not a wait for a condition.
    tokio::time::sleep(Duration::from_secs(60)).await;
    scene.levers.pull(&["api-start"]).await?;
    let status = scene.ends_exactly().await?;
    assert!(status.interruptions.is_empty(), "{:?}", status.interruptions);
    Ok(())
}

/// One node is cut off from everything for a while: the transfer stalls, and then everything continues.
#[tokio::test]
async fn node_cut_off() -> Result<()> {
    let Some(scene) = Scene::set(60).await? else { return Ok(()) };
    let node = scene.cluster.two_nodes().0.to_owned();
    scene.levers.pull(&["link-cut", &node]).await?;
    // The length of the fault, which is several report intervals.
    tokio::time::sleep(Duration::from_secs(20)).await;
    scene.levers.pull(&["link-join", &node]).await?;
    let status = scene.ends_exactly().await?;
    assert!(status.interruptions.is_empty(), "{:?}", status.interruptions);
    Ok(())
}

/// A pod is deleted: the bytes that it moved stay in the status, and the rows of the other end are exact.
#[tokio::test]
async fn pod_deleted() -> Result<()> {
    let Some(scene) = Scene::set(120).await? else { return Ok(()) };
    let shown = scene.more_than(2 << 20).await?;
    scene.namespace.delete_pod(&scene.client.name).await?;
    let counted = scene.namespace.finished(&scene.server, RUN).await?;
    let server_rows = rows::counted(&counted, GroupBy::Endpoint);
    let received = rows::sum(&server_rows).0.cast_signed();
    let client = |status: &TrafficTraceStatus| {
        let rows = status.top_flows.iter().filter(|flow| flow.pod == "client");
        rows.fold((0, 0), |(rx, tx), flow| (rx + flow.rx_bytes, tx + flow.tx_bytes))
    };
    // The client is gone, so its counts are unknown. The server received everything that it sent, except for bytes in
    // flight. Each node reports at its own pace, so both ends are awaited.
    let status = scene.trace.status_where(
        "the server's exact rows and all that the client sent",
        RECOVERED,
        |status| {
            let now = rows::shown(&status.top_flows).map_err(|error| error.to_string())?;
            let right = server_rows.iter().all(|(row, bytes)| now.get(row) == Some(bytes));
            let sent = client(status).1;
            if right && sent >= received {
                Ok(status.clone())
            } else {
                Err(format!(
                    "{now:?}, counted {server_rows:?}; the client sent {sent}, the server received {received}"
                ))
            }
        },
    );
    let status = status.await?;
    let (before, after) = (client(&shown), client(&status));
    assert!(after >= before && after.1 > 0, "the deleted pod's rows: {before:?}, then {after:?}");
    scene.never_falls.end().await?;
    Ok(())
}

/// A whole node ends at once and starts again: the other node's numbers are exact, and traffic of new pods on the node
/// is counted again.
#[tokio::test]
async fn node_killed_and_started() -> Result<()> {
    let Some(scene) = Scene::set(120).await? else { return Ok(()) };
    let node = scene.cluster.two_nodes().0.to_owned();
    scene.levers.pull(&["node-kill", &node]).await?;
    let counted = scene.namespace.finished(&scene.server, RUN).await?;
    scene.levers.pull(&["node-start", &node]).await?;
    // The new pods are on the same two nodes. A node is Ready before the agent's pod runs on it, so the client waits
    // until the agent there has resumed the trace, for which it needs a pod to trace.
    let (here, there) = scene.cluster.two_nodes();
    let server = server("server-after", here, "fault", 20);
    let addresses = start_server(&scene.namespace, &server).await?;
    scene.interruption_told(&node).await?;
    let work = ["client", "--connections", "20", "--wait", "60"];
    let client = PodPlan::new("client-after", there, "fault", arguments(&[&work], &addresses));
    scene.namespace.start(&client).await?;
    let after = finish(&scene.namespace, &[&server, &client]).await?;
    let known = rows::counted(&[counted, after].concat(), GroupBy::Endpoint);
    let status = scene.trace.status_where("all rows but those of the killed pod", RECOVERED, |status| {
        let shown = rows::shown(&status.top_flows).map_err(|error| error.to_string())?;
        let wrong: Vec<_> = known.iter().filter(|(row, bytes)| shown.get(row) != Some(*bytes)).collect();
        if wrong.is_empty() { Ok(status.clone()) } else { Err(format!("{wrong:?}, shown {shown:?}")) }
    });
    let status = status.await?;
    let told = names_interruption(&status, &node);
    assert!(told, "the interruption stays in the status: {:?}", status.interruptions);
    scene.never_falls.end().await?;
    Ok(())
}

/// Without a fault a trace is exact, also after the faults that other tests have caused.
#[tokio::test]
async fn exact_without_a_fault() -> Result<()> {
    let Some(scene) = Scene::set(15).await? else { return Ok(()) };
    let counted = finish(&scene.namespace, &[&scene.server, &scene.client]).await?;
    shows_exactly(&scene.trace, &counted, GroupBy::Endpoint).await?;
    scene.never_falls.end().await?;
    Ok(())
}
