//! Attacks of tenants, and of somebody with a stolen agent's token, on others: none succeeds.

mod odd;
mod roles;
mod token;

use std::fs;

use kube::Client;
use serde_json::Value;
use traffictrace_crd::{GROUP, TrafficTraceReport, VERSION};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        Cluster, Namespace, PodPlan, Trace,
        access::{Accounts, client_with_token},
        attempt::{Answer, Attempt},
        levers::Levers,
        spec,
    },
};

use crate::setup::{REPORTED, reporting, transfer};

/// Path at which every pod has the token of its account.
const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";

/// Takes the token of the agent that runs on a node out of its pod.
pub(crate) fn stolen_token(levers: &Levers, node: &str) -> Result<String> {
    let file = format!("/proc/{}/root/{TOKEN}", levers.agent_pid(node)?);
    let token = fs::read_to_string(&file).map_err(TestError::io(format!("read {file}")));
    token.map(|token| token.trim().to_owned())
}

pub(crate) fn json_of(object: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(object).map_err(|error| TestError::unexpected("an object of the test", error))
}

/// Path of a kind of product objects in a namespace.
pub(crate) fn ours(namespace: &str, kind: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{kind}")
}

fn core(namespace: &str, kind: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{kind}")
}

pub(crate) fn everywhere(kind: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/{kind}")
}

/// The answer that an attempt must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Allowed,
    NoRight,
    Policy,
}
use Expected::{Allowed, NoRight, Policy};

pub(crate) type Attempts = Vec<(&'static str, Attempt, Expected)>;

/// Sends each attempt, prints all answers as a table, and asserts them.
pub(crate) async fn assert_answers(client: &Client, attempts: &Attempts) -> Result<()> {
    let mut wrong = Vec::new();
    for (what, attempt, expected) in attempts {
        let answer = attempt.send(client).await?;
        println!("  {what:<58} {answer}");
        let right = match expected {
            Allowed => answer == Answer::Allowed,
            NoRight => answer == Answer::NoRight,
            Policy => matches!(answer, Answer::Policy(_)),
        };
        if !right {
            wrong.push(format!("{what}: {answer}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Two tenants, a node with their pods whose agent's token was stolen, and a running transfer of the first tenant.
struct Scene {
    cluster: Cluster,
    accounts: Accounts,
    /// Client with the stolen token.
    thief: Client,
    victim: Namespace,
    other: Namespace,
    trace: Trace,
    pods: [PodPlan; 2],
}

impl Scene {
    /// Sets the scene up, with a transfer that lasts for `seconds`.
    async fn set(seconds: u32) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared().await? else { return Ok(None) };
        let Some(levers) = Levers::find() else { return Ok(None) };
        let accounts = Accounts::find(cluster.client()).await?;
        let (victim, other) = (cluster.namespace().await?, cluster.namespace().await?);
        let (here, there) = cluster.two_nodes();
        let thief = client_with_token(&stolen_token(&levers, here)?).await?;
        let trace = victim.trace("victim", spec("victim")).await?;
        let pods = transfer(&victim, (here, there), "victim", seconds).await?;
        reporting(&trace, 2).await?;
        let moved = trace.status_where("a first megabyte", REPORTED, |status| {
            if status.totals.rx_bytes > 1 << 20 { Ok(()) } else { Err(format!("{:?}", status.totals)) }
        });
        moved.await?;
        Ok(Some(Self { cluster, accounts, thief, victim, other, trace, pods }))
    }

    /// Returns the report that a node's agent keeps on the trace.
    async fn report(&self, node: &str) -> Result<TrafficTraceReport> {
        let reports = self.trace.reports().await?;
        let report = reports.into_iter().find(|report| report.spec.node_name == node);
        report.ok_or_else(|| TestError::unexpected(format!("the report of {node}"), "missing"))
    }
}
