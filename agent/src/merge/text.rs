//! Texts of statuses: cleaned texts of reports, and phrases that several messages share.

use std::borrow::Cow;

use super::http::clean_http;
use traffictrace_crd::{Interruption, NotVisible, Refused, TrafficTraceReportSpec, human};

/// Removes control characters. Agents remove them, too, but a report may have been written by somebody else.
pub(super) fn clean(text: String) -> String {
    match human::printable(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(printable) => printable,
    }
}

/// Makes a report's texts safe to show, except those in rows, of which only the largest are ever decoded.
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

/// Returns ` and N more`, or nothing if `count` is 0.
pub(crate) fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

/// Lists names as alternatives: `a, b or c`.
fn either(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Describes a pod that would be traced, as a part of a sentence: `matches the selector and has a container named a or
/// b`.
pub(super) fn wanted_pod(containers: &[String], past: bool) -> String {
    let (matches, has) = if past { ("matched", "had") } else { ("matches", "has") };
    let named = either(containers);
    if named.is_empty() {
        return format!("{matches} the selector");
    }
    format!("{matches} the selector and {has} a container named {named}")
}

/// Describes the time of an interruption, as a part of a sentence: `between A and B`.
pub(crate) fn when(interruption: &Interruption) -> String {
    match &interruption.since {
        // Times have whole seconds, so those of a short interruption can be equal.
        Some(since) if *since == interruption.time => format!("within one second at {}", since.0),
        Some(since) => format!("between {} and {}", since.0, interruption.time.0),
        None => format!("until {}", interruption.time.0),
    }
}

/// Cuts a text to at most `most` characters, with an ellipsis.
pub(super) fn shorten(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let mut short: String = text.chars().take(most.saturating_sub(3)).collect();
    short.push_str("...");
    short
}
