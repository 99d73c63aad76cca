//! Medians and their confidence intervals.

use std::fmt;

/// Number of resamples that an interval is computed from.
const RESAMPLES: usize = 1000;
/// Shares of the resampled medians below the lower and below the upper end of a 95 % interval.
const TAILS: (f64, f64) = (0.025, 0.975);

/// A median with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Estimate {
    /// Estimates the median of the population that `values` come from, by bootstrapping: the interval holds the middle
    /// 95 % of the medians of samples that are drawn from `values` with replacement. The draws are the same in every
    /// run.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let mut sample = vec![0.0; values.len()];
        let mut medians = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            sample.fill_with(|| random.choice(values).copied().unwrap_or(f64::NAN));
            medians.push(median_of(&mut sample));
        }
        medians.sort_by(f64::total_cmp);
        let at = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
        Self { median: median(values), low: at(TAILS.0), high: at(TAILS.1) }
    }

    /// Half of the interval's width.
    pub(super) fn uncertainty(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// Formats as `0.969 [0.965, 0.973]`; the formatter's precision applies to all three numbers.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(3);
        let Self { median, low, high } = self;
        if f.sign_plus() {
            write!(f, "{median:+.precision$} [{low:+.precision$}, {high:+.precision$}]")
        } else {
            write!(f, "{median:.precision$} [{low:.precision$}, {high:.precision$}]")
        }
    }
}

/// Median of the values: the mean of the two middle ones if their number is even, NaN if there is none.
pub(super) fn median(values: &[f64]) -> f64 {
    median_of(&mut values.to_vec())
}

fn median_of(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return *upper;
    }
    f64::midpoint(below.iter().copied().fold(f64::NEG_INFINITY, f64::max), *upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance
    }

    #[test]
    fn a_median_is_no_average() {
        assert!(close(median(&[9.0, 1.0, 2.0]), 2.0, 0.0));
        assert!(close(median(&[4.0, 1.0, 2.0, 100.0]), 3.0, 0.0));
        assert!(close(median(&[5.0]), 5.0, 0.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn equal_values_leave_no_doubt() {
        let estimate = Estimate::of(&[0.5; 20]);
        assert!(close(estimate.median, 0.5, 0.0) && close(estimate.uncertainty(), 0.0, 0.0));
    }

    /// By order statistics, the 95 % interval of the median of 0..=100 runs from about the 40th to the 60th value.
    #[test]
    fn an_interval_is_that_of_the_order_statistics() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        let estimate = Estimate::of(&values);
        assert!(close(estimate.median, 50.0, 0.0));
        assert!(close(estimate.low, 40.0, 2.0), "{estimate}");
        assert!(close(estimate.high, 60.0, 2.0), "{estimate}");
    }

    /// Draws 400 samples of 41 values: about 95 % of their intervals must hold the true median.
    #[test]
    fn an_interval_holds_the_truth_as_often_as_it_says() {
        let mut random = fastrand::Rng::with_seed(7);
        let held = (0..400)
            .filter(|_| {
                let sample: Vec<f64> = (0..41).map(|_| random.f64()).collect();
                let estimate = Estimate::of(&sample);
                estimate.low <= 0.5 && 0.5 <= estimate.high
            })
            .count();
        assert!((370..=395).contains(&held), "{held} of 400");
    }

    #[test]
    fn an_outlier_moves_nothing() {
        let mut values = vec![1.0; 30];
        values.push(50.0);
        assert!(close(Estimate::of(&values).high, 1.0, 0.0));
    }

    #[test]
    fn an_estimate_is_printed_with_its_interval() {
        let estimate = Estimate { median: 0.9689, low: 0.965, high: 0.97349 };
        assert_eq!(estimate.to_string(), "0.969 [0.965, 0.973]");
        assert_eq!(format!("{estimate:+.1}"), "+1.0 [+1.0, +1.0]");
    }
}
