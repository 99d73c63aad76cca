//! The status shows exactly what the programs counted: both sides, every process, and nothing of others.

use std::collections::{BTreeMap, BTreeSet};

use traffictrace_crd::{GroupBy, TrafficTraceSpec, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result,
    cluster::{Cluster, Counted, Namespace, PodPlan, Trace, report_rows, spec},
};

use crate::setup::{self, arguments, by_pod, finish, reporting, seed, server, shows_exactly, start_server};

/// Runs a client with two processes on one node and a server on the other, over IPv4 and, if the cluster has it, IPv6.
async fn pair(
    cluster: &Cluster,
    namespace: &Namespace,
    group: &str,
    connections: usize,
) -> Result<[PodPlan; 2]> {
    const PROCESSES: usize = 2;
    let (here, there) = cluster.two_nodes();
    let server = server(&format!("{group}-server"), there, group, PROCESSES * connections);
    let addresses = start_server(namespace, &server).await?;
    let work = ["client", "--fork", "2", "--wait", "60", "--bytes-max", "300KiB", "--concurrency", "4"];
    let (connections, seed) = (connections.to_string(), seed());
    let client = PodPlan::new(
        &format!("{group}-client"),
        here,
        group,
        arguments(&[&work, &["--connections", &connections, "--seed", &seed, "--comm", group]], &addresses),
    );
    namespace.start(&client).await?;
    Ok([server, client])
}

/// Two groups of pods on the same two nodes move traffic at the same time, with a trace for each. Each trace shows all
/// flows of its own group, and none of the other.
#[tokio::test]
async fn two_traces_each_show_their_own_pods() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (red, blue) =
        (namespace.trace("red", spec("red")).await?, namespace.trace("blue", spec("blue")).await?);
    let red_pods = pair(&cluster, &namespace, "red", 120).await?;
    let blue_pods = pair(&cluster, &namespace, "blue", 120).await?;
    let red_counted = finish(&namespace, &red_pods.each_ref()).await?;
    let blue_counted = finish(&namespace, &blue_pods.each_ref()).await?;
    let red_status = shows_exactly(&red, &red_counted, GroupBy::Endpoint).await?;
    let blue_status = shows_exactly(&blue, &blue_counted, GroupBy::Endpoint).await?;
    for (trace, status, counted) in [(&red, &red_status, &red_counted), (&blue, &blue_status, &blue_counted)]
    {
        counts_are_right(&namespace, status, counted);
        reports_add_up(&cluster, trace, status, counted).await?;
    }
    Ok(())
}

/// Asserts the numbers of pods, containers, nodes and connections, and the names of the peers.
fn counts_are_right(namespace: &Namespace, status: &TrafficTraceStatus, counted: &[Counted]) {
    assert_eq!((status.pods_matched, status.containers_matched), (2, 2));
    assert_eq!((status.nodes_matched, status.nodes_reporting), (2, 2));
    let lines = counted.iter().flat_map(|counted| &counted.lines);
    let connections: u64 = lines.map(|line| line.connection_count).sum();
    assert_eq!(status.totals.connections.cast_unsigned(), connections, "connections");
    assert!(status.lost.values().all(|lost| *lost == 0), "{:?}", status.lost);
    let names: BTreeSet<_> = status.top_flows.iter().filter_map(|flow| flow.peer.clone()).collect();
    let pods: BTreeSet<_> = counted.iter().map(|c| format!("pod {}/{}", namespace.name(), c.pod)).collect();
    // Pods have their names even if they ended before their flows were listed.
    assert_eq!(names, pods, "peers");
    assert!(!status.summary.rx.is_empty() && !status.summary.top_talker.is_empty(), "{:?}", status.summary);
}

/// Asserts that each pod's flows are only in the report of the node that it ran on, and that the reports' totals add up
/// to the status.
async fn reports_add_up(
    cluster: &Cluster,
    trace: &Trace,
    status: &TrafficTraceStatus,
    counted: &[Counted],
) -> Result<()> {
    let reports = trace.reports().await?;
    assert_eq!(reports.len(), 2, "a report for each node");
    let (mut rx, mut tx, mut where_seen) = (0, 0, BTreeMap::<String, (u64, u64)>::new());
    let mut nodes_of_pods = BTreeSet::new();
    for report in &reports {
        rx += report.spec.totals.rx_bytes;
        tx += report.spec.totals.tx_bytes;
        for row in report_rows(report)? {
            nodes_of_pods.insert((row.pod.clone(), report.spec.node_name.clone()));
            let bytes = where_seen.entry(row.pod).or_default();
            bytes.0 += row.rx_bytes.cast_unsigned();
            bytes.1 += row.tx_bytes.cast_unsigned();
        }
    }
    assert_eq!((rx, tx), (status.totals.rx_bytes, status.totals.tx_bytes), "sum of the reports' totals");
    assert_eq!(where_seen, by_pod(counted), "bytes of each pod in the reports");
    let (here, there) = cluster.two_nodes();
    let ran_on = |pod: &str| if pod.ends_with("client") { here } else { there };
    for (pod, node) in &nodes_of_pods {
        assert_eq!(node, ran_on(pod), "the report that has {pod}");
    }
    Ok(())
}

/// Three traces show the same traffic with the three groupings.
#[tokio::test]
async fn groupings() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let mut traces = Vec::new();
    for (name, group_by) in [
        ("by-connection", GroupBy::Connection),
        ("by-endpoint", GroupBy::Endpoint),
        ("by-process", GroupBy::Process),
    ] {
        let spec = TrafficTraceSpec { group_by, ..spec("green") };
        traces.push((namespace.trace(name, spec).await?, group_by));
    }
    // Both ends of 2 × 20 connections give 80 rows, which all fit into the status.
    let pods = pair(&cluster, &namespace, "green", 20).await?;
    let counted = finish(&namespace, &pods.each_ref()).await?;
    for (trace, group_by) in &traces {
        shows_exactly(trace, &counted, *group_by).await?;
    }
    Ok(())
}

/// A trace that begins in the middle of a steady transfer counts only the bytes that were moved since then.
#[tokio::test]
async fn a_transfer_older_than_the_trace() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let server = server("server", there, "old", 2);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["load", "--for", "40", "--rate", "512KiB", "--reply", "128KiB", "--connections", "2"];
    let client = PodPlan::new("client", here, "old", arguments(&[&work, &["--wait", "60"]], &addresses[..1]));
    namespace.start(&client).await?;
    let first = namespace.trace("first", spec("old")).await?;
    reporting(&first, 2).await?;
    let half = |status: &TrafficTraceStatus| {
        if status.totals.rx_bytes > 2 << 20 { Ok(()) } else { Err(format!("{:?}", status.totals)) }
    };
    first.status_where("two MiB", setup::REPORTED, half).await?;
    let second = namespace.trace("second", spec("old")).await?;
    reporting(&second, 2).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    let late = second.status_where("half a MiB", setup::REPORTED, |status| {
        if status.totals.rx_bytes > 512 << 10 {
            Ok(status.clone())
        } else {
            Err(format!("{:?}", status.totals))
        }
    });
    let late = late.await?;
    let (rx, tx) = by_pod(&counted).values().fold((0, 0), |sum, pod| (sum.0 + pod.0, sum.1 + pod.1));
    assert!(late.totals.rx_bytes.cast_unsigned() < rx, "{:?} of {rx}", late.totals);
    assert!(late.totals.tx_bytes.cast_unsigned() < tx, "{:?} of {tx}", late.totals);
    // The direction of the old connections is known.
    assert!(
        late.top_flows.iter().all(|flow| flow.direction != traffictrace_crd::Direction::Unknown),
        "{late:?}"
    );
    Ok(())
}
