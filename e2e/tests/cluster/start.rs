//! Pods that start after the trace are counted from their first byte, however short they live.

use traffictrace_crd::{GroupBy, TrafficTraceSpec};
use traffictrace_e2e::support::{
    Result,
    cluster::{Cluster, Container, PodPlan, spec},
};

use crate::setup::{PORT, arguments, finish, seed, server, shows_exactly, start_server};

/// An init container and two containers live for a fraction of a second each; each has its own bytes.
#[tokio::test]
async fn short_lived_containers() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    // The server is not selected, only the short-lived end is.
    let server = server("server", there, "other", 9);
    let addresses = start_server(&namespace, &server).await?;
    let trace = namespace.trace("short", spec("short")).await?;
    let container = |name: &str| {
        let work = ["client", "--connections", "3", "--bytes-max", "60KiB", "--wait", "60", "--comm", name];
        Container::new(name, arguments(&[&work, &["--seed", &seed()]], &addresses))
    };
    let pod = PodPlan {
        init: vec![container("first")],
        containers: vec![container("second"), container("third")],
        ..PodPlan::new("short", here, "short", [""])
    };
    namespace.start(&pod).await?;
    let counted = finish(&namespace, &[&pod]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}

/// With `containers`, only the named containers are counted, also from their first byte.
#[tokio::test]
async fn named_containers_only() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let server = server("server", there, "other", 8);
    let addresses = start_server(&namespace, &server).await?;
    let named = TrafficTraceSpec { containers: vec!["wanted".to_owned()], ..spec("named") };
    let trace = namespace.trace("named", named).await?;
    let container = |name: &str| {
        let work = ["client", "--connections", "4", "--bytes-max", "60KiB", "--wait", "60", "--comm", name];
        Container::new(name, arguments(&[&work, &["--seed", &seed()]], &addresses))
    };
    let pod = PodPlan {
        containers: vec![container("wanted"), container("unwanted")],
        ..PodPlan::new("named", here, "named", [""])
    };
    namespace.start(&pod).await?;
    let mut counted = finish(&namespace, &[&pod]).await?;
    counted.retain(|counted| counted.container == "wanted");
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}

/// Two containers of one pod talk over its loopback: both ends are in the same pod, and each counts for its own
/// container.
#[tokio::test]
async fn containers_of_one_pod_over_loopback() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let trace = namespace.trace("inside", spec("inside")).await?;
    let loopback = [std::net::IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()];
    let listen = format!("[::]:{PORT}");
    let work = ["client", "--connections", "30", "--wait", "60", "--comm", "asking"];
    let pod = PodPlan {
        containers: vec![
            Container::new("answers", ["server", "--listen", &listen, "--connections", "30"]),
            Container::new("asks", arguments(&[&work, &["--seed", &seed()]], &loopback)),
        ],
        ..PodPlan::new("inside", cluster.two_nodes().0, "inside", [""])
    };
    namespace.start(&pod).await?;
    let counted = finish(&namespace, &[&pod]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}
