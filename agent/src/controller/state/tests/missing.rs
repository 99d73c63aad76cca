//! Nodes that never report, or no longer. No event tells this, so the state must look at the trace at the right time.

use traffictrace_crd::condition_type;

use super::*;

fn pod_on(node: &str) -> k8s_openapi::api::core::v1::Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("p-{node}"), "namespace": "shop", "uid": node, "creationTimestamp": at(0.0).to_string(),
        },
        "spec": { "nodeName": node, "containers": [{ "name": "main" }] },
    }))
    .unwrap()
}

fn tell_pod(state: &mut State, node: &str, seconds: f64) {
    state.tell(Told::Pod(Change::Apply(pod_on(node).into())), at(seconds));
}

fn pod_gone(state: &mut State, node: &str, seconds: f64) {
    state.tell(Told::Pod(Change::Gone(Key::of(&pod_on(node)))), at(seconds));
}

fn node_leaves(state: &mut State, node: &str, seconds: f64) {
    state.tell(Told::Node(Change::Gone(Key::of(&node_object(node)))), at(seconds));
}

/// Returns the reason of the condition Degraded, and the column of losses.
fn lacks(status: &TrafficTraceStatus) -> (&str, &str) {
    let degraded = status.conditions.iter().find(|condition| condition.type_ == condition_type::DEGRADED);
    (degraded.map_or("", |condition| condition.reason.as_str()), status.summary.lost.as_str())
}

#[test]
fn a_node_without_an_agent_is_named_when_its_time_has_passed_and_nothing_else_happens() {
    let mut state = state();
    for node in ["n1", "n2"] {
        tell_pod(&mut state, node, 0.0);
    }
    tell_trace(&mut state, trace("u1", json!({ "selector": {}, "duration": "1h" })), 0.1);
    tell_report(&mut state, "n1", 10, false, 1.0);
    let status = write(&mut state, 1.0);
    assert_eq!((status.summary.nodes.as_str(), lacks(&status)), ("1/2", ("AsAsked", "none")));
    nothing_until(&mut state, 1.0, 30.0);
    let status = write(&mut state, 30.0);
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(lacks(&status), ("NodesMissing", "not traced on 1 node"));
    nothing_until(&mut state, 30.0, 3600.0);
    // The node's agent starts.
    tell_report(&mut state, "n2", 10, false, 100.0);
    assert_eq!(lacks(&write(&mut state, 100.0)), ("AsAsked", "none"));
}

#[test]
fn a_trace_with_a_long_interval_does_not_wait_for_it_to_name_a_node() {
    let mut state = state();
    tell_pod(&mut state, "n1", 0.0);
    let spec = json!({ "selector": {}, "duration": "1h", "interval": "10m" });
    tell_trace(&mut state, trace("u1", spec), 20.0);
    write(&mut state, 20.0);
    // A node has 30 s (`UNTRACED_AFTER`) for its first report. The trace is looked at when these are over.
    nothing_until(&mut state, 20.0, 50.0);
    assert_eq!(lacks(&write(&mut state, 50.0)), ("NodesMissing", "not traced on 1 node"));
}

/// Makes a trace of a minute, of which node n1 has sent its last report and n2 only its first.
fn with_one_node_that_is_not_done() -> State {
    let mut state = state();
    tell_pod(&mut state, "n2", 0.0);
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    tell_report(&mut state, "n1", 1, true, 0.5);
    tell_report(&mut state, "n2", 1, false, 0.5);
    write(&mut state, 1.0);
    state
}

#[test]
fn a_node_that_left_the_cluster_is_not_waited_for() {
    let mut state = with_one_node_that_is_not_done();
    node_leaves(&mut state, "n2", 20.0);
    let status = write(&mut state, 20.0);
    assert_eq!(
        (status.phase, status.missing_nodes.as_slice()),
        (Some(Phase::Running), &["n2".to_owned()][..])
    );
    assert_eq!(write(&mut state, 60.0).phase, Some(Phase::Completed), "at once");
}

#[test]
fn a_node_that_is_drained_and_deleted_before_it_reported_that_is_not_missing() {
    let mut state = with_one_node_that_is_not_done();
    pod_gone(&mut state, "n2", 19.0);
    node_leaves(&mut state, "n2", 20.0);
    let status = write(&mut state, 20.0);
    assert_eq!(lacks(&status), ("NodesLeft", "maybe: the last interval of 1 node"));
    let status = write(&mut state, 60.0);
    assert_eq!((status.phase, status.missing_nodes.len()), (Some(Phase::Completed), 0), "at once");
    assert_eq!(lacks(&status), ("NodesLeft", "maybe: the last interval of 1 node"));
    finish(&mut state, 60.0);
}
