//! The delays that users see. The times are only printed, because there is no fixed limit on a machine that is shared.

use std::time::{Duration, Instant};

use traffictrace_crd::{Duration as Span, TrafficTraceSpec};
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
/// Interval of the traces. A first report that waited for an interval would come after this time, plus or minus 5 %.
const INTERVAL: Duration = Duration::from_secs(60);
/// Limit on the time from a trace's creation until the kernel's filter has its pod. Cgroups that nothing announced are
/// found by a scan every 15 s; a filter that waited for the scan would exceed this limit in every third try.
const TOLD: Duration = Duration::from_secs(10);

/// Prints the median and the largest time; with so few values, the largest is the 99th percentile.
fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: p50 {middle:?}, p99 {last:?} of {} times", times.len());
}

/// The filter is in the kernel, and the status has flows, long before an interval is over. Both ends run on this
/// machine, so there is only one clock.
#[tokio::test]
async fn neither_the_filter_nor_the_first_flows_wait_for_an_interval() -> Result<()> {
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
    let spec =
        || TrafficTraceSpec { interval: Span::new(format!("{}s", INTERVAL.as_secs())), ..spec("timing") };
    // The first trace of a node loads the programs; a second one finds them loaded.
    for (what, beside) in [("the first trace of a node", 0), ("a trace beside another", 1)] {
        if beside == 1 {
            namespace.trace("beside", spec()).await?;
        }
        let (mut armed, mut shown) = (Vec::new(), Vec::new());
        for round in 0..TIMES {
            traces(beside).await?;
            let begin = Instant::now();
            let trace = namespace.trace(&format!("timing-{beside}-{round}"), spec()).await?;
            traces(beside + 1).await?;
            armed.push(begin.elapsed());
            trace
                .status_where("a flow before its interval is over", INTERVAL / 2, |status| {
                    if status.top_flows.is_empty() { Err(format!("{status:?}")) } else { Ok(()) }
                })
                .await?;
            shown.push(begin.elapsed());
            trace.delete().await?;
        }
        print(&format!("{what}: apply to filter armed"), &mut armed);
        print(&format!("{what}: apply to first flows in the status"), &mut shown);
        let slowest = armed.into_iter().max().unwrap_or_default();
        assert!(slowest < TOLD, "{what}: armed after {slowest:?}, as if the agent had to find it by itself");
    }
    Ok(())
}
