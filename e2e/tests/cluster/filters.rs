//! Filters on real pods: each trace shows only its part of the same traffic, and filters may change while a trace runs.

use std::net::IpAddr;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use traffictrace_crd::{
    DirectionFilter, GroupBy, Protocol, TrafficTrace, TrafficTraceSpec, TrafficTraceStatus, condition_type,
};
use traffictrace_e2e::{
    support::{
        Result, TestError,
        cluster::{Cluster, Counted, Namespace, PodPlan, plugin::Plugin, rows, spec},
    },
    workload::count::Role,
};

use crate::setup::{PORT, REPORTED, arguments, finish, reporting, seed, server, shows_exactly, start_server};

/// Runs a server with two ports, and a client of both ports, to their ends; returns the counts of both.
async fn round(cluster: &Cluster, namespace: &Namespace, group: &str, name: &str) -> Result<Vec<Counted>> {
    let (here, there) = cluster.two_nodes();
    let listen = |port: u16| format!("[::]:{port}");
    let server = PodPlan::new(
        &format!("{name}-server"),
        there,
        group,
        ["server", "--listen", &listen(PORT), "--listen", &listen(PORT + 1), "--connections", "20"],
    );
    let address = start_server(namespace, &server).await?[0];
    let ends = [PORT, PORT + 1].map(|port| std::net::SocketAddr::new(address, port).to_string());
    let client = PodPlan::new(
        &format!("{name}-client"),
        here,
        group,
        [
            "client",
            "--connections",
            "20",
            "--wait",
            "60",
            "--seed",
            &seed(),
            "--connect",
            &ends[0],
            "--connect",
            &ends[1],
        ],
    );
    namespace.start(&client).await?;
    finish(namespace, &[&server, &client]).await
}

/// Returns the counts of the `wanted` connections.
fn only(
    counted: &[Counted],
    wanted: impl Fn(Role, &traffictrace_e2e::workload::count::ConnectionLine) -> bool,
) -> Vec<Counted> {
    let mut counted = counted.to_vec();
    for line in counted.iter_mut().flat_map(|counted| &mut counted.lines) {
        let role = line.role;
        line.connections.retain(|connection| wanted(role, connection));
    }
    counted
}

/// Returns whether the connection uses this port at either end.
fn uses(connection: &traffictrace_e2e::workload::count::ConnectionLine, port: u16) -> bool {
    connection.local.port() == port || connection.remote.port() == port
}

#[tokio::test]
async fn each_shows_its_part() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let all = || spec("parts");
    let ports = TrafficTraceSpec { ports: vec![IntOrString::Int(PORT.into())], ..all() };
    let range = TrafficTraceSpec {
        ports: vec![IntOrString::String(format!("{}-{}", PORT + 1, PORT + 100))],
        ..all()
    };
    let inbound = TrafficTraceSpec { direction: DirectionFilter::Inbound, ..all() };
    let outbound = TrafficTraceSpec { direction: DirectionFilter::Outbound, ..all() };
    let udp = TrafficTraceSpec { protocols: vec![Protocol::Udp], ..all() };
    let nowhere = TrafficTraceSpec { remote_cidrs: vec!["192.0.2.0/24".into()], ..all() };
    let anywhere = TrafficTraceSpec { remote_cidrs: vec!["0.0.0.0/0".into(), "::/0".into()], ..all() };
    let mut traces = Vec::new();
    for (name, spec) in [
        ("port", ports),
        ("range", range),
        ("inbound", inbound),
        ("outbound", outbound),
        ("udp", udp),
        ("nowhere", nowhere),
        ("anywhere", anywhere),
    ] {
        traces.push((name, namespace.trace(name, spec).await?));
    }
    let counted = round(&cluster, &namespace, "parts", "parts").await?;
    for (name, trace) in &traces {
        let part = match *name {
            "port" => only(&counted, |_, connection| uses(connection, PORT)),
            "range" => only(&counted, |_, connection| uses(connection, PORT + 1)),
            "inbound" => only(&counted, |role, _| role == Role::Server),
            "outbound" => only(&counted, |role, _| role == Role::Client),
            "anywhere" => counted.clone(),
            _ => Vec::new(),
        };
        if part.is_empty() {
            reporting(trace, 2).await?;
            let status = trace.status().await?;
            assert_eq!((status.totals.rx_bytes, status.top_flows.len()), (0, 0), "{name}: {status:?}");
        } else {
            println!("{name}");
            shows_exactly(trace, &part, GroupBy::Endpoint).await?;
        }
    }
    Ok(())
}

/// A trace of some networks shows only connections to them: to one of two servers, or over one IP version.
#[tokio::test]
async fn networks_show_their_part() -> Result<()> {
    const CONNECTIONS: usize = 20;
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let servers = ["first", "second"].map(|name| server(name, there, "networks", CONNECTIONS));
    let mut addresses = Vec::new();
    for server in &servers {
        addresses.push(start_server(&namespace, server).await?);
    }
    let networks = |addresses: &[IpAddr]| -> Vec<String> {
        addresses.iter().map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })).collect()
    };
    let mut traces = Vec::new();
    for (name, remote_cidrs) in [
        ("first", networks(&addresses[0])),
        ("both", networks(&addresses.concat())),
        ("ipv4", vec!["0.0.0.0/0".to_owned()]),
    ] {
        let spec = TrafficTraceSpec { remote_cidrs, ..spec("networks") };
        traces.push((name, namespace.trace(name, spec).await?));
    }
    let (count, seed) = ((servers.len() * CONNECTIONS).to_string(), seed());
    let work = ["client", "--connections", &count, "--wait", "60", "--seed", &seed];
    let client = PodPlan::new("client", here, "networks", arguments(&[&work], &addresses.concat()));
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&servers[0], &servers[1], &client]).await?;
    let all = rows::counted(&counted, GroupBy::Endpoint).len();
    for (name, trace) in &traces {
        let part = only(&counted, |_, connection| match *name {
            "first" => addresses[0].contains(&connection.remote.ip()),
            "both" => addresses.concat().contains(&connection.remote.ip()),
            _ => connection.remote.is_ipv4(),
        });
        let shown = rows::counted(&part, GroupBy::Endpoint).len();
        println!("{name}: {shown} of {all} rows");
        shows_exactly(trace, &part, GroupBy::Endpoint).await?;
        // The trace of IPv4 shows everything if the pods have no IPv6 addresses.
        assert!(shown < all || *name == "ipv4" && addresses[0].len() == 1, "{name} is no part of it");
    }
    Ok(())
}

/// Checks that the condition Tracing was set for this generation of the spec, which means that every node has applied
/// it.
fn goes_by(status: &TrafficTraceStatus, generation: i64) -> Result<(), String> {
    let tracing = status.conditions.iter().find(|condition| condition.type_ == condition_type::TRACING);
    match tracing {
        Some(tracing) if tracing.observed_generation == Some(generation) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Counts from before a change stay, and from then on the new filter counts exactly, on both nodes.
#[tokio::test]
async fn changed_while_a_trace_runs() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let ports = TrafficTraceSpec { ports: vec![IntOrString::Int(PORT.into())], ..spec("change") };
    let trace = namespace.trace("change", ports).await?;
    let first = round(&cluster, &namespace, "change", "first").await?;
    let first = only(&first, |_, connection| uses(connection, PORT));
    shows_exactly(&trace, &first, GroupBy::Endpoint).await?;
    let change = Patch::Merge(json!({"spec": {"ports": [PORT + 1]}}));
    let traces = namespace.api::<TrafficTrace>();
    let changed = traces.patch("change", &PatchParams::default(), &change).await;
    let generation = changed.map_err(TestError::kube("change the ports"))?.metadata.generation;
    trace
        .status_where("the nodes to go by the new filter", REPORTED, |status| {
            goes_by(status, generation.unwrap_or_default())
        })
        .await?;
    let second = round(&cluster, &namespace, "change", "second").await?;
    let second = only(&second, |_, connection| uses(connection, PORT + 1));
    let both = [first, second].concat();
    let status = shows_exactly(&trace, &both, GroupBy::Endpoint).await?;
    assert!(status.filters_changed_time.is_some(), "{status:?}");
    Ok(())
}

/// A peer has the name of the object with its address: a pod, or a Service if the client used the Service's address.
#[tokio::test(flavor = "multi_thread")]
async fn peers_have_names() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let service = Service {
        metadata: ObjectMeta { name: Some("front".to_owned()), ..ObjectMeta::default() },
        spec: Some(ServiceSpec {
            selector: Some([("app".to_owned(), "server".to_owned())].into()),
            ports: Some(vec![ServicePort {
                port: 80,
                target_port: Some(IntOrString::Int(PORT.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let made = namespace.api::<Service>().create(&PostParams::default(), &service).await;
    let made = made.map_err(TestError::kube("create a Service"))?;
    let address = made.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
    let trace = namespace.trace("peers", spec("peers")).await?;
    let server = server("server", there, "peers", 1);
    start_server(&namespace, &server).await?;
    // The load lasts longer than an interval, because the address of a pod that has ended gives no name.
    let work = ["load", "--for", "15", "--rate", "64KiB", "--reply", "32KiB", "--wait", "60", "--connect"];
    let client = PodPlan::new(
        "client",
        here,
        "peers",
        work.iter().map(|&word| word.to_owned()).chain([format!("{address}:80")]),
    );
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    let truth = rows::sum(&rows::counted(&counted, GroupBy::Endpoint));
    let status = trace
        .status_where("all bytes", REPORTED, |status| {
            let totals = (status.totals.rx_bytes.cast_unsigned(), status.totals.tx_bytes.cast_unsigned());
            if totals == truth { Ok(status.clone()) } else { Err(format!("{totals:?}, counted {truth:?}")) }
        })
        .await?;
    let peer_of = |pod: &str| {
        let flow = status.top_flows.iter().find(|flow| flow.pod == pod && flow.rx_bytes > 0);
        flow.and_then(|flow| flow.peer.clone()).unwrap_or_default()
    };
    assert_eq!(peer_of("client"), format!("service {}/front", namespace.name()));
    assert_eq!(peer_of("server"), format!("pod {}/client", namespace.name()));
    for (pod, services) in [("server", &["front:80"][..]), ("client", &[])] {
        let mut flows = status.top_flows.iter().filter(|flow| flow.pod == pod);
        assert!(flows.all(|flow| flow.local_services == services), "{:?}", status.top_flows);
    }

    // The client's flow has the Service's address and port, the server's flow those of the pod. Both are one row
    // nevertheless.
    let plugin = Plugin::of_editor(&namespace).await?;
    let table = plugin.output(&["top", "peers", "--no-tui", "--count", "1", "--by", "connection"])?;
    println!("{table}");
    assert_eq!(table.matches("tt-workload → tt-workload").count(), 1, "{table}");
    assert!(table.contains("client → server") && table.contains("(other ends, 1 flow)"), "{table}");
    Ok(())
}
