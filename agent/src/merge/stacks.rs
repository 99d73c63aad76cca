//! The sums of all nodes' profiles: how much traffic is attributed to stacks. The stacks themselves stay in the
//! profiles.

use traffictrace_crd::{StackTotals, StacksStatus, TRACE_LABEL, trace_label};

use super::Inputs;

/// Returns the sums of the profiles of a trace that asks for stacks.
pub(super) fn stacks(inputs: &Inputs<'_>, before: Option<&StacksStatus>) -> Option<StacksStatus> {
    inputs.trace.spec.stacks.as_ref()?;
    let (mut totals, mut nodes) = (StackTotals::default(), 0_i32);
    for stacks in inputs.reports.nodes().filter_map(|node| node.newest().report.stacks.as_ref()) {
        totals.add(stacks);
        nodes = nodes.saturating_add(1);
    }
    if let Some(before) = before {
        totals.raise_to(&before.totals);
        nodes = nodes.max(before.nodes);
    }
    let picture = if nodes > 0 { picture(inputs) } else { String::new() };
    Some(StacksStatus { nodes, totals, picture })
}

/// Returns the command that makes a picture of the nodes' profiles.
fn picture(inputs: &Inputs<'_>) -> String {
    let metadata = &inputs.trace.metadata;
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    format!(
        "kubectl get traffictraceprofiles --namespace {namespace} --selector {TRACE_LABEL}={} --output json | \
         traffictrace flamegraph --from - --output {name}.svg",
        trace_label(name)
    )
}
