//! Totals over time, bounded in memory however long a trace runs.

use jiff::Timestamp;

use crate::Snapshot;

/// Maximum number of moments that are kept.
const MAX_MOMENTS: usize = 2048;

/// The totals at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Time at which the totals were read.
    pub time: Timestamp,
    /// Bytes received since the trace began.
    pub rx_bytes: u64,
    /// Bytes sent since the trace began.
    pub tx_bytes: u64,
}

impl From<&Snapshot> for Moment {
    fn from(snapshot: &Snapshot) -> Self {
        let totals = &snapshot.totals;
        Self { time: snapshot.time, rx_bytes: totals.rx_bytes, tx_bytes: totals.tx_bytes }
    }
}

/// Totals over time. Each moment has sums since the trace began, so leaving moments out makes the curve coarser but loses no
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    moments: Vec<Moment>,
}

/// The mean rates between two moments, in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    pub(super) rx_rate: f64,
    pub(super) tx_rate: f64,
}

impl Series {
    /// Adds a moment. A moment that is not later than the last one is ignored.
    pub fn add(&mut self, moment: Moment) {
        if self.moments.last().is_some_and(|last| last.time >= moment.time) {
            return;
        }
        if self.moments.len() >= MAX_MOMENTS {
            let mut place = 0;
            self.moments.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.moments.push(moment);
    }

    /// The moments, from the earliest to the latest.
    #[must_use]
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Returns at most `most` steps, whose moments are about equally far apart.
    pub(super) fn steps(&self, most: usize) -> Vec<Step> {
        let each = self.moments.len().div_ceil(most.max(1)).max(1);
        let mut kept: Vec<Moment> = self.moments.iter().step_by(each).copied().collect();
        if let (Some(last), Some(kept_last)) = (self.moments.last(), kept.last())
            && last != kept_last
        {
            kept.push(*last);
        }
        let rates = kept.windows(2).map(|pair| {
            let [from, to] = pair else { return Step::nothing() };
            let seconds = to.time.duration_since(from.time).as_secs_f64();
            // Totals never fall. If they do all the same, the rate is 0.
            let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
            Step {
                begin: from.time,
                end: to.time,
                rx_rate: rate(from.rx_bytes, to.rx_bytes),
                tx_rate: rate(from.tx_bytes, to.tx_bytes),
            }
        });
        rates.collect()
    }
}

impl Step {
    fn nothing() -> Self {
        Self { begin: Timestamp::UNIX_EPOCH, end: Timestamp::UNIX_EPOCH, rx_rate: 0.0, tx_rate: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: i64) -> Moment {
        let time = Timestamp::from_second(second).unwrap();
        Moment { time, rx_bytes: 100 * second as u64, tx_bytes: second as u64 }
    }

    #[test]
    fn a_long_trace_gets_coarser_and_loses_no_byte() {
        let mut series = Series::default();
        for second in 0..100_000 {
            series.add(moment(second));
            series.add(moment(second / 2));
        }
        assert!(series.moments.len() <= MAX_MOMENTS);
        let steps = series.steps(200);
        assert!((100..=201).contains(&steps.len()), "{}", steps.len());
        assert!(steps.iter().all(|step| (step.rx_rate - 100.0).abs() < 1e-6));
        assert_eq!(steps.last().unwrap().end, moment(99_999).time);
        assert!(steps.windows(2).all(|pair| pair[0].end == pair[1].begin));
    }

    #[test]
    fn one_moment_is_no_curve() {
        let mut series = Series::default();
        assert_eq!(series.steps(10), []);
        series.add(moment(1));
        assert_eq!(series.steps(10), []);
        series.add(moment(3));
        assert_eq!(series.steps(0).len(), 1);
    }
}
