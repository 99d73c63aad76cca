//! Pods and traces that several tests use.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use traffictrace_crd::{GroupBy, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result,
    cluster::{Counted, Namespace, PodPlan, Trace, rows},
};

/// Port of every server of the suite.
pub(crate) const PORT: u16 = 7000;
/// Time limit for a pod to run to its end.
pub(crate) const RUN: Duration = Duration::from_secs(240);
/// Time limit for a report: two intervals of 5 s, and spare time for a busy machine.
pub(crate) const REPORTED: Duration = Duration::from_secs(40);

/// Plans a server that ends by itself when `connections` connections have been closed.
pub(crate) fn server(name: &str, node: &str, group: &str, connections: usize) -> PodPlan {
    let connections = connections.to_string();
    let listen = format!("[::]:{PORT}");
    PodPlan::new(name, node, group, ["server", "--listen", &listen, "--connections", &connections])
}

/// Starts a server and waits for its addresses.
pub(crate) async fn start_server(namespace: &Namespace, server: &PodPlan) -> Result<Vec<IpAddr>> {
    namespace.start(server).await?;
    namespace.addresses(&server.name).await
}

/// Returns `--connect` with each of the addresses.
pub(crate) fn connect(addresses: &[IpAddr]) -> Vec<String> {
    let ends = addresses.iter().map(|&ip| std::net::SocketAddr::new(ip, PORT).to_string());
    ends.flat_map(|end| ["--connect".to_owned(), end]).collect()
}

/// Joins the parts of a command line, followed by `--connect` with each of the addresses.
pub(crate) fn arguments(parts: &[&[&str]], addresses: &[IpAddr]) -> Vec<String> {
    let fixed = parts.iter().flat_map(|part| part.iter().map(|&argument| argument.to_owned()));
    fixed.chain(connect(addresses)).collect()
}

/// Returns a seed that differs in every run, and prints it so that a failure can be repeated.
pub(crate) fn seed() -> String {
    let seed = fastrand::u32(..).to_string();
    println!("seed {seed}");
    seed
}

/// Starts a server, and a client that opens `connections` connections to it, on one node each.
///
/// The pods are named NAME-server and NAME-client, and have the label that selects `group`.
pub(crate) async fn exchange(
    namespace: &Namespace,
    (client_node, server_node): (&str, &str),
    name: &str,
    group: &str,
    connections: usize,
) -> Result<[PodPlan; 2]> {
    let server = server(&format!("{name}-server"), server_node, group, connections);
    let addresses = start_server(namespace, &server).await?;
    let (connections, seed) = (connections.to_string(), seed());
    let work =
        ["client", "--connections", &connections, "--concurrency", "4", "--wait", "60", "--seed", &seed];
    let client = PodPlan::new(&format!("{name}-client"), client_node, group, arguments(&[&work], &addresses));
    namespace.start(&client).await?;
    Ok([server, client])
}

/// Starts a transfer of two connections that lasts for `seconds`: 600 KiB/s from the client, 200 KiB/s from the server.
///
/// The pods are named GROUP-server and GROUP-client.
pub(crate) async fn transfer(
    namespace: &Namespace,
    (client_node, server_node): (&str, &str),
    group: &str,
    seconds: u32,
) -> Result<[PodPlan; 2]> {
    let server = server(&format!("{group}-server"), server_node, group, 2);
    let addresses = start_server(namespace, &server).await?;
    let seconds = seconds.to_string();
    let work = ["load", "--for", &seconds, "--rate", "600KiB", "--reply", "200KiB", "--connections", "2"];
    let work = arguments(&[&work, &["--wait", "60"]], &addresses[..1]);
    let client = PodPlan::new(&format!("{group}-client"), client_node, group, work);
    namespace.start(&client).await?;
    Ok([server, client])
}

/// Waits until started pods have ended; returns their counts.
pub(crate) async fn finish(namespace: &Namespace, pods: &[&PodPlan]) -> Result<Vec<Counted>> {
    let mut counted = Vec::new();
    for pod in pods {
        counted.extend(namespace.finished(pod, RUN).await?);
    }
    Ok(counted)
}

/// Waits until a trace shows exactly what these pods counted; returns that status.
pub(crate) async fn shows_exactly(
    trace: &Trace,
    counted: &[Counted],
    group_by: GroupBy,
) -> Result<TrafficTraceStatus> {
    let truth = rows::counted(counted, group_by);
    assert!(!truth.is_empty(), "the workloads moved nothing");
    trace
        .status_where("what the workloads counted", REPORTED, |status| {
            rows::compare(&truth, status).map(|()| status.clone())
        })
        .await
}

/// Waits until a trace's status reports this number of nodes: their kernels count from then on.
pub(crate) async fn reporting(trace: &Trace, nodes: i32) -> Result<()> {
    trace
        .status_where("reporting nodes", REPORTED, |status| {
            if status.nodes_reporting >= nodes { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await
}

/// Sums the bytes of each pod's rows.
pub(crate) fn by_pod(counted: &[Counted]) -> BTreeMap<String, (u64, u64)> {
    let mut pods: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for counted in counted {
        for line in &counted.lines {
            let (rx, tx) = pods.entry(counted.pod.clone()).or_default();
            *rx += line.rx_bytes;
            *tx += line.tx_bytes;
        }
    }
    pods
}
