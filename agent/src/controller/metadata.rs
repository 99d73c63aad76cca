//! The metadata of a trace that the controller writes. Agents watch only the metadata. They learn from it when a trace
//! began and finished, and how often to write reports and profiles, and of which size.

use std::time::Duration;

use serde_json::{Map, Value, json};
use traffictrace_crd::{
    FINISHED_LABEL, MAX_PROFILE_KIBIBYTES, PROFILE_INTERVAL, PROFILE_INTERVAL_ANNOTATION,
    PROFILE_SIZE_ANNOTATION, REPORT_INTERVAL_ANNOTATION, START_TIME_ANNOTATION, TrafficTrace,
};

use crate::merge::is_over;

/// Limits on how often and how much the nodes of a trace may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paces {
    /// Interval at which each node reports.
    pub(super) reports: Duration,
    /// Interval at which each node writes its profile.
    pub(super) profiles: Duration,
    /// Maximum size of a node's profile, in KiB.
    pub(super) profile_kibibytes: u64,
}

/// Returns the merge patch that makes the metadata of a trace match its status and these paces, or `None` if it matches
/// already.
///
/// A manifest that was saved from a finished trace and is applied again has the old label and annotations. With these,
/// agents would ignore the new trace or end it at the old time, so they are corrected.
pub(super) fn patch(object: &TrafficTrace, paces: &Paces) -> Option<Value> {
    let (meta, status) = (&object.metadata, object.status.as_ref()?);
    let finished = meta.labels.as_ref().is_some_and(|labels| labels.contains_key(FINISHED_LABEL));
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    match (status.phase.is_some_and(is_over), finished) {
        (true, true) => return None,
        // Agents do not read the annotations of a finished trace, so these stay as they are.
        (true, false) => {
            labels.insert(FINISHED_LABEL.into(), "true".into());
        }
        (false, finished) => {
            if finished {
                labels.insert(FINISHED_LABEL.into(), Value::Null);
            }
            annotations.extend(start_time(object).map(|start| (START_TIME_ANNOTATION.into(), start)));
            let asked = object.spec.interval.get().unwrap_or_default();
            let size = Some(paces.profile_kibibytes).filter(|size| *size < MAX_PROFILE_KIBIBYTES);
            let numbers = [
                (REPORT_INTERVAL_ANNOTATION, slower(paces.reports, asked), 4),
                (PROFILE_INTERVAL_ANNOTATION, slower(paces.profiles, PROFILE_INTERVAL), 4),
                (PROFILE_SIZE_ANNOTATION, size, u64::MAX),
            ];
            for (name, wanted, part) in numbers {
                annotations.extend(change(object, name, wanted, part).map(|value| (name.into(), value)));
            }
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
    // If the trace was deleted and created again meanwhile, its UID differs, and the API server refuses the patch.
    metadata.insert("uid".into(), meta.uid.clone()?.into());
    Some(json!({ "metadata": metadata }))
}

fn annotation<'a>(object: &'a TrafficTrace, name: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Returns the start time, if agents would assume another one. Without the annotation they assume the creation time. A
/// wrong annotation is replaced instead of removed, since agents that have read it keep its value.
fn start_time(object: &TrafficTrace) -> Option<Value> {
    let start = object.status.as_ref()?.start_time.as_ref()?;
    let told = annotation(object, START_TIME_ANNOTATION);
    if told.is_none() && object.metadata.creation_timestamp.as_ref() == Some(start) {
        return None;
    }
    let start = start.0.to_string();
    (told != Some(&start)).then(|| start.into())
}

/// Returns the seconds of an interval, if it is longer than the one that nodes use by default.
fn slower(interval: Duration, usual: Duration) -> Option<u64> {
    Some(interval.as_secs()).filter(|_| interval > usual)
}

/// Returns the number to write, if it has changed enough. Each change is sent to all agents, so the written number
/// stays if the wanted one differs by at most 1/`part` of it.
fn change(object: &TrafficTrace, name: &str, wanted: Option<u64>, part: u64) -> Option<Value> {
    let told = annotation(object, name);
    match (wanted, told.map(str::parse::<u64>)) {
        (Some(wanted), Some(Ok(told))) if wanted.abs_diff(told) <= told / part => None,
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

    /// Returns the metadata patch of a trace that asks for reports every 10 s and gets them at this interval.
    fn change(metadata: Value, status: Value, interval: u64) -> Option<Value> {
        change_of_all(metadata, status, (interval, 60, 512))
    }

    fn change_of_all(metadata: Value, status: Value, paces: (u64, u64, u64)) -> Option<Value> {
        let mut object = json!({
            "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
            "metadata": { "name": "t", "uid": "u1", "creationTimestamp": CREATED },
            "spec": { "selector": {} }, "status": status,
        });
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        let object = serde_json::from_value(object).unwrap();
        let (reports, profiles, profile_kibibytes) = paces;
        let [reports, profiles] = [reports, profiles].map(Duration::from_secs);
        patch(&object, &Paces { reports, profiles, profile_kibibytes }).map(|patch| patch["metadata"].clone())
    }

    #[test]
    fn the_pace_and_size_of_profiles_are_told_where_they_are_not_the_usual() {
        let running = || json!({ "phase": "Running", "startTime": CREATED });
        let told = |seconds: Option<&str>, size: Option<&str>| {
            let mut annotations = json!({});
            for (name, value) in [(PROFILE_INTERVAL_ANNOTATION, seconds), (PROFILE_SIZE_ANNOTATION, size)] {
                if let Some(value) = value {
                    annotations[name] = value.into();
                }
            }
            json!({ "annotations": annotations })
        };
        for (before, (seconds, size), expected) in [
            (json!({}), (60, 512), None),
            (json!({}), (120, 16), Some(told(Some("120"), Some("16")))),
            (told(Some("120"), Some("16")), (140, 16), None),
            (told(Some("120"), Some("32")), (120, 16), Some(told(None, Some("16")))),
            (told(Some("120"), Some("32")), (200, 32), Some(told(Some("200"), None))),
        ] {
            let expected = expected.map(|mut expected| {
                expected["uid"] = "u1".into();
                expected
            });
            assert_eq!(change_of_all(before.clone(), running(), (10, seconds, size)), expected, "{before}");
        }
        let usual = change_of_all(told(Some("120"), Some("16")), running(), (10, 60, 512)).unwrap();
        let annotations = &usual["annotations"];
        assert_eq!(
            (&annotations[PROFILE_INTERVAL_ANNOTATION], &annotations[PROFILE_SIZE_ANNOTATION]),
            (&Value::Null, &Value::Null)
        );
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
