//! The size of a report: at most 2 KiB, and 220 bytes more for each flow that the trace asks for. If the trace asks for
//! HTTP requests, the report may have another 2 KiB, and 500 bytes for each endpoint. A report without any row has 1.4
//! KiB: metadata, totals, the names of the columns, and the kinds of traffic that the kernel cannot show.
//!
//! Most of an endpoint's bytes are the histogram of its durations, which merges exactly over runs of an agent. With
//! durations over four orders of magnitude, the histogram has 120 characters for a hundred requests, 290 for 3,000, and
//! 400 for 20,000.

use traffictrace_crd::{HttpReport, TrafficTraceReport};

use crate::session::Trace;

const FIXED_BYTES: usize = 2048;
const BYTES_PER_FLOW: usize = 220;
const HTTP_FIXED_BYTES: usize = 2048;
const BYTES_PER_ENDPOINT: usize = 500;

/// Bytes between two entries of a list.
const COMMA: usize = 1;
/// JSON that marks a list as cut.
const TRUNCATED: &str = "\"truncated\":true,";

/// Minimum number of entries about processes with TLS that stay if there is no room for all.
const FEW_TLS: usize = 4;

/// Removes rows from the ends of the lists until the report fits into its budgets. Totals stay, and the few sums of
/// stacks count for neither budget.
pub(super) fn fit(report: &mut TrafficTraceReport, trace: &Trace) {
    let (http, stacks) = (report.spec.http.take(), report.spec.stacks.take());
    fit_flows(report, FIXED_BYTES + BYTES_PER_FLOW * trace.top_flows);
    (report.spec.http, report.spec.stacks) = (http, stacks);
    if let Some(http) = &mut report.spec.http {
        fit_endpoints(http, HTTP_FIXED_BYTES + BYTES_PER_ENDPOINT * trace.top_endpoints());
    }
}

fn fit_flows(report: &mut TrafficTraceReport, budget: usize) {
    let mut size = measure(report);
    if size <= budget {
        return;
    }
    report.spec.truncated = true;
    size = measure(report);
    while size > budget {
        let Some(row) = report.spec.flows.pop() else { break };
        size = size.saturating_sub(measure(&row) + COMMA);
    }
}

fn fit_endpoints(http: &mut HttpReport, budget: usize) {
    let mut size = measure(http);
    while size > budget && http.tls.len() > FEW_TLS {
        size = size.saturating_sub(http.tls.pop().map_or(0, |entry| measure(&entry) + COMMA));
    }
    while size > budget {
        let Some(row) = http.endpoints.pop() else { break };
        // A row is a JSON text inside a string of the report, so `measure` also counts the escaping of its quotes.
        size = size.saturating_sub(measure(&row) + COMMA);
        if !http.truncated {
            http.truncated = true;
            size += TRUNCATED.len();
        }
    }
}

/// Returns the size of a value's JSON in bytes.
fn measure<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
