//! How often nodes may report, so that a large cluster's API server is not busy with reports.

use std::time::Duration;

use jiff::Timestamp;

/// How many report writes a second the whole cluster may make: a quarter of a core of the API server.
const WRITES_PER_SECOND: u64 = 30;

/// How often each node reports for a trace: as asked, or less often when all running traces have too many reports.
pub(super) fn report_interval(asked: Duration, running_reports: u64) -> Duration {
    asked.max(Duration::from_secs(running_reports.div_ceil(WRITES_PER_SECOND)))
}

/// A moment so much later; the end of time when there is none.
pub(super) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_stretch_with_the_number_of_reports() {
        for (asked, reports, seconds) in
            [(10, 0, 10), (10, 300, 10), (10, 301, 11), (10, 1_000, 34), (60, 1_000, 60), (5, 10_000, 334)]
        {
            assert_eq!(report_interval(Duration::from_secs(asked), reports), Duration::from_secs(seconds));
        }
    }
}
