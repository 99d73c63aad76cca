//! Refusals of the API server name the field and the remedy; the samples are accepted.

use std::{fs, path::Path};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use traffictrace_crd::{HttpSpec, StacksSpec, TrafficTraceSpec};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{ApiServer, Namespace, spec},
};

/// Invalid parts of a spec, each with the words that the refusal must have.
fn invalid_specs() -> [(Value, &'static [&'static str]); 15] {
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
        (json!({"http": true}), &["http", "object"]),
        (json!({"http": {"tls": "yes"}}), &["http.tls", "boolean"]),
        (json!({"http": {"topEndpoints": 101}}), &["http.topEndpoints", "100"]),
        (json!({"stacks": true}), &["stacks", "object"]),
        (json!({"stacks": {"everyCall": "yes"}}), &["stacks.everyCall", "boolean"]),
        (json!({"http": {}, "protocols": ["UDP", "ICMP"]}), &["http", "add TCP to protocols"]),
    ]
}

fn traces(server: &ApiServer, namespace: &Namespace) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(traffictrace_crd::GROUP, traffictrace_crd::VERSION, "TrafficTrace");
    Api::namespaced_with(server.client().clone(), namespace.name(), &ApiResource::from_gvk(&kind))
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
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let namespace = server.namespace().await?;
    let traces = traces(&server, &namespace);
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

/// The refusal of a change that a running trace does not allow names the remedy.
#[tokio::test]
async fn changes_that_are_not_possible() -> Result<()> {
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let namespace = server.namespace().await?;
    namespace.trace("fixed", spec("fixed")).await?;
    let traces = traces(&server, &namespace);
    for (field, part) in [
        ("selector", json!({"selector": {"matchLabels": {"app": "another"}}})),
        ("containers", json!({"containers": ["another"]})),
        ("groupBy", json!({"groupBy": "Process"})),
        ("http", json!({"http": {}})),
        ("stacks", json!({"stacks": {}})),
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
    let asking = TrafficTraceSpec {
        http: Some(HttpSpec::default()),
        stacks: Some(StacksSpec::default()),
        ..spec("asking")
    };
    namespace.trace("asking", asking).await?;
    for (field, part) in [
        ("http", json!({"http": null})),
        ("http", json!({"http": {"tls": true}})),
        ("stacks", json!({"stacks": null})),
        ("stacks", json!({"stacks": {"kernel": true}})),
    ] {
        match traces.patch("asking", &PatchParams::default(), &Patch::Merge(json!({"spec": part}))).await {
            Err(kube::Error::Api(refusal)) => {
                let message = refusal.message;
                assert!(message.contains(field) && message.contains("create a new one"), "{part}: {message}");
            }
            other => panic!("{part} was not refused: {other:?}"),
        }
    }
    let more = Patch::Merge(json!({"spec": {"http": {"topEndpoints": 5}}}));
    let changed = traces.patch("asking", &PatchParams::default(), &more).await;
    changed.map(drop).map_err(TestError::kube("change what may change"))?;
    let allowed = Patch::Merge(json!({"spec": {"topFlows": 5, "interval": "7s"}}));
    let changed = traces.patch("fixed", &PatchParams::default(), &allowed).await;
    changed.map(drop).map_err(TestError::kube("change what may change"))
}

/// Every file of `manifests/samples` is a trace that can be applied as it is.
#[tokio::test]
async fn samples_are_accepted() -> Result<()> {
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let namespace = server.namespace().await?;
    let traces = traces(&server, &namespace);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
    let files = fs::read_dir(&folder).map_err(TestError::io("list the samples"))?;
    let mut accepted = 0;
    for file in files {
        let path = file.map_err(TestError::io("list the samples"))?.path();
        let text = fs::read_to_string(&path).map_err(TestError::io(format!("read {}", path.display())))?;
        let sample: Value =
            serde_saphyr::from_str(&text).map_err(|error| TestError::unexpected(path.display(), error))?;
        let sample =
            serde_json::from_value(sample).map_err(|error| TestError::unexpected(path.display(), error))?;
        let created = traces.create(&PostParams::default(), &sample).await;
        created.map_err(TestError::kube(format!("create the sample {}", path.display())))?;
        accepted += 1;
    }
    assert!(accepted >= 3, "{accepted} samples in {}", folder.display());
    Ok(())
}
