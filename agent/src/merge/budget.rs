//! Keeps a status small: every write of it is stored whole and sent to everybody who watches.

use traffictrace_crd::{HttpStatus, TrafficTraceSpec, TrafficTraceStatus};

use super::text::shorten;

/// Most bytes of JSON of a status besides its flows; five conditions are half of it.
const FIXED: usize = 4096;
/// Most bytes of JSON of one flow, on average.
const PER_FLOW: usize = 450;
/// Most bytes of JSON of the HTTP requests besides their endpoints: sums, and what is known of TLS.
const HTTP_FIXED: usize = 2048;
/// Most bytes of JSON of one endpoint, on average.
const PER_ENDPOINT: usize = 450;
/// Entries of processes that speak TLS that stay where there is no room for all of them.
const FEW_TLS: usize = 4;

/// The characters that stay of a long message where there is no room for all of it.
const SHORT_MESSAGE: usize = 160;

/// Cuts lists until a status fits that lists as many flows and endpoints as the spec asks for. Flows and HTTP requests have
/// a part each, so that neither takes the other's; the few sums of stacks are in neither. Totals are never touched.
pub(super) fn fit(status: &mut TrafficTraceStatus, spec: &TrafficTraceSpec) {
    let number = |asked: i32| usize::try_from(asked).unwrap_or(1).max(1);
    let (http, stacks) = (status.http.take(), status.stacks.take());
    fit_flows(status, FIXED + PER_FLOW * number(spec.top_flows));
    (status.http, status.stacks) = (http, stacks);
    if let Some(http) = &mut status.http {
        let endpoints = spec.http.as_ref().map_or(0, |http| number(http.top_endpoints));
        fit_endpoints(http, HTTP_FIXED + PER_ENDPOINT * endpoints);
    }
}

fn fit_endpoints(http: &mut HttpStatus, budget: usize) {
    let mut over = size(http).saturating_sub(budget);
    while over > 0 {
        let freed = if http.tls.len() > FEW_TLS {
            http.tls.pop().map_or(0, |entry| size(&entry))
        } else if let Some(endpoint) = http.top_endpoints.pop() {
            http.truncated = true;
            size(&endpoint)
        } else {
            return;
        };
        over = over.saturating_sub(freed);
    }
}

/// Cuts first what is only an example, then long messages, then flows.
fn fit_flows(status: &mut TrafficTraceStatus, budget: usize) {
    // Cut by what each entry takes, not one at a time with the whole measured again.
    let mut over = size(status).saturating_sub(budget);
    while over > 0 {
        let freed = if status.interruptions.len() > 1 {
            size(&status.interruptions.remove(0))
        } else if status.not_visible.len() > 1 {
            status.not_visible.pop().map_or(0, |entry| size(&entry))
        } else if status.missing_nodes.len() > 4 {
            status.missing_nodes.pop().map_or(0, |entry| size(&entry))
        } else if status.refused_nodes.len() > 1 {
            status.refused_nodes.pop().map_or(0, |entry| size(&entry))
        } else if status.skewed_clocks.len() > 1 {
            status.skewed_clocks.pop().map_or(0, |entry| size(&entry))
        } else if let Some(message) = long_message(status) {
            let before = size(message);
            *message = shorten(std::mem::take(message), SHORT_MESSAGE);
            before.saturating_sub(size(message))
        } else if let Some(flow) = status.top_flows.pop() {
            status.truncated = true;
            size(&flow)
        } else {
            return;
        };
        over = over.saturating_sub(freed);
    }
}

/// The first message that is longer than what must stay: those of refusals, then those of conditions.
fn long_message(status: &mut TrafficTraceStatus) -> Option<&mut String> {
    let refusals = status.refused_nodes.iter_mut().map(|node| &mut node.message);
    let conditions = status.conditions.iter_mut().map(|condition| &mut condition.message);
    refusals.chain(conditions).find(|message| message.chars().count() > SHORT_MESSAGE)
}

/// Bytes of the JSON of a value.
fn size<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
