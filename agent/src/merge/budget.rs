//! Limits on the size of a status, since every write of it is stored as a whole and sent to all watchers.

use traffictrace_crd::{HttpStatus, TrafficTraceSpec, TrafficTraceStatus};

use super::text::shorten;

/// Maximum size of a status's JSON without its flows, in bytes. Five conditions take half of it.
const FIXED: usize = 4096;
/// Maximum average size of a flow's JSON, in bytes.
const PER_FLOW: usize = 490;
/// Maximum size of the HTTP requests' JSON without their endpoints (sums and findings about TLS), in bytes.
const HTTP_FIXED: usize = 2048;
/// Maximum average size of an endpoint's JSON, in bytes.
const PER_ENDPOINT: usize = 450;
/// Minimum number of entries about processes with TLS that stay if there is no room for all.
const FEW_TLS: usize = 4;

/// Number of characters that stay of a long message if there is no room for all of it.
const SHORT_MESSAGE: usize = 160;

/// Cuts lists until the status fits its budgets, which grow with the numbers of flows and endpoints that the spec asks
/// for. HTTP requests have a budget of their own. The few sums of stacks count for neither. Totals are never cut.
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

/// Cuts the lists of interruptions, pods and nodes first, then long messages, then names of Services, then the list of flows.
fn fit_flows(status: &mut TrafficTraceStatus, budget: usize) {
    // The size is reduced by each removed entry, instead of measuring the whole status again each time.
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
        } else if let Some(flow) = status.top_flows.iter_mut().rfind(|flow| !flow.local_services.is_empty()) {
            // Names of Services are only a hint, for which no flow is given up.
            let before = size(flow);
            flow.local_services.clear();
            before.saturating_sub(size(flow))
        } else if let Some(flow) = status.top_flows.pop() {
            status.truncated = true;
            size(&flow)
        } else {
            return;
        };
        over = over.saturating_sub(freed);
    }
}

/// Returns the first message that is too long: first messages of refusals, then those of conditions.
fn long_message(status: &mut TrafficTraceStatus) -> Option<&mut String> {
    let refusals = status.refused_nodes.iter_mut().map(|node| &mut node.message);
    let conditions = status.conditions.iter_mut().map(|condition| &mut condition.message);
    refusals.chain(conditions).find(|message| message.chars().count() > SHORT_MESSAGE)
}

/// Returns the size of a value's JSON in bytes.
fn size<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
