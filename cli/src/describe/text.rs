//! The text of a description.

use jiff::Timestamp;
use kube::ResourceExt as _;
use traffictrace_crd::{
    Phase, TrafficTrace, TrafficTraceStatus, condition_type as kind,
    human::{number_of, printable},
};
use traffictrace_view::{Snapshot, losses, units::lasted, wrap::wrap};

use super::{
    nodes::{self, time},
    numbers,
};
use crate::{
    around::{Around, Happened},
    asked, http, snapshot,
};

/// Maximum number of Events that are shown, the last ones.
const EVENTS: usize = 20;
/// Prefix of the first line of a list item, and of its other lines.
const BULLET: &str = "  - ";
const INDENT: &str = "    ";

/// Describes a trace in words. Sentences are wrapped at `columns`; tables are not.
pub(super) fn of(trace: &TrafficTrace, around: &Around, now: Timestamp, columns: usize) -> String {
    let nothing = TrafficTraceStatus::default();
    let status = trace.status.as_ref().unwrap_or(&nothing);
    let snapshot = snapshot::of(trace);
    let is_over = matches!(status.phase, Some(Phase::Completed | Phase::Failed));
    let nodes = nodes::lines(status, around.reports.as_deref(), is_over, now);
    let mut sections = vec![
        paragraph(&[life(trace, status, now), created(trace)], columns),
        paragraph(&[Some(asked::sentence(&trace.spec)), matched(status, is_over, now)], columns),
        lost(&missing(&snapshot, status), status, columns),
        paragraph(&[not_seen(&snapshot)], columns),
        list(&nodes, "Nodes", columns),
        list(&events(around.events.as_deref(), trace), "What happened", columns),
    ];
    let has_numbers = match status.phase {
        None | Some(Phase::Pending) => false,
        Some(Phase::Running | Phase::Completed) => true,
        Some(Phase::Failed) => snapshot.flows_total > 0,
    };
    if has_numbers {
        let traffic = paragraph(&[Some(numbers::traffic(&snapshot))], columns);
        sections.push(traffic + &numbers::flows(&snapshot));
        sections.extend(snapshot.http.as_ref().map(|http| {
            paragraph(&[Some(numbers::requests(http))], columns) + &numbers::busiest_endpoints(http)
        }));
        sections.push(paragraph(&[snapshot.functions.as_ref().map(numbers::stacks)], columns));
    }
    // Commands are not wrapped, so that they can be copied.
    let next: String =
        next(trace, status, is_over).iter().map(|line| format!("  {}\n", printable(line))).collect();
    sections.push(format!("To go on:\n{next}"));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// Joins sentences into one paragraph.
fn paragraph(sentences: &[Option<String>], columns: usize) -> String {
    let sentences: Vec<&str> = sentences.iter().flatten().map(String::as_str).collect();
    wrap(&printable(&sentences.join(" ")), columns).into_iter().map(|line| line + "\n").collect()
}

/// Makes a list with a heading; an empty text if there are no items.
fn list(items: &[String], heading: &str, columns: usize) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut text = format!("{heading}:\n");
    for item in items {
        let lines = wrap(&printable(item), columns.saturating_sub(BULLET.len()));
        for (place, line) in lines.iter().enumerate() {
            let begin = if place == 0 { BULLET } else { INDENT };
            text.push_str(&format!("{begin}{line}\n"));
        }
    }
    text
}

/// Describes the state of the trace, with its times.
fn life(trace: &TrafficTrace, status: &TrafficTraceStatus, now: Timestamp) -> Option<String> {
    let label = format!("Trace {}/{}", trace.namespace().unwrap_or_default(), trace.name_any());
    let at = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map(|time| time.0)
    };
    let (start, end) = (at(&status.start_time), at(&status.end_time));
    let long = |from: Timestamp, to: Timestamp| lasted(to.duration_since(from).as_secs());
    let day = |time: Timestamp| time.strftime("%F %T UTC").to_string();
    Some(match status.phase {
        None | Some(Phase::Pending) => {
            let why = status.conditions.iter().find(|condition| condition.type_ == kind::TRACING);
            let why = why.map_or("no controller has seen it yet.", |condition| condition.message.as_str());
            let end = end.map(|end| format!(" It ends at {}.", day(end))).unwrap_or_default();
            format!("{label} waits: {why}{end}")
        }
        Some(Phase::Running) => {
            let began = start.map(|start| format!(" it began at {}, {} ago", day(start), long(start, now)));
            let ends = end.map(|end| {
                if end > now {
                    format!(", and ends at {}, in {}", time(end), long(now, end))
                } else {
                    format!(", and ended at {}; the last numbers are awaited", time(end))
                }
            });
            format!("{label} is running:{}{}.", began.unwrap_or_default(), ends.unwrap_or_default())
        }
        Some(Phase::Completed) => {
            let ran = start.zip(end).map(|(start, end)| {
                format!(": it ran for {}, from {} to {}", long(start, end), day(start), time(end))
            });
            format!("{label} is over{}.", ran.unwrap_or_default())
        }
        Some(Phase::Failed) => {
            let failed = snapshot::holds(status, kind::FAILED)
                .map_or("its status does not say why.", |failed| failed.message.as_str());
            format!("{label} failed: {failed}")
        }
    })
}

/// Gives the time at which the trace was created, and the program that created it. The API server does not record the
/// user.
fn created(trace: &TrafficTrace) -> Option<String> {
    let created = trace.metadata.creation_timestamp.as_ref()?.0;
    let fields = trace.metadata.managed_fields.iter().flatten().find(|fields| fields.subresource.is_none());
    let by = fields.and_then(|fields| fields.manager.as_deref());
    let by = by.map(|by| format!(" with {by}")).unwrap_or_default();
    Some(format!("It was created at {}{by}.", created.strftime("%F %T UTC")))
}

/// Describes the number of pods and nodes.
fn matched(status: &TrafficTraceStatus, is_over: bool, now: Timestamp) -> Option<String> {
    status.phase?;
    let (match_, on) = if is_over { ("matched", "ran") } else { ("match", "run") };
    let pods = number_of(status.pods_matched, "pod");
    let pods = format!("{pods} with {} {match_}", number_of(status.containers_matched, "container"));
    if status.nodes_matched == 0 {
        return Some(format!("{pods}."));
    }
    let nodes = number_of(status.nodes_matched, "node");
    let reporting = match status.nodes_reporting {
        all if all == status.nodes_matched => "all of which report".to_owned(),
        some => format!("of which {some} report"),
    };
    let reporting = if is_over { reporting.replace("report", "reported") } else { reporting };
    let every =
        status.report_interval_seconds.filter(|_| !is_over).map(|seconds| format!(" every {seconds} s"));
    let mut text = format!("{pods}; they {on} on {nodes}, {reporting}{}.", every.unwrap_or_default());
    if let (Some(newest), false) = (&status.update_time, is_over) {
        let age = |time: Timestamp| lasted(now.duration_since(time).as_secs());
        text.push_str(&format!(" The newest numbers are {} old", age(newest.0)));
        if let Some(oldest) = status.oldest_update_time.as_ref().filter(|oldest| oldest.0 < newest.0) {
            text.push_str(&format!(", the oldest {}", age(oldest.0)));
        }
        text.push('.');
    }
    Some(text)
}

/// Returns sentences about what is missing from the numbers, the most important first.
fn missing(snapshot: &Snapshot, status: &TrafficTraceStatus) -> Vec<String> {
    // For a trace that waits or has failed, the first section already gives the reason.
    let is_waiting = status.phase.is_none_or(|phase| phase == Phase::Pending);
    let said = status.conditions.iter().filter(|condition| match condition.type_.as_str() {
        kind::FAILED => true,
        kind::TRACING => is_waiting,
        _ => false,
    });
    let said: Vec<&str> = said.map(|condition| condition.message.as_str()).collect();
    let mut lines: Vec<String> =
        snapshot.notices.iter().filter(|notice| !said.contains(&notice.as_str())).cloned().collect();
    lines.extend(
        status
            .refused_nodes
            .iter()
            .map(|refused| format!("Nothing is counted on {}: {}", refused.node_name, refused.message)),
    );
    lines.extend(losses::in_words(snapshot));
    for sentence in snapshot.http.iter().flat_map(http::unreadable) {
        let who = sentence.split(" cannot be read").next().unwrap_or_default();
        if !lines.iter().any(|line| line.starts_with(who)) {
            lines.push(sentence);
        }
    }
    lines.extend(
        status
            .not_visible
            .iter()
            .skip(1)
            .map(|pod| format!("The traffic of pod {} cannot be seen, either: {}.", pod.pod, pod.reason)),
    );
    lines
}

/// Makes the section about what is missing. A trace that counts and misses nothing says so.
fn lost(missing: &[String], status: &TrafficTraceStatus, columns: usize) -> String {
    let is_started = matches!(status.phase, Some(Phase::Running | Phase::Completed));
    if missing.is_empty() && is_started {
        return paragraph(&[Some("Nothing is known to be missing.".to_owned())], columns);
    }
    list(missing, "What is missing, and what to do", columns)
}

/// Describes the limits of the kernels. They are not losses: every trace on these nodes has them.
fn not_seen(snapshot: &Snapshot) -> Option<String> {
    let names = snapshot.not_seen.join(", ");
    (!names.is_empty()).then(|| {
        format!(
            "What these kernels cannot show, whatever the trace asks for: {names}. `traffictrace check` on a node explains \
             each."
        )
    })
}

/// Returns the Events, the earliest first.
fn events(events: Option<&[Happened]>, trace: &TrafficTrace) -> Vec<String> {
    let Some(events) = events else {
        return vec!["You may not read the Events of this namespace.".to_owned()];
    };
    let created = trace.metadata.creation_timestamp.as_ref().map(|time| time.0.strftime("%F").to_string());
    let mut lines: Vec<String> = events
        .iter()
        .skip(events.len().saturating_sub(EVENTS))
        .map(|event| {
            let shown = event.time.map(|at| {
                let is_same_day = Some(at.strftime("%F").to_string()) == created;
                if is_same_day { time(at) } else { at.strftime("%F %T UTC").to_string() }
            });
            let warning = if event.is_warning { " (warning)" } else { "" };
            let times = if event.count > 1 { format!(" [{} times]", event.count) } else { String::new() };
            let at = shown.unwrap_or_else(|| "at some time".to_owned());
            format!("{at}, {}{warning}: {}{times}", event.reason, event.message)
        })
        .collect();
    let more = events.len().saturating_sub(EVENTS);
    if more > 0 {
        lines.insert(0, format!("({} before)", number_of(more as u64, "Event")));
    }
    lines
}

/// Returns commands that show more about the trace.
fn next(trace: &TrafficTrace, status: &TrafficTraceStatus, is_over: bool) -> Vec<String> {
    let (name, namespace) = (trace.name_any(), trace.namespace().unwrap_or_default());
    let is_seen = status.phase.is_some_and(|phase| phase != Phase::Pending && phase != Phase::Failed);
    let command = |what: &str, more: &str| format!("kubectl traffictrace {what} {name} -n {namespace}{more}");
    let mut lines = Vec::new();
    if !is_over {
        lines.push(command("top", ""));
    }
    if is_seen {
        lines.push(command("report", &format!(" -o {name}.html")));
    }
    if status.stacks.as_ref().is_some_and(|stacks| stacks.nodes > 0) {
        lines.push(command("flamegraph", &format!(" -o {name}.svg")));
    }
    lines.extend(asked::command(trace).filter(|_| is_over));
    lines
}

#[cfg(test)]
mod tests;
