//! How often nodes may report, so that a large cluster's API server is not busy with reports, and no namespace takes what
//! others need.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

/// Report writes, in millionths a second, that the whole cluster may make: a quarter of a core of the API server.
const CAPACITY: u64 = 30_000_000;
/// The share of a namespace when all of them together ask for less than the capacity.
const UNLIMITED: u64 = u64::MAX;
/// The share is worked out anew at most so often, since that looks at every namespace with running traces.
const SHARE_FOR: Duration = Duration::from_secs(1);

/// The reports that nodes write for one trace or for all traces of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// The number of reports that are written again and again.
    reports: u64,
    /// The writes that they would make at the interval asked for, in millionths a second: whole numbers, so that what is
    /// added and taken away again leaves nothing behind.
    rate: u64,
}

impl Demand {
    pub(super) fn new(reports: u64, asked: Duration) -> Self {
        let milliseconds = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { reports, rate: reports.saturating_mul(1_000_000_000 / milliseconds) }
    }
}

/// The demands of all namespaces with running traces, and the share of each.
#[derive(Debug)]
pub(super) struct Pace {
    namespaces: HashMap<String, Demand>,
    rate: u64,
    share: u64,
    /// When the share was worked out; `None` when the demands have not changed since.
    changed: bool,
    shared_at: Option<Timestamp>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { namespaces: HashMap::new(), rate: 0, share: UNLIMITED, changed: false, shared_at: None }
    }
}

impl Pace {
    /// Replaces what a trace of a namespace asks for.
    pub(super) fn change(&mut self, namespace: &str, from: Demand, to: Demand) {
        if from == to {
            return;
        }
        let demand = self.namespaces.entry(namespace.to_owned()).or_default();
        demand.reports = demand.reports.saturating_add(to.reports).saturating_sub(from.reports);
        demand.rate = demand.rate.saturating_add(to.rate).saturating_sub(from.rate);
        if *demand == Demand::default() {
            self.namespaces.remove(namespace);
        }
        self.rate = self.rate.saturating_add(to.rate).saturating_sub(from.rate);
        self.changed = true;
    }

    /// Works out the share of each namespace again, if the demands have changed and it is time to.
    pub(super) fn refresh(&mut self, now: Timestamp) {
        let recent = self.shared_at.is_some_and(|at| at <= now && now < after(at, SHARE_FOR));
        if !self.changed || (recent && self.rate > CAPACITY) {
            return;
        }
        self.share = if self.rate <= CAPACITY {
            UNLIMITED
        } else {
            self.shared_at = Some(now);
            fair_share(self.namespaces.values().map(|demand| demand.rate).collect(), CAPACITY)
        };
        self.changed = false;
    }

    /// How often each node reports for a trace of this namespace that asks for `asked`.
    pub(super) fn interval(&self, namespace: &str, asked: Duration) -> Duration {
        interval(asked, self.namespaces.get(namespace).copied().unwrap_or_default(), self.share)
    }
}

/// The most that each may take, so that all together take no more than the capacity, and whoever asks for less than the
/// share gets all of it (max-min fairness).
fn fair_share(mut asked: Vec<u64>, capacity: u64) -> u64 {
    asked.sort_unstable();
    let mut left = capacity;
    for (place, rate) in asked.iter().enumerate() {
        let share = left / (asked.len() - place) as u64;
        if *rate > share {
            return share.max(1);
        }
        left -= rate;
    }
    UNLIMITED
}

/// The interval asked for if its namespace asks for no more than its share; else so long that all reports of the
/// namespace, each written once in it, make up the share.
fn interval(asked: Duration, namespace: Demand, share: u64) -> Duration {
    if namespace.rate <= share {
        return asked;
    }
    let seconds = namespace.reports.saturating_mul(1_000_000).div_ceil(share);
    asked.max(Duration::from_secs(seconds))
}

/// A moment so much later; the end of time when there is none.
pub(super) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(demands: &[(&str, u64, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (namespace, reports, asked) in demands {
            let demand = Demand::new(*reports, Duration::from_secs(*asked));
            pace.change(namespace, Demand::default(), demand);
        }
        pace.refresh(Timestamp::UNIX_EPOCH);
        pace
    }

    #[test]
    fn intervals_stretch_with_the_number_of_reports() {
        for (asked, reports, seconds) in
            [(10, 0, 10), (10, 300, 10), (10, 301, 11), (10, 1_000, 34), (60, 1_000, 60), (5, 10_000, 334)]
        {
            let interval = pace(&[("a", reports, asked)]).interval("a", Duration::from_secs(asked));
            assert_eq!(interval, Duration::from_secs(seconds), "{reports} reports each {asked} s");
        }
    }

    #[test]
    fn only_those_who_ask_for_more_than_their_share_report_less_often() {
        let ten = Duration::from_secs(10);
        // 1 and 100 a second: the small one keeps its interval, the large one gets the rest of the 30.
        let two = pace(&[("small", 10, 10), ("large", 1000, 10)]);
        assert_eq!((two.interval("small", ten), two.interval("large", ten).as_secs()), (ten, 35));
        // A slow trace of the large one is not made slower than its interval.
        assert_eq!(two.interval("large", Duration::from_secs(60)).as_secs(), 60);
        // Two large ones share equally, whatever each asks for.
        let three = pace(&[("small", 20, 10), ("large", 1000, 10), ("larger", 2000, 5)]);
        let seconds = ["small", "large", "larger"].map(|namespace| three.interval(namespace, ten).as_secs());
        assert_eq!(seconds, [10, 72, 143]);
    }

    #[test]
    fn shares_never_exceed_the_capacity_and_never_starve() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let asked: Vec<u64> = (0..random.usize(1..40)).map(|_| random.u64(1..5_000_000)).collect();
            let share = fair_share(asked.clone(), CAPACITY);
            let taken: u64 = asked.iter().map(|rate| (*rate).min(share)).sum();
            assert!(taken <= CAPACITY, "{taken}");
            if share != UNLIMITED {
                assert!(taken + asked.len() as u64 > CAPACITY, "{taken} of {CAPACITY} taken");
                assert!(share >= CAPACITY / asked.len() as u64);
            }
        }
    }

    #[test]
    fn demands_that_end_leave_nothing_behind() {
        let mut pace = pace(&[("a", 7, 7), ("b", 1000, 10)]);
        pace.change("b", Demand::new(1000, Duration::from_secs(10)), Demand::default());
        pace.change("a", Demand::new(7, Duration::from_secs(7)), Demand::default());
        assert!(pace.namespaces.is_empty() && pace.rate == 0);
        pace.refresh(Timestamp::UNIX_EPOCH);
        assert_eq!(pace.share, UNLIMITED, "less than the capacity shows at once");
    }
}
