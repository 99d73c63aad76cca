//! The numbers of a trace: its traffic, its requests, and the code that moved the bytes.

use traffictrace_crd::human::{bytes, count};
use traffictrace_view::{
    Snapshot, endpoints,
    rows::{Choice, View},
    snapshot::{Functions, Http},
    sort::{Column, Order},
    text as tables,
};

/// Maximum number of rows in the tables.
const FLOWS: usize = 10;
const ENDPOINTS: usize = 5;

/// Describes the traffic in sentences.
pub(super) fn traffic(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let mut text = format!(
        "Traffic: {} received and {} sent in {}. Connections: {} opened, of which {} are open; {} could not be opened. TCP \
         segments sent again: {}.",
        bytes(totals.rx_bytes),
        bytes(totals.tx_bytes),
        many(snapshot.flows_total, "flow"),
        count(totals.connections),
        count(totals.connections_open),
        count(totals.connect_failures),
        count(totals.retransmits),
    );
    let unattributed = (totals.unattributed_bytes, "could not be given to a process or peer");
    let older = (
        totals.unknown_direction_bytes,
        "are of connections older than the trace, of which nothing tells who opened them",
    );
    for (number, what) in [unattributed, older] {
        let number = number.unwrap_or(0);
        if number > 0 {
            text.push_str(&format!(" {} of the bytes {what}.", bytes(number)));
        }
    }
    text
}

/// Makes a table of the flows with the most bytes.
pub(super) fn flows(snapshot: &Snapshot) -> String {
    if snapshot.flows.is_empty() {
        return String::new();
    }
    let options = tables::Options {
        choice: Choice { view: View::Endpoint, ..Choice::default() },
        order: Order { column: Column::Bytes, is_reversed: false },
        rows: FLOWS,
        ..tables::Options::default()
    };
    indented(&tables::flows(snapshot, &options))
}

/// Describes the HTTP requests in a sentence.
pub(super) fn requests(http: &Http) -> String {
    let all = http.endpoints_total.unwrap_or(http.endpoints.len() as u64);
    format!(
        "HTTP: {} at {}, of which {} failed; {} asked and {} answered.",
        many(http.requests, "request"),
        many(all, "endpoint"),
        count(endpoints::errors_of_all(http)),
        bytes(http.request_bytes),
        bytes(http.response_bytes),
    )
}

/// Makes a table of the endpoints with the most requests.
pub(super) fn busiest_endpoints(http: &Http) -> String {
    if http.endpoints.is_empty() {
        return String::new();
    }
    indented(&tables::endpoints(http, endpoints::Column::default(), ENDPOINTS, false, true))
}

/// Describes in a sentence how many of the bytes have a known stack.
pub(super) fn stacks(functions: &Functions) -> String {
    let nodes = functions.nodes.unwrap_or(0);
    if nodes == 0 {
        return "Stacks: no node has written a profile yet; each writes one a minute, and a last one."
            .to_owned();
    }
    let share = |part| traffictrace_profile::share(part, functions.bytes);
    format!(
        "Stacks: the profiles of {} say which code moved {}, by {}: {} stand at the very call that moved them, {} have no stack.",
        many(nodes, "node"),
        bytes(functions.bytes),
        many(functions.stacks, "stack"),
        share(functions.bytes_at_own_call),
        share(functions.bytes_without_stack),
    )
}

/// Formats a number of things, with commas between thousands.
fn many(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", count(number))
}

fn indented(table: &str) -> String {
    table.lines().map(|line| format!("  {line}\n")).collect()
}
