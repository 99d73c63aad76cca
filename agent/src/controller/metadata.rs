//! The metadata of a trace that the controller writes: agents watch the metadata alone, so that this is how they learn
//! when a trace began, how often to report, and that it has finished.

use std::time::Duration;

use serde_json::{Map, Value, json};
use traffictrace_crd::{FINISHED_LABEL, REPORT_INTERVAL_ANNOTATION, START_TIME_ANNOTATION, TrafficTrace};

use crate::merge::is_over;

/// The merge patch that makes the metadata of a trace say what its status says, for nodes that report at this interval;
/// `None` when it does already.
///
/// A manifest that was saved from a finished trace and is applied again has that trace's label and annotations. Agents
/// would never look at the new trace, or end it at the old time: what is wrong is corrected.
pub(super) fn patch(object: &TrafficTrace, interval: Duration) -> Option<Value> {
    let (meta, status) = (&object.metadata, object.status.as_ref()?);
    let finished = meta.labels.as_ref().is_some_and(|labels| labels.contains_key(FINISHED_LABEL));
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    match (status.phase.is_some_and(is_over), finished) {
        (true, true) => return None,
        // Nobody reads the annotations any more.
        (true, false) => {
            labels.insert(FINISHED_LABEL.into(), "true".into());
        }
        (false, finished) => {
            if finished {
                labels.insert(FINISHED_LABEL.into(), Value::Null);
            }
            annotations.extend(start_time(object).map(|start| (START_TIME_ANNOTATION.into(), start)));
            annotations.extend(pace(object, interval).map(|pace| (REPORT_INTERVAL_ANNOTATION.into(), pace)));
        }
    }
    let changes = [("labels", labels), ("annotations", annotations)];
    let mut metadata: Map<String, Value> = changes
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| (name.to_owned(), values.into()))
        .collect();
    if metadata.is_empty() {
        return None;
    }
    // The API server refuses the patch if another trace has the name by now: it is not that one that has finished.
    metadata.insert("uid".into(), meta.uid.clone()?.into());
    Some(json!({ "metadata": metadata }))
}

fn annotation<'a>(object: &'a TrafficTrace, name: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The start time, if agents take another one for it. Without the annotation they take the creation. One that is wrong is
/// replaced and not removed, since agents that have read it go by it.
fn start_time(object: &TrafficTrace) -> Option<Value> {
    let start = object.status.as_ref()?.start_time.as_ref()?;
    let told = annotation(object, START_TIME_ANNOTATION);
    if told.is_none() && object.metadata.creation_timestamp.as_ref() == Some(start) {
        return None;
    }
    let start = start.0.to_string();
    (told != Some(&start)).then(|| start.into())
}

/// The interval to tell, if it is news. Each change is sent to all agents: a pace that is nearly right stays.
fn pace(object: &TrafficTrace, interval: Duration) -> Option<Value> {
    let asked = object.spec.interval.get().unwrap_or_default();
    let wanted = Some(interval.as_secs()).filter(|_| interval > asked);
    let told = annotation(object, REPORT_INTERVAL_ANNOTATION);
    match (wanted, told.map(str::parse::<u64>)) {
        (Some(wanted), Some(Ok(told))) if wanted.abs_diff(told) <= told / 4 => None,
        (Some(wanted), _) => Some(wanted.to_string().into()),
        (None, Some(_)) => Some(Value::Null),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "2026-11-23T10:00:00Z";
    const LATER: &str = "2026-11-23T11:00:00Z";

    /// The change of the metadata of a trace that asks for reports each 10 s.
    fn change(metadata: Value, status: Value, interval: u64) -> Option<Value> {
        let mut object = json!({
            "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
            "metadata": { "name": "t", "uid": "u1", "creationTimestamp": CREATED },
            "spec": { "selector": {} }, "status": status,
        });
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        let object = serde_json::from_value(object).unwrap();
        patch(&object, Duration::from_secs(interval)).map(|patch| patch["metadata"].clone())
    }

    #[test]
    fn the_pace_is_told_when_it_changes_by_more_than_a_quarter() {
        let running = || json!({ "phase": "Running", "startTime": CREATED });
        let told = |seconds: &str| json!({ "annotations": { REPORT_INTERVAL_ANNOTATION: seconds } });
        let none = || json!({});
        for (metadata, interval, expected) in [
            (none(), 10, None),
            (none(), 12, Some(Value::from("12"))),
            (told("100"), 125, None),
            (told("100"), 126, Some("126".into())),
            (told("100"), 75, None),
            (told("100"), 74, Some("74".into())),
            (told("100"), 10, Some(Value::Null)),
            (told("fast"), 20, Some("20".into())),
        ] {
            let expected = expected
                .map(|pace| json!({ "uid": "u1", "annotations": { REPORT_INTERVAL_ANNOTATION: pace } }));
            assert_eq!(change(metadata.clone(), running(), interval), expected, "{metadata} {interval}");
        }
    }

    #[test]
    fn the_label_and_the_start_of_another_trace_are_corrected() {
        let label = |value: Value| json!({ "labels": { FINISHED_LABEL: value } });
        let start = |time: &str| json!({ "annotations": { START_TIME_ANNOTATION: time } });
        let status = |phase: &str, start: &str| json!({ "phase": phase, "startTime": start });
        for (metadata, status, expected) in [
            (json!({}), status("Pending", CREATED), None),
            (json!({}), status("Pending", LATER), Some(start(LATER))),
            (start(LATER), status("Running", LATER), None),
            (start("2025-01-01T00:00:00Z"), status("Running", CREATED), Some(start(CREATED))),
            (json!({}), status("Failed", LATER), Some(label("true".into()))),
            (label("true".into()), status("Completed", LATER), None),
            (label("true".into()), status("Pending", CREATED), Some(label(Value::Null))),
        ] {
            let expected = expected.map(|mut expected| {
                expected["uid"] = "u1".into();
                expected
            });
            assert_eq!(change(metadata.clone(), status.clone(), 10), expected, "{metadata} {status}");
        }
    }
}
