//! Attacks with a stolen token of a node's agent: requests of all kinds, and forged reports.

use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::json;
use traffictrace_crd::{
    FINISHED_LABEL, GROUP, GroupBy, TrafficTrace, TrafficTraceReport, VERSION, report_name,
};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{attempt::Attempt, report_of, report_rows, spec},
};

use super::{
    Attempts,
    Expected::{Allowed, NoRight, Policy},
    Scene, assert_answers, core, everywhere, json_of, ours,
};
use crate::setup::{finish, shows_exactly};

/// A number of bytes that no test moves.
const FORGED_BYTES: i64 = 1 << 50;

/// The stolen token of one node's agent is tried on everything, and can only write that node's reports.
#[tokio::test]
async fn a_stolen_token_writes_its_own_nodes_reports_alone() -> Result<()> {
    let Some(scene) = Scene::set(30).await? else { return Ok(()) };
    let (here, there) = scene.cluster.two_nodes();
    let (victim, other) = (scene.victim.name(), scene.other.name());
    let system = scene.accounts.namespace.as_str();
    println!("The token of the agent of {here} got:");

    let foreign_trace = scene.other.trace("another", spec("nobody")).await?;
    let (own, foreign) = (scene.report(here).await?, scene.report(there).await?);
    let reports = ours(victim, "traffictracereports");
    let mut in_its_place = own.clone();
    in_its_place.spec.node_name = there.to_owned();
    in_its_place.labels_mut().extend(report_of(&scene.trace, there).labels().clone());
    let mut ownerless = report_of(&scene.trace, here);
    ownerless.metadata.name = Some("ownerless".to_owned());
    ownerless.metadata.owner_references = None;
    let mut unremovable = report_of(&foreign_trace, here);
    unremovable.finalizers_mut().push("example.com/never".to_owned());
    // A report under another node's name would forge nothing, but keep that node from reporting.
    let mut squatting = report_of(&foreign_trace, here);
    squatting.metadata.name = Some(report_name(foreign_trace.uid(), there));
    let mut unnamed = report_of(&scene.trace, there);
    unnamed.metadata.name = Some("another-name".to_owned());
    assert_answers(
        &scene.thief,
        &vec![
            ("reports: list everywhere", Attempt::List(everywhere("traffictracereports")), Allowed),
            ("reports: get one", Attempt::Get(reports.clone(), own.name_any()), NoRight),
            (
                "reports: replace its own node's",
                Attempt::Replace(reports.clone(), own.name_any(), json_of(&own)?),
                Allowed,
            ),
            (
                "reports: its own node's in another namespace",
                Attempt::Create(
                    ours(other, "traffictracereports"),
                    json_of(&report_of(&foreign_trace, here))?,
                ),
                Allowed,
            ),
            (
                "reports: its own node's under another node's name",
                Attempt::Create(ours(other, "traffictracereports"), json_of(&squatting)?),
                Policy,
            ),
            ("reports: create another node's", Attempt::Create(reports.clone(), json_of(&unnamed)?), Policy),
            (
                "reports: another node's in another namespace",
                Attempt::Create(
                    ours(other, "traffictracereports"),
                    json_of(&report_of(&foreign_trace, there))?,
                ),
                Policy,
            ),
            (
                "reports: replace another node's",
                Attempt::Replace(reports.clone(), foreign.name_any(), json_of(&foreign)?),
                Policy,
            ),
            (
                "reports: turn its own node's into another's",
                Attempt::Replace(reports.clone(), own.name_any(), json_of(&in_its_place)?),
                Policy,
            ),
            ("reports: one without an owner", Attempt::Create(reports.clone(), json_of(&ownerless)?), Policy),
            (
                "reports: one that keeps its namespace from going",
                Attempt::Create(ours(other, "traffictracereports"), json_of(&unremovable)?),
                Policy,
            ),
            (
                "reports: patch its own node's",
                Attempt::Patch(reports.clone(), own.name_any(), json!({ "sequence": 1 })),
                NoRight,
            ),
            ("reports: delete another node's", Attempt::Delete(reports.clone(), foreign.name_any()), NoRight),
            ("reports: delete all", Attempt::DeleteAll(reports), NoRight),
        ],
    )
    .await?;

    let traces = ours(victim, "traffictraces");
    let name = || "victim".to_owned();
    let trace = scene.victim.api::<TrafficTrace>().get("victim").await;
    let mut trace = json_of(&trace.map_err(TestError::kube("read the trace"))?)?;
    // These fields are missing in a serialized object, but the API server needs them.
    trace["apiVersion"] = format!("{GROUP}/{VERSION}").into();
    trace["kind"] = "TrafficTrace".into();
    let new = json_of(&TrafficTrace::new("new", spec("nobody")))?;
    let finished = json!({ "metadata": { "labels": { FINISHED_LABEL: "true" } } });
    assert_answers(
        &scene.thief,
        &vec![
            ("traces: list everywhere", Attempt::List(everywhere("traffictraces")), Allowed),
            ("traces: get another tenant's", Attempt::Get(traces.clone(), name()), Allowed),
            ("traces: create", Attempt::Create(traces.clone(), new), NoRight),
            ("traces: replace", Attempt::Replace(traces.clone(), name(), trace.clone()), NoRight),
            ("traces: mark as finished", Attempt::Patch(traces.clone(), name(), finished), NoRight),
            ("traces: write a status", Attempt::ReplaceStatus(traces.clone(), name(), trace), NoRight),
            ("traces: delete", Attempt::Delete(traces.clone(), name()), NoRight),
            ("traces: delete all", Attempt::DeleteAll(traces), NoRight),
        ],
    )
    .await?;
    assert_answers(&scene.thief, &beyond_the_product(&scene, victim, system)).await
}

/// Attempts on resources outside the product that an attacker would want.
fn beyond_the_product(scene: &Scene, victim: &str, system: &str) -> Attempts {
    let pod = || "server".to_owned();
    let (pods, accounts) = (core(victim, "pods"), core(system, "serviceaccounts"));
    let rbac = "/apis/rbac.authorization.k8s.io/v1".to_owned();
    let admission = "/apis/admissionregistration.k8s.io/v1".to_owned();
    let daemon_sets = format!("/apis/apps/v1/namespaces/{system}/daemonsets");
    let own = || scene.accounts.daemon_set.clone();
    let new = |kind: &str| json!({ "kind": kind, "apiVersion": "v1", "metadata": { "name": "stolen" } });
    let privileged = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "stolen" },
        "spec": { "containers": [{ "name": "x", "image": "x", "securityContext": { "privileged": true } }] },
    });
    let token = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {} });
    let admin = json!({
        "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": { "name": "stolen" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": scene.accounts.agent, "namespace": system }],
    });
    let eviction = json!({
        "kind": "Eviction", "apiVersion": "policy/v1", "metadata": { "name": "server", "namespace": victim },
    });
    let labels = json!({ "metadata": { "labels": { "stolen": "true" } } });
    let here = || scene.cluster.two_nodes().0.to_owned();
    vec![
        ("pods: list everywhere", Attempt::List("/api/v1/pods".to_owned()), Allowed),
        ("pods: get one", Attempt::Get(pods.clone(), pod()), NoRight),
        ("pods: read a log", Attempt::GetPart(pods.clone(), pod(), "log"), NoRight),
        ("pods: create a privileged one", Attempt::Create(core(system, "pods"), privileged), NoRight),
        ("pods: change one", Attempt::Patch(pods.clone(), pod(), labels.clone()), NoRight),
        ("pods: exec into one", Attempt::CreatePart(pods.clone(), pod(), "exec", json!({})), NoRight),
        ("pods: evict one", Attempt::CreatePart(pods.clone(), pod(), "eviction", eviction), NoRight),
        ("pods: delete one", Attempt::Delete(pods, pod()), NoRight),
        ("secrets: list everywhere", Attempt::List("/api/v1/secrets".to_owned()), NoRight),
        ("secrets: list its own namespace's", Attempt::List(core(system, "secrets")), NoRight),
        ("secrets: create", Attempt::Create(core(system, "secrets"), new("Secret")), NoRight),
        ("config maps: list its own namespace's", Attempt::List(core(system, "configmaps")), NoRight),
        ("config maps: create", Attempt::Create(core(system, "configmaps"), new("ConfigMap")), NoRight),
        (
            "accounts: a token of the controller",
            Attempt::CreatePart(accounts.clone(), scene.accounts.controller.clone(), "token", token.clone()),
            NoRight,
        ),
        (
            "accounts: a longer token of its own",
            Attempt::CreatePart(accounts, scene.accounts.agent.clone(), "token", token),
            NoRight,
        ),
        ("nodes: list", Attempt::List("/api/v1/nodes".to_owned()), NoRight),
        (
            "nodes: change its own",
            Attempt::Patch("/api/v1/nodes".to_owned(), here(), labels.clone()),
            NoRight,
        ),
        ("services: list", Attempt::List("/api/v1/services".to_owned()), NoRight),
        ("namespaces: list", Attempt::List("/api/v1/namespaces".to_owned()), NoRight),
        ("events: create", Attempt::Create(core(victim, "events"), new("Event")), NoRight),
        ("DaemonSets: get its own", Attempt::Get(daemon_sets.clone(), own()), Allowed),
        ("DaemonSets: list", Attempt::List(daemon_sets.clone()), NoRight),
        ("DaemonSets: change its own", Attempt::Patch(daemon_sets, own(), labels.clone()), NoRight),
        (
            "roles: become cluster-admin",
            Attempt::Create(format!("{rbac}/clusterrolebindings"), admin),
            NoRight,
        ),
        (
            "policies: delete the one for reports",
            Attempt::Delete(
                format!("{admission}/validatingadmissionpolicies"),
                "traffictrace-reports".to_owned(),
            ),
            NoRight,
        ),
        (
            "policies: delete its binding",
            Attempt::Delete(
                format!("{admission}/validatingadmissionpolicybindings"),
                "traffictrace-reports".to_owned(),
            ),
            NoRight,
        ),
        (
            "definitions: delete",
            Attempt::Delete(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
                format!("traffictraces.{GROUP}"),
            ),
            NoRight,
        ),
    ]
}

/// A report in another namespace that names the trace's UID counts for nothing, although the API server cannot refuse
/// it. A second report of the node, under another name, is refused.
#[tokio::test]
async fn forged_reports_count_for_nothing() -> Result<()> {
    let Some(scene) = Scene::set(40).await? else { return Ok(()) };
    let (here, there) = scene.cluster.two_nodes();
    let own = scene.report(here).await?;
    let mut rows = report_rows(&own)?;
    for row in &mut rows {
        row.pod = "forged".to_owned();
        row.rx_bytes = FORGED_BYTES;
    }
    let mut forged = report_of(&scene.trace, here);
    forged.spec = own.spec.clone();
    forged.spec.sequence = i64::MAX / 2;
    forged.spec.totals.rx_bytes = FORGED_BYTES;
    forged.spec.flows = rows.iter().map(traffictrace_crd::FlowRow::encode).collect();

    let elsewhere: Api<TrafficTraceReport> = Api::namespaced(scene.thief.clone(), scene.other.name());
    let created = elsewhere.create(&PostParams::default(), &forged).await;
    created.map_err(TestError::kube("create the forged report in another namespace"))?;
    // A trace of the same name there makes the owner look right.
    scene.other.trace("victim", spec("nobody")).await?;

    let beside: Api<TrafficTraceReport> = Api::namespaced(scene.thief.clone(), scene.victim.name());
    for name in ["forged".to_owned(), report_name(scene.trace.uid(), there)] {
        forged.metadata.name = Some(name.clone());
        match beside.create(&PostParams::default(), &forged).await {
            Err(kube::Error::Api(refusal)) => {
                assert!(refusal.message.contains("metadata.name"), "{name}: {}", refusal.message);
            }
            other => {
                return Err(TestError::unexpected(format!("a report named {name}"), format!("{other:?}")));
            }
        }
    }

    let counted = finish(&scene.victim, &scene.pods.each_ref()).await?;
    let status = shows_exactly(&scene.trace, &counted, GroupBy::Endpoint).await?;
    assert!(status.top_flows.iter().all(|flow| flow.pod != "forged"), "{:?}", status.top_flows);
    assert!(status.totals.rx_bytes < FORGED_BYTES, "{:?}", status.totals);
    assert_eq!(status.nodes_reporting, 2, "{status:?}");
    Ok(())
}
