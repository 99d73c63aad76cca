//! Why a trace failed.

use std::collections::BTreeSet;

use traffictrace_crd::{TrafficTraceStatus, condition_reason as reason, condition_type as kind};

use super::flow_key::clean;
use super::text::{first_of, named, nodes, sentence};
use super::{Inputs, Tally};

/// The reason and the message of the condition Failed of a trace that has failed. They stay as they were first said:
/// reports and pods of later do not change why it failed.
pub(super) fn failure(inputs: &Inputs<'_>, before: &TrafficTraceStatus, tally: &Tally) -> (String, String) {
    let said = before.conditions.iter().find(|said| said.type_ == kind::FAILED && said.status == "True");
    if let Some(said) = said {
        return (said.reason.clone(), said.message.clone());
    }
    let (reason, message) = why(inputs, tally);
    (reason.to_owned(), message)
}

fn why(inputs: &Inputs<'_>, tally: &Tally) -> (&'static str, String) {
    if let Some(why) = inputs.invalid {
        return (reason::INVALID_SPEC, sentence(why));
    }
    if let Some((_, refused)) = inputs.reports.refusals().next() {
        let names = first_of(inputs.reports.refusals().map(|(name, _)| name), tally.refusals);
        let (reason, message) = (clean(&refused.reason), sentence(&clean(&refused.message)));
        let message = format!("Refused by {names} ({reason}): {message}");
        let silent = tally.unfinished.len();
        let others =
            if silent > 0 { format!(" No report came from {}.", nodes(silent)) } else { String::new() };
        return (reason::REFUSED_BY_NODES, format!("{message}{others}"));
    }
    if tally.matched > 0 {
        let silent: BTreeSet<String> = tally.unfinished.union(&tally.left).cloned().collect();
        let such = if silent.is_empty() { String::new() } else { format!(", such as {}", named(&silent)) };
        let message = format!(
            "No report came from any of the nodes with selected pods{such}. Does the agent run there? \
             Look at the agent's DaemonSet and its log, then delete this TrafficTrace and create a new one."
        );
        return (reason::NO_AGENT, message);
    }
    let message = "No pod of this namespace that is placed on a node matched the selector while the trace ran: compare \
                   spec.selector with the labels that `kubectl get pods --show-labels` lists.";
    (reason::NO_PODS, message.into())
}
