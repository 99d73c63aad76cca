//! The size of a report: 2 KiB and 220 bytes for each flow that the trace asks for, and, where it asks for HTTP requests,
//! 2 KiB and 500 bytes for each endpoint. A report without any row has 1.4 KiB: metadata, totals, the names of the columns,
//! and what cannot be seen.
//!
//! Most of an endpoint's bytes are the histogram of its durations, which merges exactly over runs of an agent: where they
//! spread over four orders of magnitude, 120 characters for a hundred requests, 290 for 3,000 and 400 for 20,000.

use traffictrace_crd::{HttpReport, TrafficTraceReport};

use crate::session::Trace;

const FIXED_BYTES: usize = 2048;
const BYTES_PER_FLOW: usize = 220;
const HTTP_FIXED_BYTES: usize = 2048;
const BYTES_PER_ENDPOINT: usize = 500;

/// Bytes between two entries of a list.
const COMMA: usize = 1;
/// What a list that was cut says of itself.
const TRUNCATED: &str = "\"truncated\":true,";

/// Entries of processes that speak TLS that stay where there is no room for all of them.
const FEW_TLS: usize = 4;

/// Takes rows from the ends of the lists until the report is as small as it must be. Totals stay as they are, and the few
/// sums of stacks are in neither budget.
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
        // A row is a text in the report: its quotes are escaped there.
        size = size.saturating_sub(measure(&row) + COMMA);
        if !http.truncated {
            http.truncated = true;
            size += TRUNCATED.len();
        }
    }
}

/// Bytes of the JSON of a value.
fn measure<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
