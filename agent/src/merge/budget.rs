//! Keeps a status small: every write of it is stored whole and sent to everybody who watches.

use traffictrace_crd::TrafficTraceStatus;

use super::text::shorten;

/// Most bytes of JSON of a status besides its flows; five conditions are half of it.
const FIXED: usize = 4096;
/// Most bytes of JSON of one flow, on average.
const PER_FLOW: usize = 450;

/// The characters that stay of a long message where there is no room for all of it.
const SHORT_MESSAGE: usize = 160;

/// Cuts lists until a status of `wanted` flows fits: first what is only an example, then long messages, then flows. Totals are never touched.
pub(super) fn fit(status: &mut TrafficTraceStatus, wanted: usize) {
    let budget = FIXED + PER_FLOW * wanted;
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
