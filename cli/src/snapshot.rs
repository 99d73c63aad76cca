//! The plain data of a trace's status, as every view starts from.

use jiff::Timestamp;
use traffictrace_crd::TrafficTrace;
use traffictrace_view as view;

/// The numbers of a trace.
pub(crate) fn of(trace: &TrafficTrace) -> view::Snapshot {
    let _ = trace;
    view::Snapshot { time: Timestamp::now(), ..view::Snapshot::default() }
}
