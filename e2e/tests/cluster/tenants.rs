//! Attacks of tenants, and of somebody with a stolen agent's token, on others: none succeeds.

use std::{fs, time::Duration};

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use traffictrace_crd::{
    FINISHED_LABEL, GROUP, GroupBy, TrafficTrace, TrafficTraceReport, VERSION, report_name,
};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        Cluster, Namespace, PodPlan, Trace,
        access::{Accounts, Identity, client_with_token},
        attempt::{Answer, Attempt},
        levers::Levers,
        report_of, report_rows, spec,
    },
    wait,
};

use crate::setup::{
    PORT, REPORTED, arguments, finish, reporting, seed, server, shows_exactly, start_server, transfer,
};

/// Path at which every pod has the token of its account.
const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";
/// A number of bytes that no test moves.
const FORGED_BYTES: i64 = 1 << 50;

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

async fn bind(namespace: &Namespace, role: &str, user: &Identity) -> Result<()> {
    let binding = json!({
        "metadata": { "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name() }],
    });
    let binding: RoleBinding =
        serde_json::from_value(binding).map_err(|error| TestError::unexpected("a role binding", error))?;
    let created = namespace.api::<RoleBinding>().create(&PostParams::default(), &binding).await;
    created.map(drop).map_err(TestError::kube(format!("bind {role}")))
}

/// A user with the role edit in a namespace may trace it, and one with view may read; neither may write what the
/// product reports.
#[tokio::test]
async fn the_roles_edit_and_view() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (own, other) = (cluster.namespace().await?, cluster.namespace().await?);
    let (editor, viewer) = (Identity::user("an-editor"), Identity::user("a-viewer"));
    bind(&own, "edit", &editor).await?;
    bind(&own, "view", &viewer).await?;
    let trace = own.trace("theirs", spec("nobody")).await?;
    let (editing, viewing) = (editor.client().await?, viewer.client().await?);
    let (traces, foreign) = (ours(own.name(), "traffictraces"), ours(other.name(), "traffictraces"));
    // The controller manager aggregates the roles some time after they were installed.
    let limit = Duration::from_secs(30);
    wait::until_async("the right to list traces", limit, async || {
        let answers = (
            Attempt::List(traces.clone()).send(&editing).await?,
            Attempt::List(traces.clone()).send(&viewing).await?,
        );
        Ok(if answers == (Answer::Allowed, Answer::Allowed) { Ok(()) } else { Err(format!("{answers:?}")) })
    })
    .await?;
    let reports = ours(own.name(), "traffictracereports");
    let report = json_of(&report_of(&trace, "node"))?;
    let new = json_of(&TrafficTrace::new("new", spec("nobody")))?;
    let name = || "theirs".to_owned();
    let stored = own.api::<TrafficTrace>().get("theirs").await;
    let stored = json_of(&stored.map_err(TestError::kube("read the trace"))?)?;
    let patch = json!({ "spec": { "topFlows": 3 } });
    let finished = json!({ "metadata": { "labels": { FINISHED_LABEL: "true" } } });
    println!("An account with the role edit in one namespace got:");
    assert_answers(
        &editing,
        &vec![
            ("traces: create", Attempt::Create(traces.clone(), new.clone()), Allowed),
            ("traces: get", Attempt::Get(traces.clone(), name()), Allowed),
            ("traces: change", Attempt::Patch(traces.clone(), name(), patch.clone()), Allowed),
            ("traces: mark as finished", Attempt::Patch(traces.clone(), name(), finished), Policy),
            ("traces: write a status", Attempt::ReplaceStatus(traces.clone(), name(), stored), NoRight),
            ("traces: delete", Attempt::Delete(traces.clone(), name()), Allowed),
            ("traces: delete all", Attempt::DeleteAll(traces.clone()), Allowed),
            ("traces: list another namespace's", Attempt::List(foreign.clone()), NoRight),
            ("traces: list everywhere", Attempt::List(everywhere("traffictraces")), NoRight),
            ("traces: create in another namespace", Attempt::Create(foreign, new.clone()), NoRight),
            ("reports: list", Attempt::List(reports.clone()), NoRight),
            ("reports: create", Attempt::Create(reports.clone(), report), NoRight),
            ("reports: delete all", Attempt::DeleteAll(reports.clone()), NoRight),
        ],
    )
    .await?;
    println!("An account with the role view got:");
    assert_answers(
        &viewing,
        &vec![
            ("traces: get", Attempt::Get(traces.clone(), name()), Allowed),
            ("traces: create", Attempt::Create(traces.clone(), new), NoRight),
            ("traces: change", Attempt::Patch(traces.clone(), name(), patch), NoRight),
            ("traces: delete", Attempt::Delete(traces, name()), NoRight),
            ("reports: list", Attempt::List(reports), NoRight),
        ],
    )
    .await
}

/// Names and labels at the limits that Kubernetes allows are traced like others; beyond the limits they are refused.
#[tokio::test]
async fn odd_names_and_labels() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let traces = namespace.api::<TrafficTrace>();
    // Names that Kubernetes' own rules do not allow.
    for name in ["../../etc", "UPPER", "a b", "a\u{1b}[31m", "-a", "a..b", "$(id)", &"x".repeat(254)] {
        let refused = traces.create(&PostParams::default(), &TrafficTrace::new(name, spec("odd"))).await;
        assert!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422),
            "{name}: {refused:?}"
        );
    }
    let longest = format!("{}.{}", "0-".repeat(60), "9".repeat(253 - 121)).replace("-.", "z.");
    let trace = namespace.trace(&longest, spec("odd")).await?;
    let odd = json!({ "metadata": {
        "labels": {
            (format!("{}/{}", "a.".repeat(126) + "a", "N".repeat(63))): format!("A{}9", "-_.".repeat(20)),
            "empty": "",
        },
        "annotations": { "text": format!("\u{1b}[2J\r\n\u{0}{}\u{202e}$(id)`id`", "\u{10ffff}".repeat(10_000)) },
    }});
    let changed = traces.patch(&longest, &PatchParams::default(), &Patch::Merge(odd)).await;
    changed.map_err(TestError::kube("set odd labels"))?;

    // Names of pods that a careless parser would split.
    let server = server("0.server-with.dots", there, "odd", 10);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["client", "--connections", "10", "--wait", "60"];
    let name = format!("{}-{}", "long".repeat(14), "client");
    let client = PodPlan::new(&name, here, "odd", arguments(&[&work, &["--seed", &seed()]], &addresses));
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    assert!(trace.reports().await?.iter().all(|report| report.name_any().len() <= 63));
    Ok(())
}

/// A trace that is deleted with `--cascade=orphan` disappears: no policy keeps the garbage collector from removing the
/// owner from its reports.
#[tokio::test]
async fn a_trace_that_leaves_its_reports_behind_goes() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, _) = cluster.two_nodes();
    let trace = namespace.trace("leaving", spec("leaving")).await?;
    let listen = format!("[::]:{PORT}");
    let pod = PodPlan::new("pod", here, "leaving", ["server", "--listen", &listen, "--connections", "1"]);
    start_server(&namespace, &pod).await?;
    reporting(&trace, 1).await?;
    let traces = namespace.api::<TrafficTrace>();
    let deleted = traces.delete("leaving", &DeleteParams::orphan()).await;
    deleted.map_err(TestError::kube("delete the trace with --cascade=orphan"))?;
    wait::until_async("the trace to go", Duration::from_secs(60), async || {
        let there = traces.get_opt("leaving").await.map_err(TestError::kube("read the trace"))?;
        Ok(there.map_or(Ok(()), |trace| Err(format!("{:?}", trace.metadata))))
    })
    .await?;
    let reports = trace.reports().await?;
    println!("{} reports are left", reports.len());
    assert!(reports.iter().all(|report| report.owner_references().is_empty()), "{reports:?}");
    Ok(())
}
