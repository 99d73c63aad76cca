//! The metadata of a trace that the controller writes: agents watch the metadata alone, so that this is how they learn
//! when a trace began, how often to report, and that it has finished.

use serde_json::{Map, Value, json};
use traffictrace_crd::{
    FINISHED_LABEL, REPORT_INTERVAL_ANNOTATION, START_TIME_ANNOTATION, TrafficTrace, TrafficTraceStatus,
};

use crate::merge::is_over;

/// The merge patch that makes the metadata of a trace say what its status says; `None` when it does already.
pub(super) fn patch(object: &TrafficTrace) -> Option<Value> {
    let status = object.status.as_ref()?;
    let finished = status.phase.is_some_and(is_over);
    let label = object.metadata.labels.as_ref().and_then(|labels| labels.get(FINISHED_LABEL));
    // With the UID a trace of the same name that was made meanwhile is left alone.
    let mut metadata = Map::from_iter([("uid".to_owned(), object.metadata.uid.clone()?.into())]);
    if finished {
        // Nobody reads the rest any more.
        if label.is_some_and(|label| label == "true") {
            return None;
        }
        metadata.insert("labels".into(), json!({ FINISHED_LABEL: "true" }));
        return Some(json!({ "metadata": metadata }));
    }
    let mut annotations = Map::new();
    if let Some(start) = start_time(object, status) {
        annotations.insert(START_TIME_ANNOTATION.into(), start);
    }
    if let Some(interval) = interval(object, status) {
        annotations.insert(REPORT_INTERVAL_ANNOTATION.into(), interval);
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), annotations.into());
    }
    // Only the controller says that a trace has finished.
    if label.is_some() {
        metadata.insert("labels".into(), json!({ FINISHED_LABEL: Value::Null }));
    }
    (metadata.len() > 1).then(|| json!({ "metadata": metadata }))
}

fn annotation<'a>(object: &'a TrafficTrace, name: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The start time, if agents cannot take the creation for it and have not been told.
fn start_time(object: &TrafficTrace, status: &TrafficTraceStatus) -> Option<Value> {
    let start = status.start_time.as_ref()?.0;
    let told = annotation(object, START_TIME_ANNOTATION);
    if object.metadata.creation_timestamp.as_ref().is_some_and(|created| created.0 == start) {
        return told.map(|_| Value::Null);
    }
    let start = start.to_string();
    (told != Some(&start)).then(|| start.into())
}

/// The interval to tell, if it is news. Each change is sent to all agents, so that only one of more than a quarter is
/// told, and the end of the need.
fn interval(object: &TrafficTrace, status: &TrafficTraceStatus) -> Option<Value> {
    let now = u64::try_from(status.report_interval_seconds?).ok()?;
    let asked = object.spec.interval.get().ok()?.as_secs();
    let told = annotation(object, REPORT_INTERVAL_ANNOTATION);
    if now <= asked {
        return told.map(|_| Value::Null);
    }
    let known = told.and_then(|told| told.parse::<u64>().ok()).unwrap_or(asked);
    (now.abs_diff(known) * 4 > known).then(|| now.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace that asks for reports each 10 s, with metadata and a status.
    fn trace(metadata: &Value, status: &Value) -> TrafficTrace {
        let mut object = json!({
            "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
            "metadata": { "name": "t", "uid": "u1", "creationTimestamp": "2026-11-23T10:00:00Z" },
            "spec": { "selector": {} }, "status": status,
        });
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn metadata_says_what_agents_must_know_and_changes_rarely() {
        const START: &str = "2026-11-23T10:00:00Z";
        let interval = |seconds: i32| json!({ "startTime": START, "reportIntervalSeconds": seconds });
        let told = |seconds: &str| json!({ "annotations": { REPORT_INTERVAL_ANNOTATION: seconds } });
        let annotation =
            |name: &str, value: Value| Some(json!({ "uid": "u1", "annotations": { name: value } }));
        let label = |value: Value| Some(json!({ "uid": "u1", "labels": { FINISHED_LABEL: value } }));
        let late = json!({ "startTime": "2026-11-23T11:00:00Z" });
        for (metadata, status, expected) in [
            (json!({}), json!({}), None),
            (json!({}), interval(10), None),
            (json!({}), interval(12), None),
            (json!({}), interval(13), annotation(REPORT_INTERVAL_ANNOTATION, "13".into())),
            (told("100"), interval(125), None),
            (told("100"), interval(126), annotation(REPORT_INTERVAL_ANNOTATION, "126".into())),
            (told("100"), interval(74), annotation(REPORT_INTERVAL_ANNOTATION, "74".into())),
            (told("100"), interval(10), annotation(REPORT_INTERVAL_ANNOTATION, Value::Null)),
            (json!({}), late.clone(), annotation(START_TIME_ANNOTATION, "2026-11-23T11:00:00Z".into())),
            (json!({ "annotations": { START_TIME_ANNOTATION: "2026-11-23T11:00:00Z" } }), late, None),
            (
                json!({ "annotations": { START_TIME_ANNOTATION: "2026-11-23T12:00:00Z" } }),
                interval(10),
                annotation(START_TIME_ANNOTATION, Value::Null),
            ),
            (told("100"), json!({ "phase": "Completed", "reportIntervalSeconds": 10 }), label("true".into())),
            (json!({}), json!({ "phase": "Failed" }), label("true".into())),
            (json!({ "labels": { FINISHED_LABEL: "true" } }), json!({ "phase": "Failed" }), None),
            (
                json!({ "labels": { FINISHED_LABEL: "true" } }),
                json!({ "phase": "Running" }),
                label(Value::Null),
            ),
        ] {
            let patch = patch(&trace(&metadata, &status)).map(|patch| patch["metadata"].clone());
            assert_eq!(patch, expected, "{metadata} {status}");
        }
    }
}
