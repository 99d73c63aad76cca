//! How long a user waits, measured and held against the budgets.

use std::time::{Duration, Instant};

use traffictrace_e2e::support::{
    Result, TestError, bpf,
    cluster::{
        Cluster, PodPlan,
        levers::{Levers, pod_cgroup, selected_cgroups},
        spec,
    },
    wait,
};

use crate::setup::{REPORTED, arguments, server, start_server};

const TIMES: usize = 10;
/// From `kubectl apply` to the filter in the kernel.
const ARMED: Duration = Duration::from_millis(300);
/// From `kubectl apply` to flows in the status.
const SHOWN: Duration = Duration::from_secs(5);
/// What a busy two-core machine, which also runs the cluster and this measurement, may take on top.
const NOISE: Duration = Duration::from_secs(2);

/// The values at the middle and at the end of what was measured: of few values, p99 is the largest.
fn print(what: &str, times: &mut [Duration]) -> Duration {
    times.sort();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: p50 {middle:?}, p99 {last:?} of {} times", times.len());
    last
}

/// Both ends run on this machine, so its clock is the only one.
#[tokio::test]
async fn from_apply_to_armed_and_to_the_first_status() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let server = server("server", there, "other", 1);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["load", "--for", "300", "--rate", "64KiB", "--wait", "60"];
    let client = PodPlan::new("client", here, "timing", arguments(&[&work], &addresses[..1]));
    start_server(&namespace, &client).await?;
    let uid = namespace.pod("client").await?.metadata.uid.unwrap_or_default();
    let cgroup = pod_cgroup(&uid)?.ok_or_else(|| TestError::unexpected("the cgroup of a pod", "missing"))?;
    let agent = levers.agent_pid(here)?;
    let traces = async |bits: u32| {
        wait::until_async("the traces in the kernel's filter", REPORTED, async || {
            let selected = selected_cgroups(&bpf::held_by(agent)?)?;
            let now = selected.get(&cgroup).map_or(0, |bits| bits.count_ones());
            Ok(if now == bits { Ok(()) } else { Err(format!("{selected:?}")) })
        })
        .await
    };
    // The first trace of a node loads the programs; one beside it finds them there.
    for (what, beside) in [("the first trace of a node", 0), ("a trace beside another", 1)] {
        if beside == 1 {
            namespace.trace("beside", spec("timing")).await?;
        }
        let (mut armed, mut shown) = (Vec::new(), Vec::new());
        for round in 0..TIMES {
            traces(beside).await?;
            let begin = Instant::now();
            let trace = namespace.trace(&format!("timing-{beside}-{round}"), spec("timing")).await?;
            traces(beside + 1).await?;
            armed.push(begin.elapsed());
            trace
                .status_where("a flow", REPORTED, |status| {
                    if status.top_flows.is_empty() { Err(format!("{status:?}")) } else { Ok(()) }
                })
                .await?;
            shown.push(begin.elapsed());
            trace.delete().await?;
        }
        let armed = print(&format!("{what}: apply to filter armed"), &mut armed);
        let shown = print(&format!("{what}: apply to first flows in the status"), &mut shown);
        assert!(armed <= ARMED + NOISE, "armed after {armed:?}");
        assert!(shown <= SHOWN + NOISE, "shown after {shown:?}");
    }
    Ok(())
}
