//! How traces end, and what they leave in the kernel.

use std::time::Duration;

use traffictrace_crd::{Duration as Span, GroupBy, Phase, TrafficTraceSpec, condition_type};
use traffictrace_e2e::support::{
    Result, TestError,
    bpf::Objects,
    cluster::{
        Cluster, PodPlan,
        levers::{Levers, pod_cgroup, selected_cgroups},
        spec,
    },
    wait,
};

use crate::setup::{REPORTED, arguments, finish, reporting, seed, server, shows_exactly, start_server};

/// A trace that ends by itself has the exact numbers as its last word, and takes its programs with it.
#[tokio::test]
async fn expiry_completes() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let short = TrafficTraceSpec { duration: Span::new("20s"), ..spec("expiry") };
    let trace = namespace.trace("expiry", short).await?;
    let server = server("server", there, "expiry", 40);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["client", "--connections", "40", "--concurrency", "4", "--wait", "60"];
    let client =
        PodPlan::new("client", here, "expiry", arguments(&[&work, &["--seed", &seed()]], &addresses));
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    let complete = trace.status_where("Completed", Duration::from_secs(90), |status| {
        if status.phase == Some(Phase::Completed) { Ok(status.clone()) } else { Err(format!("{status:?}")) }
    });
    let complete = complete.await?;
    let condition = complete.conditions.iter().find(|condition| condition.type_ == condition_type::COMPLETE);
    assert!(condition.is_some_and(|condition| condition.status == "True"), "{:?}", complete.conditions);
    assert!(complete.missing_nodes.is_empty(), "{:?}", complete.missing_nodes);
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert!(trace.reports().await?.iter().all(|report| report.spec.is_final), "every report is the last");
    Ok(())
}

/// `ttlAfterFinished` takes the trace away, and its reports with it.
#[tokio::test]
async fn finished_traces_go_away() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let spec =
        TrafficTraceSpec { duration: Span::new("5s"), ttl_after_finished: Span::new("5s"), ..spec("nobody") };
    let trace = namespace.trace("brief", spec).await?;
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

/// The kernel's filter has the pods of each trace while the trace is there, and nothing is left after the last one.
#[tokio::test]
async fn deletion_takes_everything_out_of_the_kernel() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (node, _) = cluster.two_nodes();
    // With no trace there is nothing; those of the tests before are being deleted.
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

/// A trace that matches no pod, and one of pods that cannot be, change nothing for the one beside them.
#[tokio::test]
async fn traces_of_nobody_disturb_nobody() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let empty = namespace.trace("empty", spec("nobody")).await?;
    let trace = namespace.trace("beside", spec("beside")).await?;
    let server = server("server", there, "beside", 10);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["client", "--connections", "10", "--wait", "60"];
    let client =
        PodPlan::new("client", here, "beside", arguments(&[&work, &["--seed", &seed()]], &addresses));
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    let status = empty.status().await?;
    assert_eq!(
        (status.pods_matched, status.totals.rx_bytes, status.top_flows.len()),
        (0, 0, 0),
        "{status:?}"
    );
    Ok(())
}
