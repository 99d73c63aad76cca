//! The ends of traces, and what they leave in the kernel.

use std::time::Duration;

use traffictrace_crd::{Duration as Span, GroupBy, Phase, TrafficTraceSpec, condition_type};
use traffictrace_e2e::support::{
    Result, TestError,
    bpf::Objects,
    cluster::{
        Cluster,
        levers::{Levers, pod_cgroup, selected_cgroups},
        spec,
    },
    wait,
};

use crate::setup::{REPORTED, exchange, finish, reporting, server, shows_exactly, start_server};

/// A trace that ends by itself has exact numbers in its final status, and its programs are removed.
#[tokio::test]
async fn expiry_completes() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    // The pods have to start and end within this time on a busy machine.
    let short = TrafficTraceSpec { duration: Span::new("60s"), ..spec("expiry") };
    let trace = namespace.trace("expiry", short).await?;
    let pods = exchange(&namespace, cluster.two_nodes(), "expiry", "expiry", 40).await?;
    let counted = finish(&namespace, &pods.each_ref()).await?;
    let complete = trace.status_where("Completed", Duration::from_secs(120), |status| {
        if status.phase == Some(Phase::Completed) { Ok(status.clone()) } else { Err(format!("{status:?}")) }
    });
    let complete = complete.await?;
    let condition = complete.conditions.iter().find(|condition| condition.type_ == condition_type::COMPLETE);
    assert!(condition.is_some_and(|condition| condition.status == "True"), "{:?}", complete.conditions);
    assert!(complete.missing_nodes.is_empty(), "{:?}", complete.missing_nodes);
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    // The final status no longer needs the reports, and agents no longer watch the trace.
    wait::until_async("the reports to be deleted", REPORTED, async || {
        let reports = trace.reports().await?;
        Ok(if reports.is_empty() { Ok(()) } else { Err(format!("{} reports", reports.len())) })
    })
    .await?;
    let object = namespace.api::<traffictrace_crd::TrafficTrace>().get("expiry").await;
    let labels = object.map_err(TestError::kube("read the trace"))?.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get(traffictrace_crd::FINISHED_LABEL).map(String::as_str), Some("true"));
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}

/// `ttlAfterFinished` deletes the trace together with its reports.
#[tokio::test]
async fn finished_traces_go_away() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    start_server(&namespace, &server("server", cluster.two_nodes().0, "brief", 1)).await?;
    let spec =
        TrafficTraceSpec { duration: Span::new("12s"), ttl_after_finished: Span::new("5s"), ..spec("brief") };
    let trace = namespace.trace("brief", spec).await?;
    reporting(&trace, 1).await?;
    assert_eq!(trace.reports().await?.len(), 1, "the node with the pod has written one");
    let traces = namespace.api::<traffictrace_crd::TrafficTrace>();
    wait::until_async("the trace to be deleted", Duration::from_secs(60), async || {
        let there = traces.get_opt("brief").await;
        let there = there.map_err(TestError::kube("read the trace brief"))?;
        Ok(there.map_or(Ok(()), |trace| Err(format!("{:?}", trace.status))))
    })
    .await?;
    wait::until_async("its reports to be deleted", Duration::from_secs(60), async || {
        let reports = trace.reports().await?;
        Ok(if reports.is_empty() { Ok(()) } else { Err(format!("{} reports", reports.len())) })
    })
    .await
}

/// A trace that no node traces fails at its end with the reason, and a wait for its completion does not succeed.
#[tokio::test]
async fn what_nobody_traced_fails() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let short = TrafficTraceSpec { duration: Span::new("5s"), ..spec("nobody") };
    let trace = namespace.trace("nobody", short).await?;
    let failed = trace.status_where("its failure", REPORTED, |status| {
        if status.phase == Some(Phase::Failed) {
            Ok(status.clone())
        } else {
            Err(format!("{:?}", status.phase))
        }
    });
    let failed = failed.await?;
    let of = |kind: &str| {
        let found = failed.conditions.iter().find(|condition| condition.type_ == kind);
        found.map(|condition| format!("{} {}", condition.status, condition.reason)).unwrap_or_default()
    };
    assert_eq!(of(condition_type::FAILED), "True NoPods", "{failed:?}");
    assert_eq!(of(condition_type::COMPLETE), "False Failed", "{failed:?}");
    // The trace is over: a longer duration is refused, and the refusal names the remedy.
    let traces = namespace.api::<traffictrace_crd::TrafficTrace>();
    let longer = kube::api::Patch::Merge(serde_json::json!({"spec": {"duration": "1h"}}));
    match traces.patch("nobody", &kube::api::PatchParams::default(), &longer).await {
        Err(kube::Error::Api(refusal)) => {
            assert!(refusal.message.contains("does not start again"), "{}", refusal.message);
        }
        other => return Err(TestError::unexpected("a longer duration after the end", format!("{other:?}"))),
    }
    Ok(())
}

/// The kernel's filter has the pods of each trace as long as the trace exists, and nothing is left after the last one.
#[tokio::test]
async fn deletion_takes_everything_out_of_the_kernel() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (node, _) = cluster.two_nodes();
    // Waits until the traces of earlier tests are gone: without a trace, an agent holds no kernel objects.
    levers.nothing_left(node, &Objects::default()).await?;
    let mut cgroups = Vec::new();
    for group in ["one", "two"] {
        start_server(&namespace, &server(group, node, group, 1)).await?;
        let uid = namespace.pod(group).await?.metadata.uid.unwrap_or_default();
        cgroups.push(
            pod_cgroup(&uid)?
                .ok_or_else(|| TestError::unexpected("the cgroup of a running pod", "missing"))?,
        );
    }
    let one = namespace.trace("one", spec("one")).await?;
    let two = namespace.trace("two", spec("two")).await?;
    reporting(&one, 1).await?;
    reporting(&two, 1).await?;
    let held = levers.kernel_objects(node)?;
    assert!(!held.programs.is_empty() && !held.links.is_empty(), "{held:?}");
    let selected = selected_cgroups(&held)?;
    assert!(cgroups.iter().all(|cgroup| selected.contains_key(cgroup)), "{cgroups:?} in {selected:?}");
    one.delete().await?;
    wait::until_async("the kernel's filter to forget the first trace's pod", REPORTED, async || {
        let selected = selected_cgroups(&held)?;
        let right = !selected.contains_key(&cgroups[0]) && selected.contains_key(&cgroups[1]);
        Ok(if right { Ok(()) } else { Err(format!("{selected:?}, pods {cgroups:?}")) })
    })
    .await?;
    two.delete().await?;
    levers.nothing_left(node, &held).await
}

/// A trace that matches no pod, and one of pods that cannot exist, do not affect another trace.
#[tokio::test]
async fn traces_of_nobody_disturb_nobody() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let empty = namespace.trace("empty", spec("nobody")).await?;
    let trace = namespace.trace("beside", spec("beside")).await?;
    let pods = exchange(&namespace, cluster.two_nodes(), "beside", "beside", 10).await?;
    let counted = finish(&namespace, &pods.each_ref()).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    let status = empty.status().await?;
    assert_eq!(
        (status.pods_matched, status.totals.rx_bytes, status.top_flows.len()),
        (0, 0, 0),
        "{status:?}"
    );
    Ok(())
}
