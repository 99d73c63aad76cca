//! Tests of the kubectl plugin with the role `edit` in one namespace and no other right. Its output equals the pods' own
//! counts and the status, it reports missing parts within seconds, and it leaves nothing behind.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use traffictrace_crd::{Duration as Span, Phase, TrafficTrace, TrafficTraceSpec};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{ApiServer, Cluster, Namespace, plugin::Plugin, spec},
    process::Process,
    wait,
};

use crate::{
    controller::scale,
    setup::{REPORTED, exchange, finish, reporting, server, start_server},
};

/// Maximum time until a missing part must have been reported, and extra time for a busy machine.
const TOLD: Duration = Duration::from_secs(5);
const SPARE: Duration = Duration::from_secs(3);
/// Maximum time until the plugin has deleted its trace and ended.
const ENDED: Duration = Duration::from_secs(20);

fn json_of(line: &str) -> Result<Value> {
    serde_json::from_str(line).map_err(|error| TestError::unexpected(line, error))
}

/// Bytes received and sent in a snapshot.
fn bytes(snapshot: &Value) -> (u64, u64) {
    let of = |name: &str| snapshot["totals"][name].as_u64().unwrap_or_default();
    (of("rxBytes"), of("txBytes"))
}

/// Waits until no trace is left in the namespace.
async fn no_trace_is_left(namespace: &Namespace) -> Result<()> {
    let traces = namespace.api::<TrafficTrace>();
    wait::until_async("no trace to be left", ENDED, async || {
        let left = traces.list(&Default::default()).await.map_err(TestError::kube("list the traces"))?.items;
        let left: Vec<_> = left.into_iter().filter_map(|trace| trace.metadata.name).collect();
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .await
}

/// Returns the name of the only trace in a namespace, once it exists.
async fn only_trace(namespace: &Namespace) -> Result<String> {
    let traces = namespace.api::<TrafficTrace>();
    wait::until_async("the plugin's trace", ENDED, async || {
        let found = traces.list(&Default::default()).await.map_err(TestError::kube("list the traces"))?.items;
        let names: Vec<_> = found.into_iter().filter_map(|trace| trace.metadata.name).collect();
        Ok(if let [name] = names.as_slice() { Ok(name.clone()) } else { Err(format!("{names:?}")) })
    })
    .await
}

/// Waits at most `limit` for a line of the merged output that contains `part`.
fn line_with(process: &Process, part: &str, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    while let Some(line) = process.line(deadline.saturating_duration_since(Instant::now()))? {
        println!("  {line}");
        if line.contains(part) {
            return Ok(line);
        }
    }
    Err(TestError::unexpected(format!("the output without {part:?}"), "its end"))
}

/// A run prints exactly the bytes that the processes counted. At SIGTERM the trace is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_shows_what_was_counted_and_leaves_nothing() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let plugin = Plugin::of_editor(&namespace).await?;
    let run = plugin.start(&["run", "-l", "trace in (run,other)", "--interval", "5s", "-o", "json"])?;
    let name = only_trace(&namespace).await?;
    assert!(name.starts_with("trace-"), "{name}");
    let pods = exchange(&namespace, cluster.two_nodes(), "run", "run", 40).await?;
    let counted = finish(&namespace, &pods.each_ref()).await?;
    let lines = counted.iter().flat_map(|counted| &counted.lines);
    let truth = lines.fold((0, 0), |sum, line| (sum.0 + line.rx_bytes, sum.1 + line.tx_bytes));
    assert!(truth.0 > 0 && truth.1 > 0, "the workloads moved nothing");
    let deadline = Instant::now() + REPORTED;
    loop {
        let line = run.line(deadline.saturating_duration_since(Instant::now()))?;
        let line = line.ok_or_else(|| TestError::unexpected("the output of run", "its end"))?;
        let shown = bytes(&json_of(&line)?);
        println!("shown {shown:?}, counted {truth:?}");
        if shown == truth {
            break;
        }
    }
    run.signal(Signal::TERM)?;
    let ended = run.wait(ENDED)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    for part in ["created", "deleted"] {
        assert!(ended.stderr.contains(&format!("{name} {part}")), "{}", ended.stderr);
    }
    no_trace_is_left(&namespace).await
}

/// If a trace ends by itself, the run prints its last numbers, deletes the trace unless it has to be kept, and
/// succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_its_trace() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let plugin = Plugin::of_editor(&namespace).await?;
    start_server(&namespace, &server("server", cluster.two_nodes().0, "short", 1)).await?;
    for keep in [false, true] {
        let mut arguments = vec!["run", "pod/server", "short", "--duration", "8s", "-o", "json"];
        arguments.extend(keep.then_some("--keep"));
        let ended = plugin.start(&arguments)?.wait(Duration::from_secs(90))?;
        assert!(ended.status.success(), "{}", ended.stderr);
        let last = json_of(ended.lines.last().map_or("", String::as_str))?;
        assert_eq!(last["state"], "Completed", "{last}");
        let found = namespace.api::<TrafficTrace>().get_opt("short").await;
        let found = found.map_err(TestError::kube("read the trace"))?;
        assert_eq!(found.is_some(), keep, "{}", ended.stderr);
    }
    Ok(())
}

/// For a trace that is over, `top`, `get` and `describe` show the numbers of its status in every output
/// format.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_has_the_numbers_of_the_status() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let plugin = Plugin::of_editor(&namespace).await?;
    let short = TrafficTraceSpec { duration: Span::new("20s"), ..spec("forms") };
    let trace = namespace.trace("forms", short).await?;
    let pods = exchange(&namespace, cluster.two_nodes(), "forms", "forms", 20).await?;
    finish(&namespace, &pods.each_ref()).await?;
    let status = trace.status_where("Completed", Duration::from_secs(90), |status| {
        if status.phase == Some(Phase::Completed) { Ok(status.clone()) } else { Err(format!("{status:?}")) }
    });
    let status = status.await?;
    let truth = (status.totals.rx_bytes.cast_unsigned(), status.totals.tx_bytes.cast_unsigned());
    assert!(truth.0 > 0, "{status:?}");

    let snapshot = json_of(&plugin.output(&["top", "forms", "-o", "json"])?)?;
    assert_eq!(bytes(&snapshot), truth);
    assert_eq!(snapshot["flows"].as_array().map(Vec::len), Some(status.top_flows.len()));

    let csv = plugin.output(&["top", "forms", "-o", "csv"])?;
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let sum = |name: &str| -> u64 {
        let at = names.iter().position(|column| *column == name);
        let cells = csv.lines().skip(1).filter_map(|line| line.split(',').nth(at?)?.parse::<u64>().ok());
        cells.sum()
    };
    assert_eq!((sum("rxBytes"), sum("txBytes")), truth, "{csv}");

    let table = plugin.output(&["top", "forms", "--by", "pod"])?;
    for part in ["state=completed", "forms-server", "forms-client", "TOTAL"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let object = json_of(&plugin.output(&["get", "forms", "-o", "json"])?)?;
    assert_eq!(object["status"]["totals"]["rxBytes"].as_u64(), Some(truth.0));
    let list = plugin.output(&["get", "--no-headers", "-o", "name"])?;
    assert_eq!(list, "traffictrace.traffictrace.dev/forms");
    let table = plugin.output(&["get", "-o", "wide"])?;
    for part in ["NAME", "PHASE", "TOP TALKER", "MESSAGE", "forms", "Completed", &status.summary.rx] {
        assert!(table.contains(part), "{part}: {table}");
    }
    Ok(())
}

/// A refusal is printed in the API server's words, with exit status 1, and nothing is created.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_those_of_the_api_server() -> Result<()> {
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let (namespace, other) = (server.namespace().await?, server.namespace().await?);
    let plugin = Plugin::of_editor(&namespace).await?;
    for (arguments, parts) in [
        (
            &["run", "-l", "app=web", "--duration", "1s"][..],
            &["is invalid", "spec.duration", "at least 5s"][..],
        ),
        (
            &["run", "-l", "app=web", "--remote-cidr", "10.0.0.0/99"],
            &["spec.remoteCIDRs[0]", "Invalid value"],
        ),
        (&["run", "-l", "app=web", "Not_A_Name"], &["metadata.name"]),
        (
            &["run", "deploy/nowhere"],
            &["Error from server (NotFound): deployments.apps \"nowhere\" not found"],
        ),
        (
            &["top", "nowhere"],
            &["Error from server (NotFound): traffictraces.traffictrace.dev \"nowhere\" not found"],
        ),
        (&["get", "nowhere"], &["Error from server (NotFound)"]),
        (&["get", "-A"], &["Error from server (Forbidden)", "at the cluster scope"]),
        (&["run", "-n", other.name()], &["Error from server (Forbidden)", "cannot create resource"]),
        (&["top", "x", "--context", "nowhere"], &["context \"nowhere\" does not exist"]),
    ] {
        let ended = plugin.run(arguments)?;
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {}", ended.stderr);
        for part in parts {
            assert!(ended.stderr.contains(part), "{arguments:?} does not say {part}: {}", ended.stderr);
        }
    }
    let ended = plugin.run(&["get"])?;
    let expected = format!("No resources found in {} namespace.\n", namespace.name());
    assert_eq!((ended.status.code(), ended.stderr, ended.lines), (Some(0), expected, Vec::new()));
    no_trace_is_left(&other).await?;
    no_trace_is_left(&namespace).await
}

/// Starts a run with merged output, and waits until it reports the missing part; fails if the report does not come in
/// time.
fn told(plugin: &Plugin, selector: &str, part: &str) -> Result<()> {
    let run = plugin.start_merged(&["run", "-l", selector])?;
    line_with(&run, "created", ENDED)?;
    let created = Instant::now();
    line_with(&run, part, TOLD + SPARE)?;
    println!("told after {:?}: {part}", created.elapsed());
    run.signal(Signal::INT)?;
    let ended = run.wait(ENDED)?;
    assert!(ended.status.success(), "{:?}", ended.lines);
    Ok(())
}

/// Without pods, or without an agent on the pods' node, the run reports that within 5 s and keeps waiting.
#[tokio::test(flavor = "multi_thread")]
async fn missing_pods_and_agents_are_told_within_5_seconds() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let plugin = Plugin::of_editor(&namespace).await?;
    told(&plugin, "app=nobody", "waits for such pods")?;
    // A pod that is bound to a node that does not exist. The pod garbage collector deletes such pods, but
    // only after the run has reported.
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "stranded", "labels": {"app": "stranded"}},
        "spec": {"nodeName": "no-such-node", "containers": [{"name": "main", "image": "none"}],
                 "automountServiceAccountToken": false},
    }))
    .map_err(|error| TestError::unexpected("the test's own pod", error))?;
    let created = namespace.api::<Pod>().create(&PostParams::default(), &pod).await;
    created.map_err(TestError::kube("create a pod on no node"))?;
    told(&plugin, "app=stranded", "No agent has reported within 4 s from the 1 node")?;
    no_trace_is_left(&namespace).await
}

/// Without a controller, `run` and `check --try` report that within 5 s. With a controller again, the check succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_controller_is_told_within_5_seconds() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let plugin = Plugin::of_editor(&namespace).await?;
    scale(&cluster, 0).await?;
    let run = told(&plugin, "app=nobody", "No controller has answered within 4 s");
    let check = plugin.run(&["check", "--try"]);
    // The controller is restored before any result is evaluated, because the next test needs it.
    scale(&cluster, 1).await?;
    run?;
    let check = check?;
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(check.lines[0].contains("no controller has answered"), "{check:?}");
    no_trace_is_left(&namespace).await
}

/// A check reports what the account may do and see, and which parts respond. The exit status shows whether
/// tracing works.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_what_is_there() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (namespace, other) = (cluster.namespace().await?, cluster.namespace().await?);
    let plugin = Plugin::of_editor(&namespace).await?;
    let (here, there) = cluster.two_nodes();
    start_server(&namespace, &server("one", here, "check", 1)).await?;
    start_server(&namespace, &server("two", there, "check", 1)).await?;

    let text = plugin.output(&["check"])?;
    for part in ["Tracing works", "v1alpha1", "create, get, list, watch, delete traffictraces", "not visible"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let tried = json_of(&plugin.output(&["check", "--try", "-o", "json"])?)?;
    let attempt = &tried["attempt"];
    assert_eq!(
        (&tried["works"], &attempt["pods"], &attempt["nodes"], &attempt["nodesReporting"]),
        (&json!(true), &json!(2), &json!(2), &json!(2)),
        "{tried:#}"
    );
    no_trace_is_left(&namespace).await?;

    let elsewhere = plugin.run(&["check", "-n", other.name()])?;
    assert_eq!(elsewhere.status.code(), Some(1), "{elsewhere:?}");
    assert!(elsewhere.lines[0].contains("may not create"), "{elsewhere:?}");

    let seen = json_of(&Plugin::of_admin(&namespace)?.output(&["check", "-o", "json"])?)?;
    assert_eq!(seen["controller"]["isReady"], json!(true), "{seen:#}");
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client().clone());
    let nodes = nodes.list(&Default::default()).await.map_err(TestError::kube("list the nodes"))?.items.len();
    let agents = &seen["agents"];
    assert_eq!((&agents["ready"], &agents["notReady"]), (&json!(nodes), &json!([])), "{seen:#}");
    Ok(())
}

/// `top` follows a running trace and leaves it unchanged: `top` ends after its count, and the trace
/// continues.
#[tokio::test(flavor = "multi_thread")]
async fn top_follows_and_leaves_the_trace() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let plugin = Plugin::of_editor(&namespace).await?;
    let trace = namespace.trace("followed", spec("followed")).await?;
    start_server(&namespace, &server("server", cluster.two_nodes().0, "followed", 1)).await?;
    reporting(&trace, 1).await?;
    let ended =
        plugin.start(&["top", "followed", "-o", "json", "--count", "2"])?.wait(Duration::from_secs(60))?;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.lines.len(), 2, "{:?}", ended.lines);
    let followed = plugin.start(&["top", "followed", "-o", "json"])?;
    followed.line(REPORTED)?;
    trace.delete().await?;
    let ended = followed.wait(ENDED)?;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("was deleted"), "{}", ended.stderr);
    Ok(())
}
