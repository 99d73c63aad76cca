//! An API server that refuses writes, is slow and expires watches: nothing is lost, and the status catches up.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use traffictrace_crd::GroupBy;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, levers::Levers, spec},
};

use crate::{
    rollout::roll_out,
    setup::{finish, reporting, shows_exactly, transfer},
};

/// A proxy in front of the API server, which the agents and the controller are directed to; it ends when dropped.
struct Detour<'a> {
    levers: &'a Levers,
    host: String,
    port: String,
    faults: String,
}

impl<'a> Detour<'a> {
    fn open(levers: &'a Levers) -> Result<Self> {
        let printed = levers.run(&["proxy-start"])?;
        let words: Vec<&str> = printed.split_whitespace().collect();
        let [host, port, faults] = words.as_slice() else {
            return Err(TestError::unexpected("what proxy-start prints", printed));
        };
        Ok(Self { levers, host: (*host).to_owned(), port: (*port).to_owned(), faults: (*faults).to_owned() })
    }

    /// Sets the proxy's faults from now on.
    fn faults(&self, faults: &Value) -> Result<()> {
        println!("faults: {faults}");
        let written = fs::write(format!("{}.new", self.faults), faults.to_string());
        written.map_err(TestError::io("write the faults"))?;
        // Replaced in one step, because the server reads the file for each request.
        fs::rename(format!("{}.new", self.faults), &self.faults).map_err(TestError::io("rename the faults"))
    }
}

impl Drop for Detour<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.levers.run(&["proxy-stop"]) {
            eprintln!("the proxy is left behind: {error}");
        }
    }
}

/// Directs agents and controller to an address, or back to the API server's own, and waits until they have restarted.
async fn send(cluster: &Cluster, to: Option<(&str, &str)>) -> Result<()> {
    let host_and_port = to.map(|(host, port)| [host, port]);
    let variable = |(place, name): (usize, &str)| match host_and_port {
        Some(values) => json!({"name": name, "value": values[place]}),
        None => json!({"name": name, "$patch": "delete"}),
    };
    let names = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];
    let variables: Vec<Value> = names.into_iter().enumerate().map(variable).collect();
    let containers = |name: &str| json!({"containers": [{"name": name, "env": variables}]});
    roll_out(cluster, &containers("agent"), Some(&containers("controller"))).await
}

/// In the middle of a transfer, half of all writes are refused with 429, every answer is late, and watches expire
/// (410).
#[tokio::test]
async fn refusals_delays_and_expired_watches() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let detour = Detour::open(&levers)?;
    let done = through(&cluster, &detour).await;
    // Whatever the result, the next test must find the agents and the controller connected to the API server itself.
    send(&cluster, None).await?;
    done
}

async fn through(cluster: &Cluster, detour: &Detour<'_>) -> Result<()> {
    send(cluster, Some((&detour.host, &detour.port))).await?;
    let namespace = cluster.namespace().await?;
    let trace = namespace.trace("answers", spec("answers")).await?;
    let [server, client] = transfer(&namespace, cluster.two_nodes(), "answers", 45).await?;
    reporting(&trace, 2).await?;
    let never_falls = trace.watch();
    let busy = json!({"methods": ["PUT", "POST", "PATCH"], "contains": "traffictrace", "share": 0.5, "status": 429,
                      "retryAfterSeconds": 1});
    let slow = json!({"calls": true, "share": 1.0, "delayMilliseconds": 700});
    let expired = json!({"watch": true, "share": 0.7, "status": 410});
    for faults in [json!([busy, slow]), json!([slow, expired, busy])] {
        detour.faults(&faults)?;
        // The length of the fault, which is several report intervals.
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    detour.faults(&json!([]))?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    let status = shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert_eq!((status.interruptions.len(), status.summary.lost.as_str()), (0, "none"), "{status:?}");
    never_falls.end().await?;
    Ok(())
}
