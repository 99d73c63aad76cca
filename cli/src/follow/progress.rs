//! Messages about a trace until its first numbers come.

use jiff::{Timestamp, tz::TimeZone};
use traffictrace_crd::{
    Phase, TrafficTrace, condition_reason as reason, condition_type as kind, human::printable,
};

/// Hint at the command that finds out what is missing.
const CHECK: &str = "`kubectl traffictrace check` tells what is there and what is missing";

/// The progress that was printed so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Reason and message of the last condition that was printed.
    told: Option<(String, String)>,
}

impl Progress {
    /// Returns the sentence about a new state of the trace, if there is one.
    pub(super) fn news(&mut self, trace: &TrafficTrace) -> Option<String> {
        let condition = condition(trace, kind::TRACING)?;
        if phase(trace).is_some_and(is_over) || condition.reason == reason::ENDED {
            return None;
        }
        let now = (condition.reason.clone(), condition.message.clone());
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        let mut sentence = printable(&condition.message).into_owned();
        if condition.reason == reason::NO_PODS {
            let end = trace.status.as_ref().and_then(|status| status.end_time.as_ref());
            let end = end.map(|end| format!(" until {}", time_of_day(end.0))).unwrap_or_default();
            sentence.push_str(&format!(" The trace waits for such pods{end}."));
        }
        self.told = Some(now);
        Some(sentence)
    }
}

/// Returns a sentence that says what is wrong with a trace that has no numbers after `seconds`. `None` if the trace has
/// numbers, or waits for pods, which an earlier message said.
pub(super) fn missing(trace: &TrafficTrace, seconds: u64) -> Option<String> {
    let is_answered = trace.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
    if !is_answered {
        return Some(format!(
            "No controller has answered within {seconds} s, so nothing is traced yet: {CHECK}. The trace waits for it."
        ));
    }
    let tracing = condition(trace, kind::TRACING)?;
    if tracing.reason != reason::WAITING_FOR_NODES {
        return None;
    }
    let status = trace.status.as_ref()?;
    let nodes = traffictrace_crd::human::number_of(status.nodes_matched, "node");
    Some(format!(
        "No agent has reported within {seconds} s from the {nodes} with selected pods, so nothing is traced yet: {CHECK}."
    ))
}

/// Returns the reason why a trace has failed.
pub(super) fn failure(trace: &TrafficTrace) -> String {
    let of = |kind, holds| condition(trace, kind).filter(|condition| condition.status == holds);
    let told = of(kind::FAILED, "True").or_else(|| of(kind::ACCEPTED, "False"));
    told.map_or_else(
        || "the trace has failed, and its status does not say why".to_owned(),
        |condition| format!("{} ({})", printable(&condition.message), printable(&condition.reason)),
    )
}

/// Returns the phase of a trace.
pub(super) fn phase(trace: &TrafficTrace) -> Option<Phase> {
    trace.status.as_ref()?.phase
}

/// Returns true if no more numbers will come in this phase.
pub(super) fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Failed)
}

/// Formats a time of day in this machine's time zone.
fn time_of_day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

fn condition<'a>(
    trace: &'a TrafficTrace,
    kind: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    trace.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trace(status: &Value) -> TrafficTrace {
        let mut trace = json!({
            "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {}},
        });
        if !status.is_null() {
            trace["status"] = status.clone();
        }
        serde_json::from_value(trace).unwrap()
    }

    fn waiting(reason: &str, message: &str) -> TrafficTrace {
        trace(&json!({
            "observedGeneration": 1, "phase": "Pending", "nodesMatched": 2, "endTime": "2026-11-28T10:00:00Z",
            "conditions": [
                {"type": "Tracing", "status": "False", "reason": reason, "message": message,
                 "lastTransitionTime": "2026-11-28T09:00:00Z"},
            ],
        }))
    }

    #[test]
    fn each_state_is_told_once() {
        let mut progress = Progress::default();
        assert_eq!(progress.news(&trace(&Value::Null)), None);
        let told = progress.news(&waiting("NoPods", "No pod matches.")).unwrap();
        assert!(told.starts_with("No pod matches. The trace waits for such pods until "), "{told}");
        assert_eq!(progress.news(&waiting("NoPods", "No pod matches.")), None);
        let told = progress.news(&waiting("WaitingForNodes", "The first report of a\u{1b}[2J is awaited."));
        assert_eq!(told.as_deref(), Some("The first report of a?[2J is awaited."));
    }

    #[test]
    fn what_is_missing_is_named() {
        let controller = missing(&trace(&Value::Null), 5).unwrap();
        assert!(controller.starts_with("No controller has answered within 5 s"), "{controller}");
        let agents = missing(&waiting("WaitingForNodes", "m"), 5).unwrap();
        assert!(agents.starts_with("No agent has reported within 5 s from the 2 nodes"), "{agents}");
        assert_eq!(missing(&waiting("NoPods", "m"), 5), None);
        assert_eq!(missing(&waiting("Reporting", "m"), 5), None);
    }

    #[test]
    fn a_failure_comes_with_its_reason() {
        let failed = trace(&json!({"phase": "Failed", "conditions": [
            {"type": "Failed", "status": "True", "reason": "NoAgent", "message": "No agent ran.",
             "lastTransitionTime": "2026-11-28T09:00:00Z"},
        ]}));
        assert_eq!(failure(&failed), "No agent ran. (NoAgent)");
    }
}
