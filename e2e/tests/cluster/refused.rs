//! What the API server refuses says which field it is and what to do; what it accepts never stops the others.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, Namespace, spec},
};

use crate::setup::{arguments, finish, seed, server, shows_exactly, start_server};

/// A part of a spec, and what the refusal must name.
fn invalid_specs() -> [(Value, &'static [&'static str]); 9] {
    [
        (json!({"selector": null}), &["selector"]),
        (json!({"topFlows": 0}), &["topFlows", "1"]),
        (json!({"topFlows": 101}), &["topFlows", "100"]),
        (json!({"interval": "1s"}), &["interval", "5s"]),
        (json!({"duration": "soon"}), &["duration", "10m"]),
        (json!({"protocols": ["HTTP"]}), &["protocols", "TCP"]),
        (json!({"ports": ["8100-8000"]}), &["ports", "8000-8100"]),
        (json!({"remoteCIDRs": ["10.0.0.0/99"]}), &["remoteCIDRs"]),
        (json!({"containers": ["Not A Name"]}), &["containers"]),
    ]
}

fn traces(cluster: &Cluster, namespace: &Namespace) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(traffictrace_crd::GROUP, traffictrace_crd::VERSION, "TrafficTrace");
    Api::namespaced_with(cluster.client().clone(), namespace.name(), &ApiResource::from_gvk(&kind))
}

fn object(part: &Value) -> Result<DynamicObject> {
    let mut spec = json!({"selector": {"matchLabels": {"app": "any"}}});
    for (field, value) in part.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let object = json!({
        "apiVersion": format!("{}/{}", traffictrace_crd::GROUP, traffictrace_crd::VERSION),
        "kind": "TrafficTrace",
        "metadata": {"generateName": "invalid-"},
        "spec": spec,
    });
    serde_json::from_value(object).map_err(|error| TestError::unexpected("the test's own object", error))
}

#[tokio::test]
async fn invalid_traces() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let traces = traces(&cluster, &namespace);
    for (part, named) in invalid_specs() {
        match traces.create(&PostParams::default(), &object(&part)?).await {
            Err(kube::Error::Api(refusal)) => {
                println!("{part}: {}", refusal.message);
                for name in named {
                    assert!(
                        refusal.message.contains(name),
                        "{part} does not name {name}: {}",
                        refusal.message
                    );
                }
            }
            other => panic!("{part} was not refused: {other:?}"),
        }
    }
    Ok(())
}

/// What may not change in a running trace says so, with the remedy.
#[tokio::test]
async fn changes_that_are_not_possible() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    namespace.trace("fixed", spec("fixed")).await?;
    let traces = traces(&cluster, &namespace);
    for (field, part) in [
        ("selector", json!({"selector": {"matchLabels": {"app": "another"}}})),
        ("containers", json!({"containers": ["another"]})),
        ("groupBy", json!({"groupBy": "Process"})),
    ] {
        let patch = Patch::Merge(json!({"spec": part}));
        match traces.patch("fixed", &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(refusal)) => {
                let message = refusal.message;
                assert!(
                    message.contains(field) && message.contains("create a new one"),
                    "{field}: {message}"
                );
            }
            other => panic!("a change of {field} was not refused: {other:?}"),
        }
    }
    let allowed = Patch::Merge(json!({"spec": {"topFlows": 5, "interval": "7s"}}));
    let changed = traces.patch("fixed", &PatchParams::default(), &allowed).await;
    changed.map(drop).map_err(TestError::kube("change what may change"))
}

/// A trace that matches no pod, and one of pods that cannot be, change nothing for the one beside them.
#[tokio::test]
async fn traces_of_nobody_disturb_nobody() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let empty = namespace.trace("empty", spec("nobody")).await?;
    let trace = namespace.trace("beside", spec("beside")).await?;
    let server = server("server", there, "beside", 10);
    let addresses = start_server(&namespace, &server).await?;
    let work = ["client", "--connections", "10", "--wait", "60"];
    let client = traffictrace_e2e::support::cluster::PodPlan::new(
        "client",
        here,
        "beside",
        arguments(&[&work, &["--seed", &seed()]], &addresses),
    );
    namespace.start(&client).await?;
    let counted = finish(&namespace, &[&server, &client]).await?;
    shows_exactly(&trace, &counted, traffictrace_crd::GroupBy::Endpoint).await?;
    let status = empty.status().await?;
    assert_eq!(
        (status.pods_matched, status.totals.rx_bytes, status.top_flows.len()),
        (0, 0, 0),
        "{status:?}"
    );
    Ok(())
}
