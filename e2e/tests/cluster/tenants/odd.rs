//! Traces that a tenant may make for itself, at the limits of what Kubernetes allows.

use std::time::Duration;

use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use traffictrace_crd::{GroupBy, TrafficTrace};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, PodPlan, spec},
    wait,
};

use crate::setup::{PORT, arguments, finish, reporting, seed, server, shows_exactly, start_server};
/// Names and labels at the limits that Kubernetes allows are traced like others; beyond the limits they are refused.
#[tokio::test]
async fn odd_names_and_labels() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let traces = namespace.api::<TrafficTrace>();
    // Names that Kubernetes' own rules do not allow.
    for name in ["../../etc", "UPPER", "a b", "a\u{1b}[31m", "-a", "a..b", "$(id)", &"x".repeat(254)] {
        let refused = traces.create(&PostParams::default(), &TrafficTrace::new(name, spec("odd"))).await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422),
            "{name}: {refused:?}"
        );
    }
    let longest = format!("{}.{}", "0-".repeat(60), "9".repeat(253 - 121)).replace("-.", "z.");
    let trace = namespace.trace(&longest, spec("odd")).await?;
    let odd = json!({ "metadata": {
        "labels": {
            (format!("{}/{}", "a.".repeat(126) + "a", "N".repeat(63))): format!("A{}9", "-_.".repeat(20)),
            "empty": "",
        },
        "annotations": { "text": format!("\u{1b}[2J\r\n\u{0}{}\u{202e}$(id)`id`", "\u{10ffff}".repeat(10_000)) },
    }});
    let changed = traces.patch(&longest, &PatchParams::default(), &Patch::Merge(odd)).await;
    changed.map_err(TestError::kube("set odd labels"))?;

    // Names of pods that a careless parser would split.
    let server = server("0.server-with.dots", there, "odd", 10);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["client", "--connections", "10", "--wait", "60"];
    let name = format!("{}-{}", "long".repeat(14), "client");
    let client = PodPlan::new(&name, here, "odd", arguments(&[&work, &["--seed", &seed()]], &addresses));
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert!(trace.reports().await?.iter().all(|report| report.name_any().len() <= 63));
    Ok(())
}

/// A trace that is deleted with `--cascade=orphan` disappears: no policy keeps the garbage collector from removing the
/// owner from its reports.
#[tokio::test]
async fn a_trace_that_leaves_its_reports_behind_goes() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, _) = cluster.two_nodes();
    let trace = namespace.trace("leaving", spec("leaving")).await?;
    let listen = format!("[::]:{PORT}");
    let pod = PodPlan::new("pod", here, "leaving", ["server", "--listen", &listen, "--connections", "1"]);
    start_server(&namespace, &pod).await?;
    reporting(&trace, 1).await?;
    let traces = namespace.api::<TrafficTrace>();
    let deleted = traces.delete("leaving", &DeleteParams::orphan()).await;
    deleted.map_err(TestError::kube("delete the trace with --cascade=orphan"))?;
    wait::until_async("the trace to go", Duration::from_secs(60), async || {
        let there = traces.get_opt("leaving").await.map_err(TestError::kube("read the trace"))?;
        Ok(there.map_or(Ok(()), |trace| Err(format!("{:?}", trace.metadata))))
    })
    .await?;
    let reports = trace.reports().await?;
    println!("{} reports are left", reports.len());
    assert!(reports.iter().all(|report| report.owner_references().is_empty()), "{reports:?}");
    Ok(())
}
