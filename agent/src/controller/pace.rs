//! Limits on how often nodes may report and write profiles, so that these do not overload the API server and etcd of a
//! large cluster.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{MAX_PROFILE_KIBIBYTES, MIN_PROFILE_KIBIBYTES};

/// Maximum number of report writes per second in the whole cluster. This load takes the API server a quarter of a core.
const WRITES_PER_SECOND: u64 = 30;
/// Maximum KiB of profiles per minute that all nodes of the cluster may write; the last profiles of traces that end are
/// not counted. This is half of what reports may write into etcd, which keeps about ten minutes of all writes.
const PROFILE_KIBIBYTES_PER_MINUTE: u64 = 8 << 10;
/// Maximum KiB of all profiles of one trace, over all nodes. They stay in etcd and in the API server's memory as long
/// as the trace exists.
const TRACE_KIBIBYTES: u64 = 16 << 10;
/// One write in the unit of rates, which are counted in millionths of writes so that their sums are exact.
const WRITE: u64 = 1_000_000;

/// The pace of reports, where each report counts as a write.
pub(super) type ReportPace = Pace<{ WRITES_PER_SECOND * WRITE }>;
/// The pace of profiles, where each KiB counts as a write.
pub(super) type ProfilePace = Pace<{ PROFILE_KIBIBYTES_PER_MINUTE * WRITE / 60 }>;

/// The writes that all running traces ask for, and the share of each namespace.
///
/// A namespace that asks for less than an equal share gets what it asks for. The rest is shared equally by the
/// namespaces that ask for more, whose reports then come less often.
///
/// `CAPACITY` is the maximum for the whole cluster, in millionths of writes per second.
#[derive(Debug, Default)]
pub(super) struct Pace<const CAPACITY: u64> {
    /// The demand of each trace, by UID.
    traces: HashMap<String, Demand>,
    /// Demand of each namespace, in millionths of writes per second.
    namespaces: HashMap<String, u64>,
    /// Demand of all namespaces, in millionths of writes per second.
    asked: u64,
    /// Number of nodes that write, summed over all traces; in the pace of profiles their KiB.
    writing: u64,
    /// Maximum share of a namespace, in millionths of writes per second; `None` if every namespace gets all it asks
    /// for.
    share: Option<u64>,
}

/// The writes of one trace, in the units of [`Pace`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Demand {
    namespace: String,
    writing: u64,
    asked: u64,
}

impl<const CAPACITY: u64> Pace<CAPACITY> {
    /// Sets the number of nodes that write reports of a trace (for profiles: their KiB), and the interval that the
    /// trace asks for.
    pub(super) fn set(&mut self, uid: &str, namespace: &str, writing: u64, interval: Duration) {
        let asked = writing * WRITE / interval.as_secs().max(1);
        let demand = Demand { namespace: namespace.to_owned(), writing, asked };
        if self.traces.get(uid) == Some(&demand) {
            return;
        }
        self.subtract(uid);
        if writing > 0 {
            *self.namespaces.entry(namespace.to_owned()).or_default() += asked;
            self.asked += asked;
            self.writing += writing;
            self.traces.insert(uid.to_owned(), demand);
        }
        self.share = self.fair_share();
    }

    /// Removes a trace.
    pub(super) fn remove(&mut self, uid: &str) {
        if self.subtract(uid) {
            self.share = self.fair_share();
        }
    }

    /// Returns the interval at which the nodes of a trace have to write: `asked`, or longer if the traces of its
    /// namespace ask for more than the namespace's share.
    pub(super) fn interval(&self, namespace: &str, asked: Duration) -> Duration {
        let demand = self.namespaces.get(namespace).copied().unwrap_or(0);
        match self.share {
            Some(share) if demand > share => {
                Duration::from_secs((asked.as_secs() * demand).div_ceil(share.max(1))).max(asked)
            }
            _ => asked,
        }
    }

    /// Returns the number of nodes that write reports now, summed over all traces.
    pub(super) fn writing(&self) -> u64 {
        self.writing
    }

    fn subtract(&mut self, uid: &str) -> bool {
        let Some(old) = self.traces.remove(uid) else { return false };
        self.asked -= old.asked;
        self.writing -= old.writing;
        if let Some(sum) = self.namespaces.get_mut(&old.namespace) {
            *sum -= old.asked;
            if *sum == 0 {
                self.namespaces.remove(&old.namespace);
            }
        }
        true
    }

    /// Computes [`Pace::share`]: the smaller demands are met in full, and the larger ones share the rest equally.
    fn fair_share(&self) -> Option<u64> {
        if self.asked <= CAPACITY {
            return None;
        }
        let mut demands: Vec<u64> = self.namespaces.values().copied().collect();
        demands.sort_unstable();
        let (mut left, mut count) = (CAPACITY, demands.len() as u64);
        for demand in demands {
            if demand > left / count {
                return Some(left / count);
            }
            left -= demand;
            count -= 1;
        }
        None
    }
}

/// Returns the maximum size in KiB of each profile of a trace with this number of nodes. It is a power of two, so that
/// it changes rarely while nodes are added.
pub(super) fn profile_kibibytes(nodes: u64) -> u64 {
    let part = (TRACE_KIBIBYTES / nodes.max(1)).clamp(MIN_PROFILE_KIBIBYTES, MAX_PROFILE_KIBIBYTES);
    1 << part.ilog2()
}

/// Returns the time that is `span` after a moment, or the maximum time if that is out of range.
pub(super) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a pace with traces, each given by namespace, nodes and interval in seconds.
    fn pace(traces: &[(&str, u64, u64)]) -> ReportPace {
        let mut pace = ReportPace::default();
        for (at, (namespace, nodes, seconds)) in traces.iter().enumerate() {
            pace.set(&format!("u{at}"), namespace, *nodes, Duration::from_secs(*seconds));
        }
        pace
    }

    fn seconds<const CAPACITY: u64>(pace: &Pace<CAPACITY>, namespace: &str, asked: u64) -> u64 {
        pace.interval(namespace, Duration::from_secs(asked)).as_secs()
    }

    #[test]
    fn intervals_stretch_with_the_number_of_reports() {
        for (asked, reports, stretched) in
            [(10, 0, 10), (10, 300, 10), (10, 301, 11), (10, 1_000, 34), (60, 1_000, 60), (5, 10_000, 334)]
        {
            assert_eq!(seconds(&pace(&[("a", reports, asked)]), "a", asked), stretched, "{reports}");
        }
    }

    #[test]
    fn a_namespace_that_asks_for_little_does_not_wait_for_one_that_asks_for_much() {
        let pace = pace(&[("crowd", 10_000, 5), ("shop", 100, 10), ("web", 40, 10)]);
        assert_eq!((seconds(&pace, "shop", 10), seconds(&pace, "web", 10)), (10, 10));
        // The other two ask for 10 and 4 writes per second, which leaves `crowd` 16 of 30.
        assert_eq!(seconds(&pace, "crowd", 5), 10_000 / 16);
        assert_eq!(pace.writing(), 10_140);
    }

    #[test]
    fn what_ends_gives_its_part_back() {
        let mut pace = pace(&[("a", 1_000, 10), ("b", 1_000, 10)]);
        assert_eq!(seconds(&pace, "a", 10), 67);
        pace.remove("u1");
        assert_eq!(seconds(&pace, "a", 10), 34);
        pace.set("u0", "a", 100, Duration::from_secs(10));
        assert_eq!((seconds(&pace, "a", 10), pace.writing()), (10, 100));
        pace.set("u0", "a", 0, Duration::from_secs(10));
        assert_eq!((pace.writing(), pace.namespaces.len(), pace.asked), (0, 0, 0));
    }

    #[test]
    fn profiles_of_large_traces_are_small_and_rare() {
        // Number of nodes of one trace, maximum size of each profile in KiB, and interval of profiles in seconds.
        for (nodes, kibibytes, seconds) in [
            (0, 512, 60),
            (1, 512, 60),
            (16, 512, 60),
            (32, 512, 120),
            (100, 128, 94),
            (1000, 16, 118),
            (5000, 16, 586),
        ] {
            assert_eq!(profile_kibibytes(nodes), kibibytes, "{nodes}");
            let mut pace = ProfilePace::default();
            let minute = Duration::from_secs(60);
            pace.set("u1", "a", nodes * kibibytes, minute);
            let interval = pace.interval("a", minute).as_secs();
            assert_eq!(interval, seconds, "{nodes}");
            assert!(nodes * kibibytes * 60 <= PROFILE_KIBIBYTES_PER_MINUTE * interval, "{nodes}");
            assert!(nodes > 1024 || nodes * kibibytes <= TRACE_KIBIBYTES, "{nodes}");
        }
        // Each of ten traces in two namespaces asks for twice the capacity, of which each namespace gets half.
        let mut pace = ProfilePace::default();
        for at in 0..10 {
            let namespace = if at < 8 { "many" } else { "few" };
            pace.set(&format!("u{at}"), namespace, 1000 * 16, Duration::from_secs(60));
        }
        assert_eq!((seconds(&pace, "many", 60), seconds(&pace, "few", 60)), (1876, 469));
    }

    #[test]
    fn never_more_than_the_budget_in_all() {
        for _ in 0..200 {
            let traces: Vec<(String, u64, u64)> = (0..fastrand::usize(1..30))
                .map(|_| (format!("n{}", fastrand::u8(0..8)), fastrand::u64(1..3000), fastrand::u64(5..60)))
                .collect();
            let listed: Vec<_> = traces.iter().map(|(n, nodes, s)| (n.as_str(), *nodes, *s)).collect();
            let pace = pace(&listed);
            let writes: f64 =
                listed.iter().map(|(n, nodes, s)| *nodes as f64 / seconds(&pace, n, *s) as f64).sum();
            assert!(writes <= WRITES_PER_SECOND as f64 + 0.01, "{writes} writes a second: {listed:?}");
        }
    }
}
