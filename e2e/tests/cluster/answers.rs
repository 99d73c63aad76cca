//! An API server that refuses, is slow and forgets: nothing is lost, and the status catches up.

use std::{fs, time::Duration};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use traffictrace_crd::GroupBy;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, PodPlan, levers::Levers, spec},
    wait,
};

use crate::setup::{arguments, finish, reporting, server, shows_exactly, start_server};

/// How long agents and controller may take to begin anew.
const ROLLED_OUT: Duration = Duration::from_secs(180);

/// The server in front of the API server, to which agents and controller are sent; it ends when dropped.
struct Detour<'a> {
    levers: &'a Levers,
    host: String,
    port: String,
    faults: String,
}

impl<'a> Detour<'a> {
    fn open(levers: &'a Levers) -> Result<Self> {
        let printed = levers.ask(&["proxy-start"])?;
        let words: Vec<&str> = printed.split_whitespace().collect();
        let [host, port, faults] = words.as_slice() else {
            return Err(TestError::unexpected("what proxy-start prints", printed));
        };
        Ok(Self { levers, host: (*host).to_owned(), port: (*port).to_owned(), faults: (*faults).to_owned() })
    }

    /// What it does wrong from now on.
    fn faults(&self, faults: &Value) -> Result<()> {
        println!("faults: {faults}");
        let written = fs::write(format!("{}.new", self.faults), faults.to_string());
        written.map_err(TestError::io("write the faults"))?;
        // At once: the server reads the file for each request.
        fs::rename(format!("{}.new", self.faults), &self.faults).map_err(TestError::io("rename the faults"))
    }
}

impl Drop for Detour<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.levers.ask(&["proxy-stop"]) {
            eprintln!("the proxy is left behind: {error}");
        }
    }
}

/// Sends agents and controller to an address, or back to the API server's own, and waits until they run there.
async fn send(cluster: &Cluster, to: Option<(&str, &str)>) -> Result<()> {
    let ours = ListParams::default().labels("app.kubernetes.io/name=traffictrace");
    let sets: Api<DaemonSet> = Api::all(cluster.client().clone());
    let sets = sets.list(&ours).await.map_err(TestError::kube("list the DaemonSets"))?;
    let deployments: Api<Deployment> = Api::all(cluster.client().clone());
    let deployments = deployments.list(&ours).await.map_err(TestError::kube("list the Deployments"))?;
    let (Some(set), Some(deployment)) = (sets.items.first(), deployments.items.first()) else {
        return Err(TestError::unexpected("the product", "not installed"));
    };
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let host_and_port = to.map(|(host, port)| [host, port]);
    let variable = |(place, name): (usize, &str)| match host_and_port {
        Some(values) => json!({"name": name, "value": values[place]}),
        None => json!({"name": name, "$patch": "delete"}),
    };
    let names = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];
    let variables: Vec<Value> = names.into_iter().enumerate().map(variable).collect();
    let patch = |container: &str| {
        Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
            {"name": container, "env": variables}
        ]}}}}))
    };
    let sets: Api<DaemonSet> = Api::namespaced(cluster.client().clone(), &namespace);
    let name = set.metadata.name.clone().unwrap_or_default();
    let patched = sets.patch(&name, &PatchParams::default(), &patch("agent")).await;
    patched.map_err(TestError::kube("change the DaemonSet"))?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().clone(), &namespace);
    let controller = deployment.metadata.name.clone().unwrap_or_default();
    let patched = deployments.patch(&controller, &PatchParams::default(), &patch("controller")).await;
    patched.map_err(TestError::kube("change the Deployment"))?;
    wait::until_async("agents and controller to run anew", ROLLED_OUT, async || {
        let set = sets.get(&name).await.map_err(TestError::kube("read the DaemonSet"))?;
        let deployment = deployments.get(&controller).await;
        let deployment = deployment.map_err(TestError::kube("read the Deployment"))?;
        let (wanted, status) = (set.metadata.generation, set.status.unwrap_or_default());
        let agents = status.observed_generation == wanted
            && status.updated_number_scheduled == Some(status.desired_number_scheduled)
            && status.number_ready == status.desired_number_scheduled;
        let (wanted, state) = (deployment.metadata.generation, deployment.status.unwrap_or_default());
        let controller = state.observed_generation == wanted
            && state.updated_replicas == Some(1)
            && state.replicas == Some(1)
            && state.ready_replicas == Some(1);
        Ok(if agents && controller { Ok(()) } else { Err(format!("{status:?} {state:?}")) })
    })
    .await
}

/// Half of all writes are refused with 429, every answer is late, and watches are told that they are too old (410), in
/// the middle of a transfer.
#[tokio::test]
async fn refusals_delays_and_expired_watches() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let detour = Detour::open(&levers)?;
    let done = through(&cluster, &detour).await;
    // Whatever came of it, the next test finds them at the API server.
    send(&cluster, None).await?;
    done
}

async fn through(cluster: &Cluster, detour: &Detour<'_>) -> Result<()> {
    send(cluster, Some((&detour.host, &detour.port))).await?;
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let trace = namespace.trace("answers", spec("answers")).await?;
    let server = server("server", there, "answers", 2);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["load", "--for", "45", "--rate", "600KiB", "--reply", "200KiB", "--connections", "2"];
    let client =
        PodPlan::new("client", here, "answers", arguments(&[&work, &["--wait", "60"]], &addresses[..1]));
    namespace.start(&client).await?;
    reporting(&trace, 2).await?;
    let never_falls = trace.watch();
    let busy = json!({"methods": ["PUT", "POST", "PATCH"], "contains": "traffictrace", "share": 0.5, "status": 429,
                      "retryAfterSeconds": 1});
    let slow = json!({"calls": true, "share": 1.0, "delayMilliseconds": 700});
    let expired = json!({"watch": true, "share": 0.7, "status": 410});
    for faults in [json!([busy, slow]), json!([slow, expired, busy])] {
        detour.faults(&faults)?;
        // The fault is its length: some report intervals.
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    detour.faults(&json!([]))?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    let status = shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert_eq!((status.interruptions.len(), status.summary.lost.as_str()), (0, "none"), "{status:?}");
    assert!(never_falls.end().await? > 0, "the status was read");
    Ok(())
}
