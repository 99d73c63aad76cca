use serde_json::json;
use traffictrace_crd::REPORT_INTERVAL_ANNOTATION;

use super::*;

fn meta(uid: &str, generation: i64) -> TraceMeta {
    serde_json::from_value(json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": { "name": "shop", "namespace": "web", "uid": uid, "generation": generation },
    }))
    .unwrap()
}

fn trace(uid: &str, generation: i64, status: &serde_json::Value) -> TrafficTrace {
    serde_json::from_value(json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
        "metadata": { "name": "shop", "namespace": "web", "uid": uid, "generation": generation },
        "spec": { "selector": {} }, "status": status,
    }))
    .unwrap()
}

fn started() -> serde_json::Value {
    json!({ "startTime": "2026-11-23T10:00:00Z" })
}

fn is_newest(answer: Answer) -> bool {
    matches!(answer, Answer::Newest(_))
}

fn due(traces: &mut Traces) -> usize {
    traces.due(|_| true).len()
}

#[test]
fn a_trace_is_read_once_for_each_generation() {
    let mut traces = Traces::default();
    traces.apply(&meta("u1", 1));
    assert_eq!(due(&mut traces), 1);
    assert_eq!(due(&mut traces), 0, "it is being read");
    assert!(is_newest(traces.read(&"u1".into(), trace("u1", 1, &started()))));
    // A change of the status alone, which happens often, does not make the trace due again.
    traces.apply(&meta("u1", 1));
    assert_eq!(due(&mut traces), 0);
    traces.apply(&meta("u1", 2));
    assert_eq!(due(&mut traces), 1);
}

#[test]
fn a_trace_of_a_namespace_without_pods_here_is_not_read() {
    let mut traces = Traces::default();
    traces.apply(&meta("u1", 1));
    assert!(traces.due(|key| key.namespace == "other").is_empty());
    assert_eq!(traces.due(|key| key.namespace == "web").len(), 1, "a pod has come");
}

#[test]
fn an_answer_that_is_older_than_what_is_known_is_asked_for_again() {
    let mut traces = Traces::default();
    traces.apply(&meta("u1", 2));
    assert_eq!(due(&mut traces), 1);
    for other in [trace("u1", 1, &started()), trace("u2", 5, &started())] {
        assert!(matches!(traces.read(&"u1".into(), other), Answer::Again(_)));
        assert_eq!(due(&mut traces), 0, "after the pause");
    }
    assert!(is_newest(traces.read(&"u1".into(), trace("u1", 2, &started()))));
    traces.remove(&"u1".into());
    assert!(matches!(traces.read(&"u1".into(), trace("u1", 2, &started())), Answer::Unknown));
}

/// Returns a version of the object in which the controller asks for reports at the interval `pace`.
fn paced(mut object: serde_json::Value, version: &str, pace: &str) -> serde_json::Value {
    object["metadata"]["resourceVersion"] = version.into();
    object["metadata"]["annotations"] = json!({ REPORT_INTERVAL_ANNOTATION: pace, "other": "note" });
    object
}

#[test]
fn an_older_answer_undoes_no_newer_pace() {
    for (heard, answered, expected) in [
        ("9", "10", "of the answer"),
        ("10", "9", "of the watch"),
        ("10", "10", "of the watch"),
        ("10", "a", "of the watch"),
        ("a", "10", "of the watch"),
    ] {
        let mut traces = Traces::default();
        let told = paced(serde_json::to_value(meta("u1", 1)).unwrap(), heard, "of the watch");
        assert!(traces.apply(&serde_json::from_value(told).unwrap()));
        due(&mut traces);
        let answer =
            paced(serde_json::to_value(trace("u1", 1, &started())).unwrap(), answered, "of the answer");
        let Answer::Newest(trace) = traces.read(&"u1".into(), serde_json::from_value(answer).unwrap()) else {
            panic!("the spec is the newest")
        };
        let pace = trace.metadata.annotations.unwrap()[REPORT_INTERVAL_ANNOTATION].clone();
        assert_eq!(pace, expected, "{answered} after {heard}");
    }
}

#[test]
fn an_older_list_undoes_no_newer_pace() {
    let mut traces = Traces::default();
    let mut told = |version: &str| {
        let told = paced(serde_json::to_value(meta("u1", 1)).unwrap(), version, "10");
        traces.apply(&serde_json::from_value(told).unwrap())
    };
    let newest = ["10", "9", "10", "11", "a", "9"].map(&mut told);
    assert_eq!(newest, [true, false, true, true, true, true], "nothing is known of the order of a and 9");
}

#[test]
fn pauses_grow_until_an_answer_is_of_use() {
    let mut traces = Traces::default();
    traces.apply(&meta("u1", 2));
    due(&mut traces);
    let uid = "u1".to_owned();
    for most in [500, 1000, 2000, 4000] {
        let pause = traces.again(&uid, None).unwrap().as_millis();
        assert!(pause >= most / 2 && pause <= most, "{pause} of {most}");
        assert_eq!(due(&mut traces), 0, "it is read again after the pause, and by nobody else");
    }
    let asked = traces.again(&uid, Some(Duration::from_secs(20))).unwrap();
    assert!(asked >= Duration::from_secs(20), "{asked:?}");
    let Answer::Again(pause) = traces.read(&uid, trace("u1", 1, &started())) else { panic!("too old") };
    assert!(pause >= Duration::from_millis(7500), "{pause:?} after five others");
    assert!(is_newest(traces.read(&uid, trace("u1", 2, &started()))));
    assert!(traces.again(&uid, None).unwrap() <= Duration::from_millis(500), "it worked");
    traces.remove(&uid);
    assert_eq!(traces.again(&uid, None), None);
}

#[test]
fn one_that_nobody_has_begun_is_read_again_when_it_changes() {
    let mut traces = Traces::default();
    traces.apply(&meta("u1", 1));
    assert_eq!(due(&mut traces), 1);
    traces.read(&"u1".into(), trace("u1", 1, &json!({})));
    assert_eq!(due(&mut traces), 0, "nothing has changed yet");
    traces.apply(&meta("u1", 1));
    assert_eq!(due(&mut traces), 1);
}

#[test]
fn what_was_absent_is_read_again_and_what_is_unreadable_is_not() {
    let mut traces = Traces::default();
    traces.apply(&meta("u1", 1));
    due(&mut traces);
    traces.absent(&"u1".into());
    assert_eq!(due(&mut traces), 1);
    traces.unreadable(&"u1".into());
    assert_eq!(due(&mut traces), 0);
    traces.apply(&meta("u1", 2));
    assert_eq!(due(&mut traces), 1);
}
