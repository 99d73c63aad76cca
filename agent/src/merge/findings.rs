//! The findings that make a trace Degraded: what is missing from its numbers, or done otherwise than asked.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{Phase, TrafficTraceStatus, condition_reason as reason};

use super::life::Moment;
use super::lists::CONTROLLER;
use super::summary::losses;
use super::text::{first_of, named, sentence};
use super::{Inputs, Tally};

/// One thing that is missing or otherwise than asked.
pub(super) struct Finding {
    pub(super) reason: &'static str,
    /// A whole sentence, which never begins with the name of something: names stand as they are spelled.
    pub(super) sentence: String,
}

/// All findings, the worst first.
pub(super) fn findings(
    inputs: &Inputs<'_>,
    status: &TrafficTraceStatus,
    tally: &Tally,
    moment: Moment,
) -> Vec<Finding> {
    let found = [
        spec(inputs, status, moment),
        refusals(inputs, tally),
        missing(status, tally),
        left(tally),
        lost(status),
        not_visible(status),
        interrupted(status),
        not_enforced(inputs),
        clocks(status),
    ];
    let finding = |(reason, sentence)| Finding { reason, sentence };
    found.into_iter().flatten().map(finding).collect()
}

type Found = Option<(&'static str, String)>;

/// A change of the spec that is not in force.
fn spec(inputs: &Inputs<'_>, status: &TrafficTraceStatus, moment: Moment) -> Found {
    if let Some(why) = inputs.invalid.filter(|_| status.phase == Some(Phase::Running)) {
        return Some((
            reason::INVALID_SPEC,
            format!("The last change of the spec is not in force: {}", sentence(why)),
        ));
    }
    let times = moment.times.filter(|times| times.changed_too_late)?;
    let message = format!(
        "The change of spec.duration came too late, since the trace had ended at {}: delete this TrafficTrace and create a \
         new one.",
        times.end
    );
    Some((reason::NOT_ENFORCED, message))
}

fn refusals(inputs: &Inputs<'_>, tally: &Tally) -> Found {
    let (_, first) = inputs.reports.refusals().next()?;
    let names = first_of(inputs.reports.refusals().map(|(name, _)| name), tally.refusals);
    let message = super::flow_key::clean(&first.message);
    Some((reason::REFUSED_BY_NODES, format!("Refused by {names}: {}", sentence(&message))))
}

/// Nodes that are there and whose last numbers did not come in time.
fn missing(status: &TrafficTraceStatus, tally: &Tally) -> Found {
    let over = status.phase.is_some_and(super::is_over);
    if !over || tally.unfinished.is_empty() {
        return None;
    }
    Some((reason::NODES_MISSING, format!("The last numbers of {} are missing.", named(&tally.unfinished))))
}

fn left(tally: &Tally) -> Found {
    if tally.left.is_empty() {
        return None;
    }
    let names = named(&tally.left);
    let message =
        format!("The last numbers of {names} are missing, as it left the cluster before they came.");
    let message = if tally.left.len() == 1 { message } else { message.replace("as it left", "as they left") };
    Some((reason::NODES_MISSING, message))
}

fn lost(status: &TrafficTraceStatus) -> Found {
    (!status.lost.is_empty()).then(|| (reason::LOST, format!("Lost: {}.", losses(&status.lost))))
}

fn not_visible(status: &TrafficTraceStatus) -> Found {
    let first = status.not_visible.first()?;
    let more = if status.not_visible.len() > 1 { " and others" } else { "" };
    Some((reason::NOT_VISIBLE, format!("Pod {}{more} cannot be seen: {}.", first.pod, first.reason)))
}

fn interrupted(status: &TrafficTraceStatus) -> Found {
    let last = status.interruptions.last()?;
    let node = last.node_name.as_deref().unwrap_or("a node");
    let since = last.since.as_ref().map(|Time(since)| format!("from {since} ")).unwrap_or_default();
    let until = last.time.0;
    let message = format!(
        "Tracing on {node} was interrupted {since}until {until} ({}): bytes of that time may be missing.",
        last.reason
    );
    Some((reason::INTERRUPTED, message))
}

fn not_enforced(inputs: &Inputs<'_>) -> Found {
    let parts = inputs.reports.not_enforced();
    if parts.is_empty() {
        return None;
    }
    let nodes: BTreeSet<String> = parts.values().flatten().cloned().collect();
    let parts: Vec<&str> = parts.keys().map(|part| part.trim_end_matches('.')).collect();
    Some((reason::NOT_ENFORCED, format!("Not enforced on {}: {}.", named(&nodes), parts.join("; "))))
}

fn clocks(status: &TrafficTraceStatus) -> Found {
    let first = status.skewed_clocks.first()?;
    let whose = if first.node_name == CONTROLLER {
        "The controller's clock".to_owned()
    } else {
        format!("The clock of {}", first.node_name)
    };
    let seconds = first.offset_seconds.unsigned_abs();
    let direction = if first.offset_seconds < 0 { "behind" } else { "ahead of" };
    let more = match status.skewed_clocks.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more in status.skewedClocks)"),
    };
    let message = format!(
        "{whose} is {seconds} s {direction} the API server's{more}: set it right (NTP); times are those of the API server."
    );
    Some((reason::CLOCK_SKEW, message))
}
