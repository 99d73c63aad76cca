//! The Kubernetes Events of a trace: what changed from one status to the next, each change once.

use traffictrace_crd::{Phase, TrafficTraceStatus, condition_type};

use crate::merge::shorten;

/// Longest note of an Event, in characters; the API server takes 1,024 bytes.
const NOTE: usize = 500;
/// A list of a status that has so many entries may have left some out: what is new in it may not be news.
const FULL: usize = 8;

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// One word in CamelCase, which says what happened.
    pub(super) reason: &'static str,
    /// One word in CamelCase, which says what the controller was doing.
    pub(super) action: &'static str,
    pub(super) is_warning: bool,
    pub(super) note: String,
    /// The node where it happened, if it was one.
    pub(super) node: Option<String>,
}

/// The Events of one write of a status, at most one of each kind: it names the first, and says how many more there are.
pub(super) fn notices(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Vec<Notice> {
    let all = [
        started(before, after),
        refused(before, after),
        truncated(before, after),
        lost(before, after),
        interrupted(before, after),
        clock_skew(before, after),
        missing(before, after),
        finished(before, after),
    ];
    all.into_iter().flatten().collect()
}

fn notice(reason: &'static str, action: &'static str, is_warning: bool, note: String) -> Notice {
    Notice { reason, action, is_warning, note: shorten(note, NOTE), node: None }
}

fn started(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    let first = before.nodes_reporting == 0 && after.nodes_reporting > 0;
    let note = format!(
        "Tracing has begun on {} of {} nodes with selected pods.",
        after.nodes_reporting, after.nodes_matched
    );
    first.then(|| notice("Started", "Trace", false, note))
}

fn refused(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    let (first, more) = news(&before.refused_nodes, &after.refused_nodes, |node| &node.node_name)?;
    let note = format!("Refused by {}{more}: {} ({})", first.node_name, first.message, first.reason);
    Some(Notice { node: Some(first.node_name.clone()), ..notice("NodeRefused", "Trace", true, note) })
}

fn truncated(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    let note = format!(
        "The list of flows is cut to {}, so that the object stays small; totals are exact all the same.",
        after.top_flows.len()
    );
    (after.truncated && !before.truncated).then(|| notice("Truncated", "Merge", false, note))
}

/// A reason of loss that is new. That more is lost for the same reason shows in the status.
fn lost(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    let mut new = after.lost.iter().filter(|(reason, _)| !before.lost.contains_key(*reason));
    let (reason, times) = new.next()?;
    let note = format!("Lost: {reason} {times}{}. status.lost has all of it.", and_more(new.count()));
    Some(notice("Lost", "Count", true, note))
}

fn interrupted(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    // Not by `news`: the list has the newest entries, so that what is new in it is news also when it is full.
    let mut new =
        after.interruptions.iter().filter(|interruption| !before.interruptions.contains(interruption));
    let first = new.next()?;
    let node = first.node_name.as_deref().unwrap_or("a node");
    let note = format!(
        "Tracing on {node} was interrupted until {} ({}){}: bytes of that time may be missing.",
        first.time.0,
        first.reason,
        and_more(new.count())
    );
    Some(Notice { node: first.node_name.clone(), ..notice("Interrupted", "Count", true, note) })
}

fn clock_skew(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    let (first, more) = news(&before.skewed_clocks, &after.skewed_clocks, |clock| &clock.node_name)?;
    let direction = if first.offset_seconds < 0 { "behind" } else { "ahead of" };
    let note = format!(
        "The clock of {}{more} is not the API server's ({} s {direction} it): set it right (NTP).",
        first.node_name,
        first.offset_seconds.unsigned_abs()
    );
    Some(notice("ClockSkew", "Count", true, note))
}

fn missing(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    let (first, more) = news(&before.missing_nodes, &after.missing_nodes, |node| node)?;
    let note = format!("The last numbers of {first}{more} are missing.");
    Some(Notice { node: Some(first.clone()), ..notice("NodesMissing", "Merge", true, note) })
}

fn finished(before: &TrafficTraceStatus, after: &TrafficTraceStatus) -> Option<Notice> {
    if before.phase == after.phase {
        return None;
    }
    let message = |kind: &str| {
        let mut conditions = after.conditions.iter();
        let condition = conditions.find(|condition| condition.type_ == kind);
        condition.map(|condition| condition.message.clone()).unwrap_or_default()
    };
    match after.phase? {
        Phase::Completed => {
            let (rx, tx) = (&after.summary.rx, &after.summary.tx);
            let note = format!("{} Received {rx}, sent {tx}.", message(condition_type::COMPLETE));
            Some(notice("Completed", "Complete", false, note))
        }
        Phase::Failed => Some(notice("Failed", "Fail", true, message(condition_type::FAILED))),
        Phase::Pending | Phase::Running => None,
    }
}

/// The first entry that was not in a list before, and a text that says how many more such entries there are.
fn news<'a, T>(before: &[T], after: &'a [T], name: impl Fn(&T) -> &String) -> Option<(&'a T, String)> {
    if before.len() >= FULL {
        return None;
    }
    let mut new = after.iter().filter(|entry| !before.iter().any(|old| name(old) == name(entry)));
    let first = new.next()?;
    Some((first, and_more(new.count())))
}

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(fields: Value) -> TrafficTraceStatus {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn each_change_gives_one_event_once() {
        let refused = |nodes: &[&str]| {
            let entry = |node: &&str| json!({ "nodeName": node, "reason": "TooManySessions", "message": "Delete one." });
            json!({ "refusedNodes": nodes.iter().map(entry).collect::<Vec<_>>() })
        };
        let interruption = |node: &str, second: i32| json!({ "nodeName": node, "time": format!("2026-11-23T10:00:{second:02}Z"), "reason": "AgentRestarted" });
        let condition = |kind: &str, message: &str| {
            json!([{ "type": kind, "status": "True", "reason": "R", "message": message,
                     "lastTransitionTime": "2026-11-23T10:00:00Z" }])
        };
        for (before, after, expected) in [
            (
                json!({ "phase": "Pending" }),
                json!({ "phase": "Running", "nodesReporting": 1, "nodesMatched": 2 }),
                "Normal Started: Tracing has begun on 1 of 2 nodes with selected pods.",
            ),
            (
                refused(&["n0"]),
                refused(&["n0", "n1", "n2"]),
                "Warning NodeRefused: Refused by n1 and 1 more: Delete one. (TooManySessions)",
            ),
            (
                json!({}),
                json!({ "truncated": true }),
                "Normal Truncated: The list of flows is cut to 0, so that the object stays small; totals are exact all the \
                 same.",
            ),
            (
                json!({ "lost": { "a": 1 } }),
                json!({ "lost": { "a": 5, "b": 7 } }),
                "Warning Lost: Lost: b 7. status.lost has all of it.",
            ),
            (
                json!({ "interruptions": [interruption("n1", 1)] }),
                json!({ "interruptions": [interruption("n1", 1), interruption("n1", 2), interruption("n2", 3)] }),
                "Warning Interrupted: Tracing on n1 was interrupted until 2026-11-23T10:00:02Z (AgentRestarted) and 1 more: \
                 bytes of that time may be missing.",
            ),
            (
                json!({ "skewedClocks": [{ "nodeName": "n1", "offsetSeconds": 7 }] }),
                json!({ "skewedClocks": [{ "nodeName": "n1", "offsetSeconds": 8 }, { "nodeName": "n2", "offsetSeconds": -61 }] }),
                "Warning ClockSkew: The clock of n2 is not the API server's (61 s behind it): set it right (NTP).",
            ),
            (
                json!({}),
                json!({ "missingNodes": ["n1", "n2"] }),
                "Warning NodesMissing: The last numbers of n1 and 1 more are missing.",
            ),
            (
                json!({ "phase": "Running" }),
                json!({ "phase": "Completed", "conditions": condition("Complete", "The trace is over."),
                        "summary": { "rx": "1 B", "tx": "2 B" } }),
                "Normal Completed: The trace is over. Received 1 B, sent 2 B.",
            ),
            (
                json!({ "phase": "Pending" }),
                json!({ "phase": "Failed", "conditions": condition("Failed", "No pod.") }),
                "Warning Failed: No pod.",
            ),
        ] {
            let (before, after) = (status(before), status(after));
            let told = notices(&before, &after);
            let text = |notice: &Notice| {
                let kind = if notice.is_warning { "Warning" } else { "Normal" };
                format!("{kind} {}: {}", notice.reason, notice.note)
            };
            assert_eq!(told.iter().map(text).collect::<Vec<_>>(), [expected]);
            assert_eq!(notices(&after, &after), [], "the same status again");
        }
    }

    #[test]
    fn a_list_that_may_have_left_some_out_is_no_news() {
        let nodes = |from: usize| json!({ "missingNodes": (from..from + 8).map(|node| format!("n{node}")).collect::<Vec<_>>() });
        assert_eq!(notices(&status(nodes(1)), &status(nodes(2))), []);
    }
}
