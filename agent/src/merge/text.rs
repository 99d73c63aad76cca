//! Texts of statuses: those of reports made fit to be shown, and what several messages say alike.

use std::borrow::Cow;

use super::http::clean_http;
use traffictrace_crd::{Interruption, NotVisible, Refused, TrafficTraceReportSpec, human};

/// A text without control characters. An agent takes them out, but a report may be of somebody else.
pub(super) fn clean(text: String) -> String {
    match human::printable(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(printable) => printable,
    }
}

/// A report whose texts are fit to be shown, all but its rows', of which only the largest are read at all.
pub(super) fn clean_report(report: TrafficTraceReportSpec) -> TrafficTraceReportSpec {
    let list = |texts: Vec<String>| texts.into_iter().map(clean).collect();
    TrafficTraceReportSpec {
        refused: report
            .refused
            .map(|Refused { reason, message }| Refused { reason: clean(reason), message: clean(message) }),
        not_seen: list(report.not_seen),
        not_enforced: list(report.not_enforced),
        not_visible: report
            .not_visible
            .into_iter()
            .map(|NotVisible { pod, reason }| NotVisible { pod: clean(pod), reason: clean(reason) })
            .collect(),
        interruptions: report
            .interruptions
            .into_iter()
            .map(|interruption| Interruption { reason: clean(interruption.reason), ..interruption })
            .collect(),
        http: report.http.map(clean_http),
        lost: report.lost.into_iter().map(|(reason, times)| (clean(reason), times)).collect(),
        ..report
    }
}

/// ` and N more`, unless there are none.
pub(crate) fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

/// Names as alternatives: `a, b or c`.
fn either(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What a pod must be to be traced, as a part of a sentence: `matches the selector and has a container named a or b`.
pub(super) fn wanted_pod(containers: &[String], past: bool) -> String {
    let (matches, has) = if past { ("matched", "had") } else { ("matches", "has") };
    let named = either(containers);
    if named.is_empty() {
        return format!("{matches} the selector");
    }
    format!("{matches} the selector and {has} a container named {named}")
}

/// The time of an interruption, as a part of a sentence: `between A and B`.
pub(crate) fn when(interruption: &Interruption) -> String {
    match &interruption.since {
        Some(since) => format!("between {} and {}", since.0, interruption.time.0),
        None => format!("until {}", interruption.time.0),
    }
}

/// A text of at most so many characters, cut with an ellipsis.
pub(super) fn shorten(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let mut short: String = text.chars().take(most.saturating_sub(3)).collect();
    short.push_str("...");
    short
}
