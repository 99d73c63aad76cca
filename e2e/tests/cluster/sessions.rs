//! The 64 sessions of a node, each of which counts for one trace: a refused trace has the reason in its status, and no
//! namespace can take all sessions from another.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use traffictrace_crd::{Duration as Span, TrafficTraceSpec, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, Namespace, Trace, spec},
    wait,
};

use crate::setup::{REPORTED, reporting, server, start_server};

/// Number of sessions of a node, and so of traces that its agent can count at a time.
const SESSIONS: usize = 64;

/// Creates a trace of the group with a long report interval, since there are many such traces.
async fn calm(namespace: &Namespace, name: &str) -> Result<Trace> {
    let spec = TrafficTraceSpec { interval: Span::new("30s"), top_flows: 5, ..spec("crowd") };
    namespace.trace(name, spec).await
}

/// Checks that a status names the refusal of one node.
fn refused(status: &TrafficTraceStatus) -> Result<(), String> {
    match status.refused_nodes.as_slice() {
        [one] if one.reason == "TooManySessions" && one.message.contains("delete one") => Ok(()),
        other => Err(format!("{other:?}, {:?}", status.summary)),
    }
}

/// The 65th trace of a namespace is refused with the reason, a trace of another namespace is not, and a trace that
/// waited begins when there is room.
#[tokio::test]
async fn the_65th_is_refused_and_namespaces_share() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let (node, _) = cluster.two_nodes();
    let (crowd, other) = (cluster.namespace().await?, cluster.namespace().await?);
    for namespace in [&crowd, &other] {
        start_server(namespace, &server("server", node, "crowd", 1)).await?;
    }
    let mut traces = Vec::new();
    for number in 0..SESSIONS {
        traces.push(calm(&crowd, &format!("t{number:02}")).await?);
    }
    for trace in &traces {
        reporting(trace, 1).await?;
    }
    let last = calm(&crowd, "t64").await?;
    last.status_where("the refusal", REPORTED, refused).await?;
    let status = last.status().await?;
    println!("refused: {} | {}", status.summary.lost, status.summary.message);
    assert_eq!(status.summary.lost, "not traced on 1 node");
    assert!(status.summary.message.contains(node), "{:?}", status.summary);
    told(&crowd, &last, "NodeRefused").await?;

    // A namespace with less than its share gets a session; a trace of the crowd loses its session, but keeps what it
    // shows.
    let wanted = calm(&other, "wanted").await?;
    reporting(&wanted, 1).await?;
    wait::until_async("one of the crowd to give way", Duration::from_secs(90), async || {
        let mut refusing = 0;
        for trace in traces.iter().chain([&last]) {
            refusing += usize::from(!trace.status().await?.refused_nodes.is_empty());
        }
        Ok(if refusing == 2 { Ok(()) } else { Err(format!("{refusing} traces are refused")) })
    })
    .await?;
    for trace in traces.iter().take(2) {
        trace.delete().await?;
    }
    let gone = |status: &TrafficTraceStatus| {
        let traced = status.refused_nodes.is_empty() && status.nodes_reporting == 1;
        if traced { Ok(()) } else { Err(format!("{:?}", status.summary)) }
    };
    last.status_where("a session of its own", Duration::from_secs(90), gone).await
}

/// Waits for an Event with this reason on a trace.
async fn told(namespace: &Namespace, trace: &Trace, reason: &str) -> Result<()> {
    let events = namespace.api::<Event>();
    wait::until_async(&format!("the Event {reason}"), REPORTED, async || {
        let all = events.list(&ListParams::default()).await.map_err(TestError::kube("list Events"))?;
        let of_trace = all.items.iter().filter(|event| {
            let uid = event.regarding.as_ref().and_then(|object| object.uid.as_deref());
            uid == Some(trace.uid())
        });
        let reasons: Vec<_> = of_trace.filter_map(|event| event.reason.clone()).collect();
        let count = reasons.iter().filter(|told| *told == reason).count();
        Ok(if count == 1 { Ok(()) } else { Err(format!("{reasons:?}")) })
    })
    .await
}
