//! The cost of a trace for the API server: requests, counted by its own audit log.

use std::{collections::BTreeMap, time::Duration};

use kube::{Api, api::ListParams};
use traffictrace_crd::TrafficTrace;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        Cluster, PodPlan,
        levers::Levers,
        requests::{Account, Mark, Requests},
        spec,
    },
    wait,
};

use crate::setup::{REPORTED, arguments, reporting, server, start_server};

/// Length of each observation: many report intervals of 5 s.
const WINDOW: Duration = Duration::from_secs(45);

/// Returns the requests since `mark`, after printing them.
fn asked(what: &str, mark: &Mark) -> Result<BTreeMap<Account, Requests>> {
    let requests = mark.requests()?;
    println!("{what}, {} s:", WINDOW.as_secs());
    for (account, requests) in &requests {
        let each: Vec<_> = requests.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        println!("  {account}: {}", each.join(", "));
    }
    Ok(requests)
}

/// Returns the number of an account's requests whose verb and resource contain `part`.
fn count(requests: &BTreeMap<Account, Requests>, account: &Account, part: &str) -> u32 {
    let of_account = requests.get(account).into_iter().flatten();
    of_account.filter(|(what, _)| what.contains(part)).map(|(_, count)| count).sum()
}

/// Counts requests with no trace, with ten traces of a namespace without pods, and with one trace of a pod on one of
/// two nodes.
#[tokio::test]
async fn each_trace_costs_what_it_must() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let (here, there) = cluster.two_nodes();
    let (agent, other) = (Account::Agent(here.to_owned()), Account::Agent(there.to_owned()));
    // Traces of earlier tests are being deleted.
    let traces: Api<TrafficTrace> = Api::all(cluster.client().clone());
    wait::until_async("no trace in the cluster", REPORTED * 3, async || {
        let left = traces.list(&ListParams::default()).await.map_err(TestError::kube("list the traces"))?;
        Ok(if left.items.is_empty() { Ok(()) } else { Err(format!("{} traces", left.items.len())) })
    })
    .await?;
    let mark = levers.mark()?;
    // The length of the observation, not a wait for a condition.
    tokio::time::sleep(WINDOW).await;
    let idle = asked("no trace", &mark)?;
    for account in [&agent, &other] {
        assert_eq!(count(&idle, account, "") - count(&idle, account, "watch "), 0, "{account}: {idle:?}");
    }

    let empty = cluster.namespace().await?;
    let mark = levers.mark()?;
    for number in 0..10 {
        empty.trace(&format!("empty-{number}"), spec("nobody")).await?;
    }
    tokio::time::sleep(WINDOW).await;
    let empty_requests = asked("ten traces of a namespace without pods", &mark)?;
    for account in [&agent, &other] {
        let asked = count(&empty_requests, account, "") - count(&empty_requests, account, "watch ");
        assert_eq!(asked, 0, "{account}: {empty_requests:?}");
    }
    drop(empty);

    let namespace = cluster.namespace().await?;
    let server = server("server", here, "cost", 1);
    let addresses = start_server(&namespace, &server).await?;
    // The trace does not select the client, so the other node has no part in it.
    let work = ["load", "--for", "120", "--rate", "64KiB", "--wait", "60"];
    let client = PodPlan::new("client", there, "other", arguments(&[&work], &addresses[..1]));
    start_server(&namespace, &client).await?;
    let mark = levers.mark()?;
    let trace = namespace.trace("cost", spec("cost")).await?;
    reporting(&trace, 1).await?;
    tokio::time::sleep(WINDOW).await;
    let busy = asked("one trace with a pod that moves bytes", &mark)?;
    let of = |part: &str| count(&busy, &agent, part);
    assert_eq!(of("get traffictraces"), 1, "the trace is read once: {busy:?}");
    assert_eq!(of("get traffictracereports") + of("list traffictracereports"), 0, "{busy:?}");
    assert_eq!(of("create traffictracereports"), 1, "{busy:?}");
    let updates = of("update traffictracereports");
    let most = u32::try_from(WINDOW.as_secs() / 5).unwrap_or(u32::MAX) + 3;
    assert!((4..=most).contains(&updates), "{updates} reports, at most {most} expected: {busy:?}");
    // The other node has a pod in the namespace, so its agent reads the trace, and sends nothing else.
    assert_eq!(count(&busy, &other, "get traffictraces"), 1, "{busy:?}");
    assert_eq!(count(&busy, &other, "traffictracereports"), 0, "{busy:?}");
    let statuses = count(&busy, &Account::Controller, "update traffictraces/status");
    assert!(statuses <= most, "{statuses} statuses: {busy:?}");
    assert_eq!(count(&busy, &Account::Controller, "get "), 0, "{busy:?}");
    Ok(())
}
