//! Kubernetes Events on a trace: each noteworthy change is sent once.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use traffictrace_crd::{Phase, TrafficTraceStatus, condition_type, human};

use crate::merge::{and_more, when};

/// Maximum length of an Event's note that the API server accepts, in bytes.
const NOTE: usize = 1024;

/// An Event to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    is_warning: bool,
    pub(super) reason: &'static str,
    note: String,
    /// The node that the Event is about, if there is one.
    node: Option<String>,
}

impl From<Notice> for Event {
    fn from(notice: Notice) -> Self {
        let node = |name| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(name),
            ..ObjectReference::default()
        };
        Self {
            type_: if notice.is_warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.to_owned(),
            note: Some(notice.note),
            action: "Trace".to_owned(),
            // kube's `Recorder` sends Events that differ only in their notes as one, with the first note. The related
            // node keeps those of different nodes apart.
            secondary: notice.node.map(node),
        }
    }
}

/// Returns the Events for the change from one status of a trace to the next, at most one of each kind.
pub(super) fn events(before: Option<&TrafficTraceStatus>, after: &TrafficTraceStatus) -> Vec<Notice> {
    let nothing = TrafficTraceStatus::default();
    let before = before.unwrap_or(&nothing);
    let mut events = Vec::new();
    let mut tell = |is_warning, reason, note: String, node: Option<&str>| {
        let node = node.map(str::to_owned);
        events.push(Notice { is_warning, reason, note: within_limit(note), node });
    };
    let became = |phase| after.phase == Some(phase) && before.phase != Some(phase);
    if became(Phase::Running) {
        let note = format!(
            "Tracing has begun: {} on {} selected.",
            human::number_of(after.pods_matched, "pod"),
            human::number_of(after.nodes_matched, "node")
        );
        tell(false, "Started", note, None);
    }
    let known = |node: &str| before.refused_nodes.iter().any(|refused| refused.node_name == node);
    let refused = after.refused_nodes.iter().filter(|refused| !known(&refused.node_name));
    if let Some((first, more)) = first_of(refused) {
        let note = format!("{}{more} cannot trace ({}): {}", first.node_name, first.reason, first.message);
        tell(true, "NodeRefused", note, Some(&first.node_name));
    }
    let interruptions = after.interruptions.iter().filter(|new| !before.interruptions.contains(new));
    if let Some((first, more)) = first_of(interruptions) {
        let node = first.node_name.as_deref().unwrap_or("a node");
        let (when, reason) = (when(first), &first.reason);
        let note =
            format!("Tracing on {node}{more} was interrupted ({reason}); bytes {when} may be missing.");
        tell(true, "Interrupted", note, first.node_name.as_deref());
    }
    if let Some((first, more)) = first_of(losses(after).difference(&losses(before))) {
        let note = format!(
            "Something could not be counted: {first}{more}; the status has the numbers under lost and http.totals."
        );
        tell(true, "Lost", note, None);
    }
    if after.truncated && !before.truncated {
        let note =
            "The status lists fewer flows than were asked for, so that it stays small; its totals are exact.";
        tell(false, "Truncated", note.into(), None);
    }
    let known = |node: &str| before.skewed_clocks.iter().any(|clock| clock.node_name == node);
    if let Some((first, more)) = first_of(after.skewed_clocks.iter().filter(|clock| !known(&clock.node_name)))
    {
        let note = format!(
            "The clock of {}{more} differs from the API server's by {} s: set it right (NTP).",
            first.node_name, first.offset_seconds
        );
        tell(true, "ClockSkew", note, None);
    }
    if let Some((first, more)) =
        first_of(after.missing_nodes.iter().filter(|node| !before.missing_nodes.contains(node)))
    {
        let note = format!("Numbers of {first}{more} are missing; the condition Degraded says why.");
        tell(true, "NodesMissing", note, Some(first));
    }
    if became(Phase::Completed) {
        let bytes = |count: i64| human::bytes(u64::try_from(count).unwrap_or(0));
        let requests = Some(after.summary.http.as_str()).filter(|requests| !requests.is_empty());
        let note = format!(
            "The trace is over: {} received and {} sent in {} flows{}.",
            bytes(after.totals.rx_bytes),
            bytes(after.totals.tx_bytes),
            after.flows_total,
            requests.map(|requests| format!("; HTTP: {requests}")).unwrap_or_default()
        );
        tell(false, "Completed", note, None);
    }
    if became(Phase::Failed) {
        let failed = after.conditions.iter().find(|condition| condition.type_ == condition_type::FAILED);
        let note = failed.map(|condition| condition.message.clone()).unwrap_or_default();
        tell(true, "Failed", note, None);
    }
    events
}

/// Returns the reasons for which a status has losses, those of HTTP requests with the prefix `HTTP `.
fn losses(status: &TrafficTraceStatus) -> BTreeSet<String> {
    let http =
        status.http.iter().flat_map(|http| http.totals.unobserved.keys().chain(http.totals.lost.keys()));
    status.lost.keys().cloned().chain(http.map(|reason| format!("HTTP {reason}"))).collect()
}

/// Returns the first item, and the text ` and N more` about the others.
fn first_of<T>(mut some: impl Iterator<Item = T>) -> Option<(T, String)> {
    let first = some.next()?;
    Some((first, and_more(some.count())))
}

/// Cuts a note to the length that the API server accepts.
fn within_limit(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE));
    note
}

#[cfg(test)]
mod tests {
    use traffictrace_crd::{HttpStatus, HttpTotals, Interruption, RefusedNode};

    use super::*;

    fn reasons(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Vec<&'static str> {
        events(Some(before), after).into_iter().map(|event| event.reason).collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let begun = TrafficTraceStatus { phase: Some(Phase::Running), pods_matched: 3, ..Default::default() };
        assert_eq!(reasons(&TrafficTraceStatus::default(), &begun), ["Started"]);
        assert!(reasons(&begun, &begun).is_empty());
        let refused = |names: &[&str]| TrafficTraceStatus {
            refused_nodes: names
                .iter()
                .map(|name| RefusedNode {
                    node_name: (*name).to_owned(),
                    reason: "TooManySessions".into(),
                    message: "delete one".into(),
                })
                .collect(),
            ..begun.clone()
        };
        let told = events(Some(&begun), &refused(&["n1", "n2"]));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].node.as_deref(), Some("n1"));
        assert_eq!(told[0].note, "n1 and 1 more cannot trace (TooManySessions): delete one");
        assert!(reasons(&refused(&["n1", "n2"]), &refused(&["n2"])).is_empty());
        let late = TrafficTraceStatus {
            lost: [("tableFull".to_owned(), 3)].into(),
            truncated: true,
            interruptions: vec![Interruption {
                time: serde_json::from_value("2026-11-23T10:00:08Z".into()).unwrap(),
                since: serde_json::from_value("2026-11-23T10:00:00Z".into()).unwrap(),
                node_name: Some("n1".into()),
                reason: "AgentRestarted".into(),
            }],
            missing_nodes: vec!["n3".into()],
            phase: Some(Phase::Completed),
            ..begun.clone()
        };
        assert_eq!(reasons(&begun, &late), ["Interrupted", "Lost", "Truncated", "NodesMissing", "Completed"]);
        let told = events(Some(&begun), &late)[0].note.clone();
        assert!(told.contains("between 2026-11-23T10:00:00Z and 2026-11-23T10:00:08Z"), "{told}");
        assert!(reasons(&late, &late).is_empty());
    }

    #[test]
    fn requests_that_were_lost_are_told() {
        let with = |totals| TrafficTraceStatus {
            http: Some(HttpStatus { totals, ..HttpStatus::default() }),
            ..TrafficTraceStatus::default()
        };
        let lost = [("records".to_owned(), 3)].into();
        let (whole, lossy) =
            (with(HttpTotals::default()), with(HttpTotals { lost, ..HttpTotals::default() }));
        let told = events(Some(&whole), &lossy);
        assert_eq!((told.len(), told[0].reason), (1, "Lost"));
        assert!(told[0].note.contains("HTTP records"), "{}", told[0].note);
        assert!(reasons(&lossy, &lossy).is_empty());
    }
}
