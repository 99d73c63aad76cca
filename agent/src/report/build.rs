//! The construction of a report.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use traffictrace_crd::{
    self as crd, FlowRow, Interruption, Losses, NODE_LABEL, NotVisible, REFUSED_MESSAGE, Refused,
    StackTotals, TRACE_UID_LABEL, TrafficTraceReport, TrafficTraceReportSpec, column_names, decode_rows,
    human, node_label, report_name,
};

use super::identities::Owned;
use super::{History, Identities, history, http, size};
use crate::engine::{HttpSnapshot, Snapshot};
use crate::flows::{Direction, Row, Totals};
use crate::session::Trace;

/// Maximum length of an entry of the report's `notEnforced`, in characters.
const NOT_ENFORCED: usize = 256;

/// Inputs of a report.
pub(crate) struct Inputs<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) node: &'a str,
    pub(crate) identities: &'a Identities,
    pub(crate) history: &'a History,
    /// Number of pods that are selected now.
    pub(crate) active_pods: usize,
    pub(crate) not_visible: &'a [NotVisible],
    /// The parts of the newest spec that are not applied here, and the reasons.
    pub(crate) not_enforced: &'a [String],
    /// Milliseconds by which this machine's clock is ahead of the API server's; `None` if unknown or tolerated.
    pub(crate) clock_offset: Option<i64>,
    /// Sums of the last profile of this run of counting, if the trace takes stacks.
    pub(crate) stacks: Option<&'a StackTotals>,
    pub(crate) outcome: Outcome<'a>,
    /// Set if the trace is over on this node.
    pub(crate) is_final: bool,
    pub(crate) now: Timestamp,
}

/// Counts of a trace.
pub(crate) struct Counted {
    /// The flows. If the trace names containers, all rows must be present, since rows of other containers are
    /// subtracted from the totals. Otherwise the largest rows suffice.
    pub(crate) flows: Snapshot,
    /// The HTTP requests with all rows; `None` if they are not asked for or cannot be counted.
    pub(crate) http: Option<HttpSnapshot>,
}

/// The outcome to report.
pub(crate) enum Outcome<'a> {
    /// The trace is counted.
    Counted(&'a Counted),
    /// The trace is not counted, for this reason. The last report that was made while it was counted is still shown.
    Refused(Refused, Option<&'a TrafficTraceReportSpec>),
}

/// Makes this node's report.
pub(crate) fn report(inputs: &Inputs<'_>) -> TrafficTraceReport {
    let Inputs { trace, node, history, .. } = *inputs;
    let counted_before = history.pods_before.max(0);
    let mut spec = TrafficTraceReportSpec {
        trace_name: trace.name.clone(),
        trace_uid: trace.uid.clone(),
        node_name: node.to_owned(),
        observed_generation: trace.generation,
        start_time: Some(Time(history.started)),
        update_time: Some(Time(inputs.now)),
        is_final: inputs.is_final,
        epoch: history.epoch,
        base: history.base.clone(),
        clock_offset_milliseconds: inputs.clock_offset,
        active_pods: count(inputs.active_pods),
        // The runs before and after a restart of the agent select the same pods, so their numbers are not added up. The
        // earlier one is larger if pods have gone since.
        pods_matched: count(history.pods.len()).max(counted_before),
        containers_matched: count(history.containers.len()).max(history.containers_before.max(0)),
        not_visible: inputs.not_visible.to_vec(),
        not_enforced: inputs.not_enforced.iter().map(|what| shorten(what, NOT_ENFORCED)).collect(),
        interruptions: history.interruptions.clone(),
        lost: history.lost_before.clone(),
        stacks: stacks(history, inputs.stacks),
        ..TrafficTraceReportSpec::default()
    };
    match &inputs.outcome {
        Outcome::Counted(counted) => {
            fill(&mut spec, inputs, &counted.flows);
            spec.http = match &counted.http {
                Some(snapshot) => Some(http::requests(inputs, snapshot)),
                None => history.http_before.as_ref().map(|before| http::kept(inputs, before)),
            };
        }
        Outcome::Refused(refused, kept) => {
            let message = shorten(&refused.message, REFUSED_MESSAGE);
            spec.refused = Some(Refused { message, ..refused.clone() });
            if let Some(kept) = kept {
                keep(&mut spec, kept);
                spec.http = kept.http.as_ref().map(|kept| http::kept(inputs, kept));
            }
        }
    }
    let mut report = TrafficTraceReport { metadata: metadata(trace, node), spec };
    size::fit(&mut report, trace);
    report
}

/// Turns the last report of an earlier agent into the final report of a trace that ended while no agent ran.
pub(crate) fn closing(last: &TrafficTraceReportSpec, trace: &Trace, now: Timestamp) -> TrafficTraceReport {
    let mut spec = last.clone();
    spec.is_final = true;
    spec.active_pods = 0;
    history::push(
        &mut spec.interruptions,
        Interruption {
            time: Time(now),
            since: last.update_time.clone(),
            node_name: None,
            reason: "AgentAbsentAtEnd".into(),
        },
    );
    TrafficTraceReport { metadata: metadata(trace, &last.node_name), spec }
}

/// Returns the sums of the profiles of this run of counting and of the earlier ones.
fn stacks(history: &History, run: Option<&StackTotals>) -> Option<StackTotals> {
    let mut sums = history.stacks_before.clone();
    if let Some(run) = run {
        sums.get_or_insert_default().add(run);
    }
    sums
}

/// Copies an earlier report's counts, without rates and open connections, which held at its time only.
fn keep(spec: &mut TrafficTraceReportSpec, kept: &TrafficTraceReportSpec) {
    spec.hook_tier.clone_from(&kept.hook_tier);
    spec.totals = crd::Totals { connections_open: 0, ..kept.totals.clone() };
    spec.flows_total = kept.flows_total;
    spec.truncated = kept.truncated;
    spec.columns = column_names();
    let rows = decode_rows(&kept.columns, &kept.flows).flatten();
    let still = |row| FlowRow { rx_bytes_per_second: 0, tx_bytes_per_second: 0, connections_open: 0, ..row };
    spec.flows = rows.map(|row| still(row).encode()).collect();
}

/// Cuts a text to at most `most` characters. A cut text says where the rest can be found.
pub(super) fn shorten(text: &str, most: usize) -> String {
    const REST: &str = "... (the agent's log has the rest)";
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - REST.len()).chain(REST.chars()).collect()
}

pub(super) fn metadata(trace: &Trace, node: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(report_name(&trace.uid, node)),
        namespace: Some(trace.namespace.clone()),
        labels: Some(
            [(TRACE_UID_LABEL, trace.uid.clone()), (NODE_LABEL, node_label(node))]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        ),
        // The garbage collector deletes the report with its trace.
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{}/{}", crd::GROUP, crd::VERSION),
            kind: "TrafficTrace".into(),
            name: trace.name.clone(),
            uid: trace.uid.clone(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    }
}

fn fill(spec: &mut TrafficTraceReportSpec, inputs: &Inputs<'_>, snapshot: &Snapshot) {
    let Inputs { trace, identities, history, .. } = inputs;
    let (mut totals, mut connections_open) = (snapshot.totals, snapshot.connections_open);
    let mut wanted: Vec<(&Row, Option<Owned>)> = Vec::new();
    let mut left_out = 0;
    for row in &snapshot.rows {
        let owned = identities.resolve(row.key.cgroup);
        if is_wanted(trace, owned.as_ref()) {
            wanted.push((row, owned));
        } else {
            left_out += 1;
            subtract(&mut totals, row);
            connections_open = connections_open.saturating_sub(row.connections_open);
        }
    }
    let mut unattributed = history.unattributed_before;
    if snapshot.rows.len() == snapshot.rows_total {
        let bytes = wanted.iter().filter(|(row, _)| is_unattributed(row)).map(|(row, _)| row.totals.bytes());
        unattributed = unattributed.saturating_add(signed(bytes.sum()));
    }
    spec.hook_tier = Some(snapshot.hook_tier.to_owned());
    spec.older_sockets_found = Some(snapshot.older_sockets_found);
    spec.not_seen = snapshot.not_seen.iter().map(|unseen| unseen.name.to_owned()).collect();
    spec.totals = crd::Totals {
        rx_bytes: signed(totals.rx_bytes),
        tx_bytes: signed(totals.tx_bytes),
        connections: signed(totals.connections),
        connections_open: signed(connections_open),
        connect_failures: signed(totals.connect_failures),
        retransmits: signed(totals.retransmits),
        unattributed_bytes: unattributed,
        unknown_direction_bytes: signed(totals.unknown_direction_bytes),
    };
    spec.flows_total = signed((snapshot.rows_total - left_out) as u64);
    spec.columns = column_names();
    spec.flows = wanted
        .into_iter()
        .take(trace.top_flows)
        .map(|(row, owned)| flow(row, owned, identities).encode())
        .collect();
    add_losses(&mut spec.lost, snapshot);
}

/// Returns true if a row belongs to a container that the trace wants. If the trace names containers, a row is left out
/// while the name of its container is unknown, so that no shown row has to be taken back.
pub(crate) fn is_wanted(trace: &Trace, owned: Option<&Owned>) -> bool {
    trace.containers.is_empty()
        || owned.and_then(|owned| owned.container.as_deref()).is_some_and(|name| trace.wants(name))
}

/// Returns true if the process or the peer of a row is unknown. If the grouping removes addresses, only a missing
/// process can be detected.
fn is_unattributed(row: &Row) -> bool {
    let no_peer = row.key.remote_address.is_none() && row.key.local_address.is_some();
    row.key.pid == 0 || no_peer
}

fn subtract(totals: &mut Totals, row: &Row) {
    let part = &row.totals;
    totals.rx_bytes = totals.rx_bytes.saturating_sub(part.rx_bytes);
    totals.tx_bytes = totals.tx_bytes.saturating_sub(part.tx_bytes);
    totals.connections = totals.connections.saturating_sub(part.connections);
    totals.connect_failures = totals.connect_failures.saturating_sub(part.connect_failures);
    totals.retransmits = totals.retransmits.saturating_sub(part.retransmits);
    if row.key.direction == Direction::Unknown && row.key.local_address.is_some() {
        totals.unknown_direction_bytes = totals.unknown_direction_bytes.saturating_sub(part.bytes());
    }
}

fn flow(row: &Row, owned: Option<Owned>, identities: &Identities) -> FlowRow {
    let key = &row.key;
    let Owned { pod, container } = owned.unwrap_or(Owned { pod: String::new(), container: None });
    let caller = (key.caller_cgroup != key.cgroup).then(|| identities.resolve(key.caller_cgroup)).flatten();
    FlowRow {
        caller_container: caller
            .and_then(|caller| caller.container)
            .filter(|caller| Some(caller) != container.as_ref()),
        pod,
        container,
        pid: some(key.pid),
        container_pid: some(key.container_pid),
        command: Some(human::printable(&key.command()).into_owned()).filter(|command| !command.is_empty()),
        protocol: key.protocol.into(),
        direction: key.direction.into(),
        // A folded row sums up both open and closed flows, so it has no state.
        state: (!row.folded).then_some(row.state.into()),
        local_address: key.local_address.map(|address| address.to_string()),
        local_port: key.local_port,
        remote_address: key.remote_address.map(|address| address.to_string()),
        remote_port: key.remote_port,
        rx_bytes: signed(row.totals.rx_bytes),
        tx_bytes: signed(row.totals.tx_bytes),
        rx_calls: signed(row.totals.rx_calls),
        tx_calls: signed(row.totals.tx_calls),
        rx_bytes_per_second: signed(row.rx_bytes_per_second),
        tx_bytes_per_second: signed(row.tx_bytes_per_second),
        connections: signed(row.totals.connections),
        retransmits: signed(row.totals.retransmits),
        rtt_microseconds: (row.rtt_us != 0).then_some(i64::from(row.rtt_us)),
        connections_open: signed(row.connections_open),
        connect_failures: signed(row.totals.connect_failures),
    }
}

/// Adds the losses since this agent began to the earlier ones.
fn add_losses(lost: &mut Losses, snapshot: &Snapshot) {
    let losses = &snapshot.losses;
    for (reason, times) in [
        ("flowTableFull", losses.table_full),
        ("processesNotFollowed", losses.processes_lost),
        ("cgroupsNotNamed", losses.cgroups_not_named),
        ("rxBytes", losses.rx_bytes),
        ("txBytes", losses.tx_bytes),
        ("missedEvents", losses.missed_events),
    ] {
        if times > 0 {
            let sum = lost.entry(reason.to_owned()).or_insert(0);
            *sum = sum.saturating_add(signed(times));
        }
    }
}

fn some(pid: u32) -> Option<u32> {
    (pid != 0).then_some(pid)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
