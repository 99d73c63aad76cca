//! The size of a report: 2 KiB and 220 bytes for each flow that the trace asks for. A report without any flow has 1.4 KiB:
//! metadata, totals, the names of the columns, and what cannot be seen.

use traffictrace_crd::TrafficTraceReport;

const FIXED_BYTES: usize = 2048;
const BYTES_PER_FLOW: usize = 220;

/// Takes flows from the end of the list until the report is as small as it must be. Totals stay as they are.
pub(super) fn fit(report: &mut TrafficTraceReport, top_flows: usize) {
    let budget = FIXED_BYTES + BYTES_PER_FLOW * top_flows;
    let measure = |report: &TrafficTraceReport| serde_json::to_string(report).map_or(0, |text| text.len());
    if measure(report) <= budget {
        return;
    }
    report.spec.truncated = true;
    let mut size = measure(report);
    while size > budget {
        let Some(row) = report.spec.flows.pop() else { break };
        // Its quotes are escaped in the text, and a comma comes to it.
        size -= serde_json::to_string(&row).map_or(row.len(), |text| text.len()) + 1;
    }
}
