//! Stacks: each node has a profile, the status has the profiles' sums, and agents take stacks only if the cluster's
//! operator allows it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use traffictrace_crd::{
    Duration as Span, GroupBy, Phase, StackTotals, StacksSpec, TrafficTraceProfile, TrafficTraceSpec,
    TrafficTraceStatus, condition_type, report_name,
};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        Cluster, Trace,
        access::{Accounts, client_with_token},
        attempt::Attempt,
        levers::Levers,
        profile_of, spec,
    },
    needs, wait,
};

use crate::{
    rollout::roll_out,
    setup::{REPORTED, finish, reporting, shows_exactly, transfer},
    tenants::{
        Expected::{Allowed, NoRight, Policy},
        assert_answers, everywhere, json_of, ours, stolen_token,
    },
};

/// Argument by which the chart forbids agents to take stacks.
const DENIED: &str = "--deny=stacks";
/// First bytes of a gzip file, in base64.
const GZIP: &str = "H4sI";
/// Time limit until a trace of one minute has ended, with its last reports.
const OVER: Duration = Duration::from_secs(120);

/// Spec of a trace of one minute with stacks.
pub(crate) fn asking(group: &str) -> TrafficTraceSpec {
    TrafficTraceSpec { stacks: Some(StacksSpec::default()), duration: Span::new("60s"), ..spec(group) }
}

/// Runs a test with agents that may take stacks, or may not, as the chart's value `agent.stacks` sets it.
pub(crate) async fn where_stacks_are(
    allowed: bool,
    test: impl AsyncFnOnce(&Cluster) -> Result<()>,
) -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let accounts = Accounts::find(cluster.client()).await?;
    let sets: Api<DaemonSet> = Api::namespaced(cluster.client().clone(), &accounts.namespace);
    let set = sets.get(&accounts.daemon_set).await.map_err(TestError::kube("read the DaemonSet"))?;
    let pod = json_of(&set.spec.template.spec)?;
    let agent = &pod["containers"][0];
    let arguments: Vec<&str> =
        agent["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if arguments.contains(&DENIED) != allowed {
        return test(&cluster).await;
    }
    let change = |host_pids: &Value, arguments: &Value, capabilities: &Value| {
        json!({ "hostPID": host_pids, "containers": [{
            "name": agent["name"], "args": arguments,
            "securityContext": { "capabilities": { "add": capabilities } },
        }]})
    };
    let before = &agent["securityContext"]["capabilities"]["add"];
    let changed = if allowed {
        let arguments: Vec<_> = arguments.iter().filter(|argument| **argument != DENIED).collect();
        let more = ["SYS_PTRACE", "SYSLOG"].map(Value::from);
        let had = before.as_array().cloned().unwrap_or_default();
        let added: Vec<_> = more.into_iter().filter(|one| !had.contains(one)).collect();
        change(&json!(true), &json!(arguments), &json!([had, added].concat()))
    } else {
        change(&pod["hostPID"], &json!([arguments, vec![DENIED]].concat()), before)
    };
    let done = match roll_out(&cluster, &changed, None).await {
        Ok(()) => test(&cluster).await,
        Err(error) => Err(error),
    };
    roll_out(&cluster, &change(&pod["hostPID"], &agent["args"], before), None).await?;
    done
}

/// Returns the message of the condition Degraded; empty if nothing is missing.
pub(crate) fn degraded(status: &TrafficTraceStatus) -> &str {
    let of_kind = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        c.type_ == condition_type::DEGRADED && c.status == "True"
    };
    status.conditions.iter().find(of_kind).map_or("", |condition| condition.message.as_str())
}

/// Waits until a trace is over; returns its final status.
pub(crate) async fn over(trace: &Trace) -> Result<TrafficTraceStatus> {
    let completed = trace.status_where("its end", OVER, |status| {
        if status.phase == Some(Phase::Completed) {
            Ok(status.clone())
        } else {
            Err(format!("{:?}", status.phase))
        }
    });
    completed.await
}

/// Waits until a trace has the last profiles of `nodes` nodes.
pub(crate) async fn last_profiles(trace: &Trace, nodes: usize) -> Result<Vec<TrafficTraceProfile>> {
    wait::until_async("the last profiles", REPORTED, async || {
        let profiles = trace.profiles().await?;
        let last = profiles.iter().filter(|profile| profile.spec.is_final).count();
        Ok(if last == nodes { Ok(profiles) } else { Err(format!("{last} last ones of {}", profiles.len())) })
    })
    .await
}

/// With two pods on two nodes, the sums of the profiles equal those of the status and the bytes that the pods moved,
/// and the profiles are deleted with their trace.
#[tokio::test]
async fn the_profiles_of_all_nodes_add_up_to_the_bytes() -> Result<()> {
    where_stacks_are(true, async |cluster| {
        let namespace = cluster.namespace().await?;
        let (here, there) = cluster.two_nodes();
        let trace = namespace.trace("stacks", asking("stacks")).await?;
        let [server, client] = transfer(&namespace, (here, there), "stacks", 20).await?;
        reporting(&trace, 2).await?;
        let told = trace.status().await?;
        if degraded(&told).contains("stacks:") {
            needs::skip(format!("no stacks on this kernel: {}", degraded(&told)));
            return Ok(());
        }
        let counted = finish(&namespace, &[&server, &client]).await?;
        shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
        let status = over(&trace).await?;
        let profiles = last_profiles(&trace, 2).await?;

        let mut sums = StackTotals::default();
        for profile in &profiles {
            let spec = &profile.spec;
            println!("{}: {} in {} stacks", spec.node_name, spec.bytes.text, spec.stacks);
            assert_eq!(profile.name_any(), report_name(trace.uid(), &spec.node_name));
            let owners = profile.owner_references();
            assert!(owners.len() == 1 && owners[0].uid == trace.uid(), "{owners:?}");
            assert!(spec.profile.starts_with(GZIP), "{:?}", spec.profile.get(..8));
            assert!(spec.stacks > 0 && !spec.interrupted, "{spec:?}");
            sums.add(&StackTotals {
                bytes: spec.bytes.sent + spec.bytes.received,
                stacks: spec.stacks,
                bytes_at_own_call: spec.bytes_at_own_call,
                bytes_without_stack: spec.bytes_without_stack,
            });
        }
        let mut nodes: Vec<_> = profiles.iter().map(|profile| profile.spec.node_name.as_str()).collect();
        nodes.sort_unstable();
        let mut both = [here, there];
        both.sort_unstable();
        assert_eq!(nodes, both);
        let stacks = status.stacks.as_ref().expect("sums of stacks");
        println!("{}", stacks.picture);
        assert_eq!((stacks.nodes, &stacks.totals), (2, &sums));
        assert_eq!(sums.bytes, status.totals.rx_bytes + status.totals.tx_bytes);
        assert!(stacks.picture.contains("traffictrace flamegraph"), "{}", stacks.picture);
        assert!(!degraded(&status).contains("stacks"), "{}", degraded(&status));

        trace.delete().await?;
        wait::until_async("the profiles to be gone with their trace", REPORTED, async || {
            let left = trace.profiles().await?;
            Ok(if left.is_empty() { Ok(()) } else { Err(format!("{} left", left.len())) })
        })
        .await
    })
    .await
}

/// Without the chart's value `agent.stacks`, a trace counts its flows and reports in one sentence what is missing.
#[tokio::test]
async fn where_agents_may_not_take_stacks_the_condition_says_so() -> Result<()> {
    where_stacks_are(false, async |cluster| {
        let namespace = cluster.namespace().await?;
        let (here, there) = cluster.two_nodes();
        let trace = namespace.trace("denied", asking("denied")).await?;
        let [server, client] = transfer(&namespace, (here, there), "denied", 10).await?;
        reporting(&trace, 2).await?;
        let named = trace.status_where("the missing value", REPORTED, |status| {
            let message = degraded(status);
            let both = message.contains(here) && message.contains(there);
            if both && message.contains("set agent.stacks=true") {
                Ok(message.to_owned())
            } else {
                Err(format!("{message:?}"))
            }
        });
        println!("{}", named.await?);
        let counted = finish(&namespace, &[&server, &client]).await?;
        shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
        let status = over(&trace).await?;
        let stacks = status.stacks.unwrap_or_default();
        assert_eq!((stacks.nodes, stacks.totals), (0, StackTotals::default()));
        assert!(trace.profiles().await?.is_empty());
        Ok(())
    })
    .await
}

/// The token of one node's agent can only write the profiles of that node.
#[tokio::test]
async fn a_stolen_token_writes_its_own_nodes_profiles_alone() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let Some(levers) = Levers::find() else { return Ok(()) };
    let (here, there) = cluster.two_nodes();
    let thief = client_with_token(&stolen_token(&levers, here)?).await?;
    let namespace = cluster.namespace().await?;
    let trace = namespace.trace("robbed", asking("robbed")).await?;
    let profiles = || ours(namespace.name(), "traffictraceprofiles");
    let (own, foreign) = (profile_of(&trace, here), profile_of(&trace, there));
    // This profile has the name of the other node's one, and would keep that node from writing it.
    let mut squatting = own.clone();
    squatting.metadata.name = foreign.metadata.name.clone();
    let mut ownerless = own.clone();
    ownerless.metadata.owner_references = None;
    let mut hidden = own.clone();
    hidden.labels_mut().insert(traffictrace_crd::TRACE_LABEL.to_owned(), "another".to_owned());
    println!("The token of the agent of {here} got:");
    let mut attempts = Vec::new();
    for (what, profile, expected) in [
        ("profiles: create its own node's", &own, Allowed),
        ("profiles: create another node's", &foreign, Policy),
        ("profiles: its own node's under another node's name", &squatting, Policy),
        ("profiles: one without an owner", &ownerless, Policy),
        ("profiles: one that looks like another trace's", &hidden, Policy),
    ] {
        attempts.push((what, Attempt::Create(profiles(), json_of(profile)?), expected));
    }
    attempts.extend([
        ("profiles: list everywhere", Attempt::List(everywhere("traffictraceprofiles")), NoRight),
        ("profiles: delete its own node's", Attempt::Delete(profiles(), own.name_any()), NoRight),
        ("profiles: delete all", Attempt::DeleteAll(profiles()), NoRight),
    ]);
    assert_answers(&thief, &attempts).await
}
