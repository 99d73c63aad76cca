//! The admission policies: who may write reports, statuses, and the metadata of a trace that agents read.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use traffictrace_crd::{
    FINISHED_LABEL, NODE_LABEL, PROFILE_INTERVAL_ANNOTATION, PROFILE_SIZE_ANNOTATION, Phase,
    REPORT_INTERVAL_ANNOTATION, START_TIME_ANNOTATION, TRACE_LABEL, TRACE_UID_LABEL, TrafficTrace,
    TrafficTraceProfile, TrafficTraceReport, node_label,
};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{
        ApiServer, Namespace, Trace,
        access::{Identity, client_with_token},
        profile_of, report_of, spec,
    },
    wait,
};

const NODE: &str = "node-a";
const OTHER: &str = "node-b";
/// Account of Kubernetes' garbage collector.
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
/// A group with all permissions, so that only the policies can refuse.
const MASTERS: &str = "system:masters";

/// An API server that enforces the policies, with a trace.
struct Scene {
    server: ApiServer,
    namespace: Namespace,
    trace: Trace,
}

impl Scene {
    async fn set() -> Result<Option<Self>> {
        let Some(server) = ApiServer::shared().await? else { return Ok(None) };
        let namespace = server.namespace().await?;
        let trace = namespace.trace("policy", spec("nobody")).await?;
        let scene = Self { server, namespace, trace };
        // The API server enforces a policy some time after its creation.
        wait::until_async("the policies to be enforced", Duration::from_secs(30), async || {
            let refused = create(&scene.reports(scene.server.client()), &scene.report(NODE)).await;
            Ok(match refused {
                Err(message) if message.contains("Only TrafficTrace's agents") => Ok(()),
                other => Err(format!("{other:?}")),
            })
        })
        .await?;
        Ok(Some(scene))
    }

    fn reports(&self, client: &Client) -> Api<TrafficTraceReport> {
        Api::namespaced(client.clone(), self.namespace.name())
    }

    fn traces(&self, client: &Client) -> Api<TrafficTrace> {
        Api::namespaced(client.clone(), self.namespace.name())
    }

    fn report(&self, node: &str) -> TrafficTraceReport {
        report_of(&self.trace, node)
    }
}

/// Creates a report as a dry run; returns the message of the refusal, if any.
async fn create(
    reports: &Api<TrafficTraceReport>,
    report: &TrafficTraceReport,
) -> std::result::Result<(), String> {
    refusal(reports.create(&PostParams { dry_run: true, ..PostParams::default() }, report).await)
}

fn refusal<T>(answer: kube::Result<T>) -> std::result::Result<(), String> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(other) => Err(other.to_string()),
    }
}

/// Asserts that an answer is as `expected`: accepted if empty, else a refusal whose message has all of these parts.
fn assert_answer(what: &str, answer: &std::result::Result<(), String>, expected: &[&str]) {
    println!("{what}: {}", answer.as_ref().err().map_or("accepted", |message| message));
    match answer {
        Ok(()) => assert!(expected.is_empty(), "{what} was accepted; expected a refusal with {expected:?}"),
        Err(message) => {
            assert!(!expected.is_empty(), "{what} was refused: {message}");
            for part in expected {
                assert!(message.contains(part), "{what}: {part:?} is not in: {message}");
            }
        }
    }
}

#[tokio::test]
async fn an_agent_writes_reports_of_its_own_node() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let accounts = scene.server.accounts();
    let agent = accounts.agent_on(NODE);
    // An account with the agent's name in another namespace, as an agent of another release would have, with all
    // permissions.
    let namesake = Identity::user(format!("system:serviceaccount:elsewhere:{}", accounts.agent));
    let namesake = namesake.in_group(MASTERS).on_node(NODE);
    let admin = Identity::user("somebody").in_group(MASTERS);
    let cases: [(&str, &Identity, &str, &[&str]); 6] = [
        ("the own node's report", &agent, NODE, &[]),
        ("another node's", &agent, OTHER, &[NODE, OTHER, "own node alone"]),
        ("by a token without a node", &accounts.agents(), NODE, &["names no node", "kubelet"]),
        ("by a namesake in another namespace", &namesake, NODE, &["elsewhere", "status"]),
        ("by an administrator", &admin, NODE, &["Only TrafficTrace's agents", "somebody"]),
        ("by the controller", &accounts.controller(), NODE, &["cannot create resource"]),
    ];
    for (what, identity, node, expected) in cases {
        let reports = scene.reports(&identity.client().await?);
        assert_answer(what, &create(&reports, &scene.report(node)).await, expected);
    }
    Ok(())
}

/// A new report must name its node, its trace and its owner.
#[tokio::test]
async fn a_report_belongs_to_its_trace_and_node() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let reports = scene.reports(&scene.server.accounts().agent_on(NODE).client().await?);
    type Change = fn(&mut TrafficTraceReport);
    let cases: [(&str, Change, &[&str]); 10] = [
        // A finalizer would keep the namespace of the trace's user from being deleted.
        ("a finalizer", |r| r.finalizers_mut().push("example.com/never".into()), &["finalizers"]),
        ("no owner", |r| r.metadata.owner_references = None, &["one owner"]),
        (
            "two owners",
            |r| {
                let owners = r.metadata.owner_references.get_or_insert_default();
                owners.extend(owners.clone().into_iter().map(|mut owner| {
                    owner.uid = "another".to_owned();
                    owner
                }));
            },
            &["one owner"],
        ),
        ("an owner by another UID", |r| r.owner_references_mut()[0].uid = "another".into(), &["one owner"]),
        ("an owner by another name", |r| r.owner_references_mut()[0].name = "another".into(), &["one owner"]),
        ("an owner of another kind", |r| r.owner_references_mut()[0].kind = "Pod".into(), &["one owner"]),
        (
            "an owner of another group",
            |r| r.owner_references_mut()[0].api_version = "example.com/v1".into(),
            &["one owner"],
        ),
        (
            "no label of the trace",
            |r| drop(r.labels_mut().remove(TRACE_UID_LABEL)),
            &["traffictrace.dev/trace-uid"],
        ),
        ("no label of the node", |r| drop(r.labels_mut().remove(NODE_LABEL)), &["traffictrace.dev/node"]),
        (
            "the label of another node",
            |r| drop(r.labels_mut().insert(NODE_LABEL.to_owned(), OTHER.to_owned())),
            &["traffictrace.dev/node"],
        ),
    ];
    for (what, change, expected) in cases {
        let mut report = scene.report(NODE);
        change(&mut report);
        assert_answer(what, &create(&reports, &report).await, expected);
    }
    Ok(())
}

/// Profiles belong to their node and trace as reports do; users find them by the trace's name.
#[tokio::test]
async fn an_agent_writes_profiles_of_its_own_node() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let accounts = scene.server.accounts();
    let (agent, admin) = (accounts.agent_on(NODE), Identity::user("somebody").in_group(MASTERS));
    type Change = fn(&mut TrafficTraceProfile);
    let cases: [(&str, &Identity, &str, Change, &[&str]); 9] = [
        ("the own node's profile", &agent, NODE, |_| {}, &[]),
        ("another node's", &agent, OTHER, |_| {}, &[NODE, OTHER, "profiles of its own node alone"]),
        ("by a token without a node", &accounts.agents(), NODE, |_| {}, &["names no node", "kubelet"]),
        ("by an administrator", &admin, NODE, |_| {}, &["Only TrafficTrace's agents", "somebody"]),
        ("by the controller", &accounts.controller(), NODE, |_| {}, &["cannot"]),
        ("no owner", &agent, NODE, |p| p.metadata.owner_references = None, &["one owner"]),
        ("a finalizer", &agent, NODE, |p| p.finalizers_mut().push("example.com/x".into()), &["finalizers"]),
        (
            "the label of another trace",
            &agent,
            NODE,
            |p| drop(p.labels_mut().insert(TRACE_LABEL.to_owned(), "another".to_owned())),
            &["traffictrace.dev/trace"],
        ),
        ("too large", &agent, NODE, |p| p.spec.profile = "A".repeat(524_289), &["524288"]),
    ];
    for (what, identity, node, change, expected) in cases {
        let profiles: Api<TrafficTraceProfile> =
            Api::namespaced(identity.client().await?, scene.namespace.name());
        let mut profile = profile_of(&scene.trace, node);
        change(&mut profile);
        let apply = PatchParams { dry_run: true, ..PatchParams::apply("traffictrace-agent").force() };
        let answer = profiles.patch(&profile.name_any(), &apply, &Patch::Apply(&profile)).await;
        assert_answer(what, &refusal(answer), expected);
    }
    Ok(())
}

/// Names of nodes can be longer than values of labels (63 bytes). A report's label then has a shortened name, which the
/// policies accept.
#[tokio::test]
async fn long_names_of_nodes() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let accounts = scene.server.accounts();
    for length in [63, 64, 253] {
        let node = format!("n.{}", "x".repeat(length - 2));
        let reports = scene.reports(&accounts.agent_on(&node).client().await?);
        let mut report = scene.report(&node);
        assert_answer(&format!("a name of {length}"), &create(&reports, &report).await, &[]);
        for label in [node_label(OTHER), node_label(&"y".repeat(200)), String::new()] {
            report.labels_mut().insert(NODE_LABEL.to_owned(), label);
            let what = format!("a name of {length} with the label of another");
            assert_answer(&what, &create(&reports, &report).await, &["traffictrace.dev/node"]);
        }
    }
    Ok(())
}

/// A report keeps its node and trace, whoever updates it; its own agent and the garbage collector may go on updating
/// it.
#[tokio::test]
async fn updates_keep_node_and_trace() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let accounts = scene.server.accounts();
    let own = scene.reports(&accounts.agent_on(NODE).client().await?);
    let other = scene.reports(&accounts.agent_on(OTHER).client().await?);
    let created = own.create(&PostParams::default(), &scene.report(NODE)).await;
    let mut stored = created.map_err(TestError::kube("create a report as its agent"))?;
    let name = stored.name_any();
    let dry = PostParams { dry_run: true, ..PostParams::default() };

    stored.spec.sequence = 7;
    let answer = refusal(own.replace(&name, &dry, &stored).await);
    assert_answer("the next report of the same node", &answer, &[]);
    let answer = refusal(other.replace(&name, &dry, &stored).await);
    assert_answer("another agent's update", &answer, &[NODE, OTHER, "own node alone"]);

    let mut taken = scene.report(OTHER);
    taken.metadata.name = Some(name.clone());
    taken.metadata.resource_version = stored.resource_version();
    let answer = refusal(other.replace(&name, &dry, &taken).await);
    assert_answer("another node's in its place", &answer, &["nodeName, traceName and traceUID stay"]);
    let answer = refusal(own.replace(&name, &dry, &taken).await);
    assert_answer("its own agent's for another node", &answer, &["own node alone"]);

    let mut moved = stored.clone();
    moved.spec.trace_uid = "another".to_owned();
    moved.owner_references_mut()[0].uid = "another".to_owned();
    moved.labels_mut().insert(TRACE_UID_LABEL.to_owned(), "another".to_owned());
    let answer = refusal(own.replace(&name, &dry, &moved).await);
    assert_answer("the report of another trace in its place", &answer, &["stay"]);

    // Kubernetes makes this update if a trace is deleted with --cascade=orphan. If it were refused, the deletion would
    // never finish.
    let collector = scene.reports(&Identity::user(GARBAGE_COLLECTOR).client().await?);
    let orphaned = Patch::Merge(json!({ "metadata": { "ownerReferences": null } }));
    let answer = refusal(collector.patch(&name, &PatchParams::default(), &orphaned).await);
    assert_answer("the garbage collector's removal of the owner", &answer, &[]);
    let deleted = collector.delete(&name, &DeleteParams::default()).await;
    assert_answer("the garbage collector's deletion", &refusal(deleted), &[]);
    Ok(())
}

#[tokio::test]
async fn the_controller_alone_writes_statuses() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let accounts = scene.server.accounts();
    let (agent, controller) = (accounts.agent_on(NODE), accounts.controller());
    let admin = Identity::user("somebody").in_group(MASTERS);
    let cases: [(&str, &Identity, &[&str]); 3] = [
        ("a status by an administrator", &admin, &["Only TrafficTrace's controller", "somebody", "the spec"]),
        ("a status by an agent", &agent, &["cannot update resource"]),
        ("a status by the controller", &controller, &[]),
    ];
    for (what, identity, expected) in cases {
        let traces = scene.traces(&identity.client().await?);
        let answer = loop {
            // Read with the test's client, because the controller may only list traces.
            let trace = scene.traces(scene.server.client()).get("policy").await;
            let mut trace = trace.map_err(TestError::kube("read the trace"))?;
            trace.status.get_or_insert_default().phase = Some(Phase::Pending);
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            match traces.replace_status("policy", &dry, &trace).await {
                // Conflict: the product's own controller wrote a status meanwhile, so the trace is read again.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                answer => break refusal(answer),
            }
        };
        assert_answer(what, &answer, expected);
    }
    Ok(())
}

/// Only the controller may change the metadata that agents read; all other metadata of a trace is the user's.
#[tokio::test]
async fn metadata_that_agents_follow() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let admin = scene.traces(scene.server.client());
    let controller = scene.traces(&scene.server.accounts().controller().client().await?);
    let name = "policy";
    let (dry, try_out) = (
        PatchParams { dry_run: true, ..PatchParams::default() },
        PostParams { dry_run: true, ..PostParams::default() },
    );
    let said = [
        ("labels", FINISHED_LABEL, "true"),
        ("annotations", START_TIME_ANNOTATION, "2100-01-01T00:00:00Z"),
        ("annotations", REPORT_INTERVAL_ANNOTATION, "3600"),
        ("annotations", PROFILE_INTERVAL_ANNOTATION, "3600"),
        ("annotations", PROFILE_SIZE_ANNOTATION, "16"),
    ];
    let patch =
        |kind: &str, key: &str, value: &str| Patch::Merge(json!({ "metadata": { kind: { key: value } } }));
    for (kind, key, value) in said {
        let mut trace = TrafficTrace::new("new", spec("nobody"));
        metadata(&mut trace, kind).insert(key.to_owned(), value.to_owned());
        let answer = refusal(admin.create(&try_out, &trace).await);
        assert_answer(&format!("a new trace with {key}"), &answer, &[key, "controller alone"]);
        let answer = refusal(admin.patch(name, &dry, &patch(kind, key, "other")).await);
        assert_answer(&format!("{key} set by a user"), &answer, &[key, "controller alone"]);
        for (what, changed) in [("taken away", None), ("emptied", Some(""))] {
            let answer = loop {
                let set = controller.patch(name, &PatchParams::default(), &patch(kind, key, value)).await;
                let mut trace = set.map_err(TestError::kube(format!("set {key} as the controller")))?;
                let metadata = metadata(&mut trace, kind);
                metadata.remove(key);
                metadata.extend(changed.map(|value| (key.to_owned(), value.to_owned())));
                match admin.replace(name, &try_out, &trace).await {
                    // Conflict: the product's own controller changed the trace meanwhile, so the trace is read again.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    answer => break refusal(answer),
                }
            };
            assert_answer(&format!("{key} {what} by a user"), &answer, &[key, "controller alone"]);
        }
    }
    let answer = refusal(admin.patch(name, &dry, &patch("labels", "team", "shop")).await);
    assert_answer("another label beside them", &answer, &[]);
    let applied = TrafficTrace::new(name, spec("nobody"));
    let apply = PatchParams { dry_run: true, ..PatchParams::apply("somebody").force() };
    let answer = refusal(admin.patch(name, &apply, &Patch::Apply(&applied)).await);
    assert_answer("the user's manifest applied again", &answer, &[]);
    let answer = loop {
        let stored = admin.get(name).await.map_err(TestError::kube("read the trace"))?;
        let mut replaced = applied.clone();
        replaced.metadata.resource_version = stored.resource_version();
        match admin.replace(name, &try_out, &replaced).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => break refusal(answer),
        }
    };
    assert_answer("a manifest that replaces all of it", &answer, &["controller alone", "kubectl apply"]);
    Ok(())
}

/// Returns the labels or annotations of a trace.
fn metadata<'a>(trace: &'a mut TrafficTrace, kind: &str) -> &'a mut BTreeMap<String, String> {
    if kind == "labels" { trace.labels_mut() } else { trace.annotations_mut() }
}

/// A token that the API server bound to a pod names the pod's node, and a token without a pod names none.
#[tokio::test]
async fn real_tokens() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let accounts = scene.server.accounts();
    // The pod is on a node that does not exist, so nothing runs.
    let pods: Api<Pod> = Api::namespaced(scene.server.client().clone(), &accounts.namespace);
    let pod = json!({
        "metadata": { "generateName": "e2e-token-" },
        "spec": {
            "serviceAccountName": accounts.agent,
            "nodeName": NODE,
            "containers": [{ "name": "none", "image": "none" }],
        },
    });
    let pod = serde_json::from_value(pod).map_err(|error| TestError::unexpected("the test's pod", error))?;
    let pod = pods.create(&PostParams::default(), &pod).await;
    let pod = pod.map_err(TestError::kube("create a pod with the agents' account"))?;
    let checked = bound_and_unbound(&scene, &pod).await;
    let deleted = pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
    checked?;
    deleted.map(drop).map_err(TestError::kube("delete the pod"))
}

async fn bound_and_unbound(scene: &Scene, pod: &Pod) -> Result<()> {
    let accounts = scene.server.accounts();
    let account: Api<ServiceAccount> = Api::namespaced(scene.server.client().clone(), &accounts.namespace);
    let token = async |bound: Option<BoundObjectReference>| -> Result<Client> {
        let spec = TokenRequestSpec { bound_object_ref: bound, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let request = account.create_token_request(&accounts.agent, &PostParams::default(), &request).await;
        let request = request.map_err(TestError::kube("ask for a token"))?;
        let token = request.status.and_then(|status| status.token).unwrap_or_default();
        client_with_token(&token).await
    };
    let pod = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let bound = scene.reports(&token(Some(pod)).await?);
    assert_answer("a bound token, its node", &create(&bound, &scene.report(NODE)).await, &[]);
    let other = create(&bound, &scene.report(OTHER)).await;
    assert_answer("a bound token, another node", &other, &[NODE, OTHER, "own node alone"]);
    let unbound = scene.reports(&token(None).await?);
    let answer = create(&unbound, &scene.report(NODE)).await;
    assert_answer("a token of no pod", &answer, &["names no node", "--bound-object-kind"]);
    Ok(())
}
