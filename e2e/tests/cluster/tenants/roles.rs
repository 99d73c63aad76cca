//! The rights of users in their own namespace.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::PostParams;
use serde_json::json;
use traffictrace_crd::{FINISHED_LABEL, TrafficTrace};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        Cluster, Namespace,
        access::Identity,
        attempt::{Answer, Attempt},
        report_of, spec,
    },
    wait,
};

use super::{
    Expected::{Allowed, NoRight, Policy},
    assert_answers, everywhere, json_of, ours,
};
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
