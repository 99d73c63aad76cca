//! Agents whose clock is a minute off: they trace by the API server's time, and the status names them.

use std::path::Path;

use serde_json::json;
use traffictrace_crd::{Duration as Span, GroupBy, Phase, TrafficTraceSpec, TrafficTraceStatus};
use traffictrace_e2e::support::{
    Result,
    cluster::{Cluster, levers::Levers, spec},
    needs,
};

use crate::{
    rollout::roll_out,
    setup::{REPORTED, exchange, finish, reporting, shows_exactly},
};

/// Folders in which Debian installs the library that fakes the time.
const FOLDERS: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"];

/// A trace that is shorter than the clocks are ahead still runs for its whole time, exact to the byte.
#[tokio::test]
async fn a_minute_ahead() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    if Levers::find().is_none() {
        return Ok(());
    }
    let Some(folder) = FOLDERS.into_iter().find(|folder| Path::new(folder).is_dir()) else {
        needs::skip("no libfaketime here (apt-get install libfaketime)");
        return Ok(());
    };
    let ahead = json!({
        "volumes": [{"name": "faketime", "hostPath": {"path": folder, "type": "Directory"}}],
        "containers": [{
            "name": "agent",
            "volumeMounts": [{"name": "faketime", "mountPath": folder, "readOnly": true}],
            "env": [
                {"name": "LD_PRELOAD", "value": format!("{folder}/libfaketimeMT.so.1")},
                {"name": "FAKETIME", "value": "+60s"},
                {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
            ],
        }],
    });
    let added = ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"];
    let none = added.map(|name| json!({"name": name, "$patch": "delete"}));
    let as_before = json!({
        "volumes": [{"name": "faketime", "$patch": "delete"}],
        "containers": [{
            "name": "agent",
            "volumeMounts": [{"mountPath": folder, "$patch": "delete"}],
            "env": none,
        }],
    });
    let done = match roll_out(&cluster, &ahead, None).await {
        Ok(()) => traced(&cluster).await,
        Err(error) => Err(error),
    };
    roll_out(&cluster, &as_before, None).await?;
    done
}

async fn traced(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let short = TrafficTraceSpec { duration: Span::new("40s"), ..spec("ahead") };
    let trace = namespace.trace("ahead", short).await?;
    let [server, client] = exchange(&namespace, (here, there), "ahead", "ahead", 8).await?;
    reporting(&trace, 2).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    let named = |status: &TrafficTraceStatus| {
        let off = |node: &str| {
            let clock = status.skewed_clocks.iter().find(|clock| clock.node_name == node);
            clock.is_some_and(|clock| (58..=61).contains(&clock.offset_seconds))
        };
        if off(here) && off(there) { Ok(status.clone()) } else { Err(format!("{:?}", status.skewed_clocks)) }
    };
    let status = trace.status_where("the clocks that are off", REPORTED, named).await?;
    println!("{} | {}", status.summary.lost, status.summary.message);
    assert_eq!(status.phase, Some(Phase::Running), "it is not over for a clock that is ahead");
    let over = trace.status_where("its end", REPORTED * 2, |status| {
        if status.phase == Some(Phase::Completed) {
            Ok(status.clone())
        } else {
            Err(format!("{:?}", status.phase))
        }
    });
    let over = over.await?;
    assert!(over.missing_nodes.is_empty() && over.interruptions.is_empty(), "{over:?}");
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    Ok(())
}
