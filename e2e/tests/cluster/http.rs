//! HTTP requests: both sides show what the server's own log has, and a trace that does not ask for requests loads
//! nothing.

use std::{collections::BTreeSet, time::Duration};

use traffictrace_crd::{HttpSide, HttpSpec, TrafficTraceSpec, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result, bpf,
    cluster::{
        Cluster, Trace,
        http::{Ask, Requests, shown},
        levers::Levers,
        spec,
    },
    server, wait,
};

use crate::setup::{self, REPORTED, reporting};

/// Time limit for a killed agent to be back and to report.
const RECOVERED: Duration = Duration::from_secs(150);

pub(crate) const ASKS: [Ask; 7] = [
    Ask { method: "GET", path: "/items/[1-300]", http2: false },
    Ask { method: "GET", path: "/absent/[1-20]", http2: false },
    Ask { method: "DELETE", path: "/items/[1-30]", http2: false },
    Ask { method: "HEAD", path: "/items/[1-10]", http2: false },
    Ask { method: "GET", path: "/moved", http2: false },
    Ask { method: "GET", path: "/broken/[1-5]", http2: false },
    Ask { method: "GET", path: "/items/7", http2: true },
];

pub(crate) fn asking(group: &str) -> TrafficTraceSpec {
    TrafficTraceSpec { http: Some(HttpSpec { tls: false, top_endpoints: 100 }), ..spec(group) }
}

/// Waits until both sides show these requests; returns that status.
pub(crate) async fn shows(trace: &Trace, requests: &Requests) -> Result<TrafficTraceStatus> {
    let status = trace.status_where("the requests of the log", RECOVERED, |status| {
        let http = status.http.as_ref().ok_or("no requests")?;
        for side in [HttpSide::Server, HttpSide::Client] {
            let shown = shown(http, side);
            if shown != *requests {
                return Err(format!("{side:?} shows {shown:?}, not {requests:?}"));
            }
        }
        Ok(status.clone())
    });
    status.await
}

pub(crate) fn sum(requests: &Requests) -> i64 {
    requests.values().sum()
}

/// A client and a server run on different nodes, and the server's agent is killed between two runs of the client: no
/// request is missing, and none is counted twice.
#[tokio::test]
async fn both_sides_show_what_the_server_logged() -> Result<()> {
    if !server::installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let trace = namespace.trace("requests", asking("http")).await?;
    let address = namespace.start_nginx("server", there, "http").await?;
    let asked = namespace.run_curl("client", here, "http", address, &ASKS).await?;
    let logged = namespace.logged("server").await?;
    assert_eq!(asked, logged, "curl and nginx");
    assert_eq!(sum(&logged), 374);
    let status = shows(&trace, &logged).await?;
    let http = status.http.as_ref().expect("requests");
    assert_eq!((http.totals.requests, http.totals.by_class["5xx"]), (2 * 374, 2 * 5), "{:?}", http.totals);
    assert!(http.totals.unobserved.is_empty() && http.totals.lost.is_empty(), "{:?}", http.totals);
    assert_eq!(
        (status.summary.http.as_str(), status.summary.lost.as_str()),
        ("748 requests, 10 5xx", "none")
    );
    for row in &http.top_endpoints {
        let (pod, command) = match row.side {
            HttpSide::Server => ("server", "nginx"),
            HttpSide::Client => ("client", "curl"),
        };
        assert_eq!((row.pod.as_str(), row.container.as_deref()), (pod, Some(command)));
        assert_eq!((row.command.as_deref(), row.complete), (Some(command), true), "{row:?}");
        assert!(row.p50_microseconds <= row.p99_microseconds, "{row:?}");
        assert!(row.p99_microseconds <= row.max_microseconds && row.max_microseconds > 0, "{row:?}");
    }

    let never_falls = trace.watch();
    levers.pull(&["agent-kill", there]).await?;
    cluster.agent_ready(there).await?;
    let interrupted = |status: &TrafficTraceStatus| {
        let of_node = |i: &traffictrace_crd::Interruption| i.node_name.as_deref() == Some(there);
        if status.interruptions.iter().any(of_node) {
            Ok(())
        } else {
            Err(format!("{:?}", status.interruptions))
        }
    };
    trace.status_where("the interruption", RECOVERED, interrupted).await?;
    // No request was sent meanwhile, so the numbers must be those from before.
    shows(&trace, &logged).await?;
    let again = namespace.run_curl("client-again", here, "http", address, &ASKS).await?;
    assert_eq!(again, asked);
    let logged = namespace.logged("server").await?;
    assert_eq!(sum(&logged), 748);
    let status = shows(&trace, &logged).await?;
    let http = status.http.as_ref().expect("requests");
    assert_eq!(http.totals.requests, 2 * 748);
    assert!(http.top_endpoints.iter().all(|row| row.complete), "{:?}", http.top_endpoints);
    println!("the status was read {} times and no total fell", never_falls.end().await?);
    println!("{}", serde_json::to_string_pretty(http).unwrap_or_default());
    Ok(())
}

/// Returns the names of the programs that a node's agent has in the kernel.
fn programs(levers: &Levers, node: &str) -> Result<BTreeSet<String>> {
    let held = levers.kernel_objects(node)?.programs;
    let is_held = |program: &serde_json::Value| program["id"].as_u64().is_some_and(|id| held.contains(&id));
    let all = bpf::show("prog")?;
    Ok(all.iter().filter(|p| is_held(p)).filter_map(|p| Some(p["name"].as_str()?.to_owned())).collect())
}

fn of_http(programs: &BTreeSet<String>) -> Vec<&str> {
    programs.iter().map(String::as_str).filter(|name| name.starts_with("tt_http")).collect()
}

/// Waits until a node's agent has no program that looks at packets.
async fn without_http(levers: &Levers, node: &str) -> Result<()> {
    wait::until_async("HTTP's programs to go", REPORTED, async || {
        let left = programs(levers, node)?;
        Ok(if of_http(&left).is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await
}

/// The programs that look at packets are loaded with the first trace that asks for requests, and removed with the last.
#[tokio::test]
async fn nothing_is_loaded_that_nobody_asks_for() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, _) = cluster.two_nodes();
    // Traces of earlier tests may not be deleted yet.
    without_http(&levers, here).await?;
    namespace.start(&setup::server("server", here, "quiet", 1)).await?;
    namespace.addresses("server").await?;
    let flows = namespace.trace("flows", spec("quiet")).await?;
    reporting(&flows, 1).await?;
    let without = programs(&levers, here)?;
    assert!(!without.is_empty() && of_http(&without).is_empty(), "{without:?}");
    assert!(flows.status().await?.http.is_none());
    let http = namespace.trace("http", asking("quiet")).await?;
    reporting(&http, 1).await?;
    let with = programs(&levers, here)?;
    assert_eq!(of_http(&with).len(), 2, "{with:?}");
    http.delete().await?;
    without_http(&levers, here).await?;
    assert_eq!(programs(&levers, here)?, without);
    Ok(())
}
