//! The identity of a row of the top flows, and the arithmetic on rows that are the same.

use traffictrace_crd::{Direction, Flow, FlowRow, Protocol, human};

/// The fields that make a row of a node a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlowKey {
    pod: String,
    container: Option<String>,
    caller_container: Option<String>,
    pid: Option<i64>,
    command: Option<String>,
    protocol: Protocol,
    direction: Direction,
    local: (Option<String>, Option<i32>),
    remote: (Option<String>, Option<i32>),
}

impl FlowKey {
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            pod: flow.pod.clone(),
            container: flow.container.clone(),
            caller_container: flow.caller_container.clone(),
            pid: flow.pid,
            command: flow.command.clone(),
            protocol: flow.protocol,
            direction: flow.direction,
            local: (flow.local_address.clone(), flow.local_port),
            remote: (flow.remote_address.clone(), flow.remote_port),
        }
    }
}

/// The flow of a report's row, with its names fit to be shown. The namespace is left empty: a report's rows are all of
/// the trace's own.
pub(super) fn shown(row: FlowRow) -> Flow {
    let mut flow = row.into_flow("");
    flow.pod = clean(&flow.pod);
    for text in [
        &mut flow.container,
        &mut flow.caller_container,
        &mut flow.command,
        &mut flow.local_address,
        &mut flow.remote_address,
    ] {
        *text = text.take().map(|text| clean(&text));
    }
    flow
}

/// A text that came from a node, without characters that could harm a terminal.
pub(super) fn clean(text: &str) -> String {
    human::printable(text).into_owned()
}

/// Adds what was counted later to the same flow.
pub(super) fn add(flow: &mut Flow, later: Flow) {
    counters(flow, &later, i64::saturating_add);
    flow.connections_open = later.connections_open;
    flow.rx_bytes_per_second = later.rx_bytes_per_second;
    flow.tx_bytes_per_second = later.tx_bytes_per_second;
    flow.rtt_microseconds = later.rtt_microseconds.or(flow.rtt_microseconds);
    flow.container_pid = later.container_pid.or(flow.container_pid);
    flow.state = later.state;
}

/// Takes out of a flow what the same flow has elsewhere. No count falls below zero.
pub(super) fn subtract(flow: &mut Flow, part: &Flow) {
    counters(flow, part, |count, part| count.saturating_sub(part).max(0));
}

/// Whether nothing is counted in a flow.
pub(super) fn is_empty(flow: &Flow) -> bool {
    flow.weight() == 0
        && flow.rx_calls == 0
        && flow.tx_calls == 0
        && flow.connections == 0
        && flow.connect_failures == 0
}

/// Combines the counts that only grow.
fn counters(flow: &mut Flow, other: &Flow, combine: impl Fn(i64, i64) -> i64) {
    for (count, other) in [
        (&mut flow.rx_bytes, other.rx_bytes),
        (&mut flow.tx_bytes, other.tx_bytes),
        (&mut flow.rx_calls, other.rx_calls),
        (&mut flow.tx_calls, other.tx_calls),
        (&mut flow.connections, other.connections),
        (&mut flow.connect_failures, other.connect_failures),
        (&mut flow.retransmits, other.retransmits),
    ] {
        *count = combine(*count, other);
    }
}
