//! Rates over time as two areas on the same scale: received above the axis, sent below it.
//!
//! The drawing has no fixed width: areas are stretched to the page's width; texts and lines are positioned in percent.

use std::fmt::Write as _;

use jiff::Timestamp;
use traffictrace_crd::human;

use super::series::{Series, Step};

/// Width of the areas in units of their `viewBox`, before they are stretched to the page.
const WIDTH: f64 = 1000.0;
/// Height of the areas, in pixels.
const PLOT: f64 = 190.0;
/// Maximum number of steps of each area over time.
const STEPS: usize = 240;
/// Approximate number of lines of the scale.
const LINES: f64 = 4.0;

/// The drawing. Heights are in pixels from the top.
pub(super) struct Timeline {
    pub(super) rx_area: String,
    pub(super) tx_area: String,
    pub(super) height: f64,
    pub(super) zero: String,
    pub(super) lines: Vec<Line>,
    pub(super) times: Vec<Label>,
    pub(super) rx_peak: Peak,
    pub(super) tx_peak: Peak,
}

/// A horizontal line of the scale.
pub(super) struct Line {
    pub(super) y: String,
    pub(super) label_y: String,
    pub(super) label: String,
}

/// A time below the areas.
pub(super) struct Label {
    pub(super) percent: u8,
    pub(super) anchor: &'static str,
    pub(super) text: String,
}

/// The largest rate and its position.
pub(super) struct Peak {
    pub(super) rate: String,
    pub(super) time: String,
}

impl Timeline {
    /// Draws a series; `None` if it has less than two moments.
    pub(super) fn new(series: &Series) -> Option<Self> {
        let steps = series.steps(STEPS);
        let (first, last) = (steps.first()?.begin, steps.last()?.end);
        let peak = |rate: fn(&Step) -> f64| steps.iter().map(rate).fold(0.0, f64::max);
        let (rx_peak, tx_peak) = (peak(|step| step.rx_rate), peak(|step| step.tx_rate));
        let all = (rx_peak + tx_peak).max(1.0);
        let scale = PLOT / all;
        let zero = rx_peak * scale;
        let seconds = last.duration_since(first).as_secs_f64().max(f64::MIN_POSITIVE);
        let x = |time: Timestamp| time.duration_since(first).as_secs_f64() / seconds * WIDTH;
        let area = |rate: &dyn Fn(&Step) -> f64| {
            let mut path = format!("M0 {zero:.1}");
            for step in &steps {
                let y = zero - rate(step) * scale;
                // Writing to a string cannot fail.
                let _ = write!(path, "L{:.1} {y:.1}H{:.1}", x(step.begin), x(step.end));
            }
            path + &format!("L{WIDTH} {zero:.1}Z")
        };
        Some(Self {
            rx_area: area(&|step| step.rx_rate),
            tx_area: area(&|step| -step.tx_rate),
            height: PLOT,
            zero: format!("{zero:.1}"),
            lines: lines(rx_peak, tx_peak, scale, zero),
            times: times(first, last),
            rx_peak: Peak::of(&steps, |step| step.rx_rate),
            tx_peak: Peak::of(&steps, |step| step.tx_rate),
        })
    }
}

impl Peak {
    fn of(steps: &[Step], rate: fn(&Step) -> f64) -> Self {
        let largest = steps.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
        Self {
            rate: human::bytes_per_second(largest.map_or(0, |step| rate(step).round() as u64)),
            time: largest.map(|step| step.begin.strftime("%T").to_string()).unwrap_or_default(),
        }
    }
}

/// Returns the lines of the scale, on both sides of the axis.
fn lines(rx_peak: f64, tx_peak: f64, scale: f64, zero: f64) -> Vec<Line> {
    let distance = distance(rx_peak + tx_peak);
    let mut lines = Vec::new();
    for (peak, sign) in [(rx_peak, -1.0), (tx_peak, 1.0)] {
        let mut rate = distance;
        while rate <= peak && lines.len() < 32 {
            let y = zero + sign * rate * scale;
            let label_y = if sign < 0.0 { y + 12.0 } else { y - 4.0 };
            let label = human::bytes_per_second(rate as u64);
            lines.push(Line { y: format!("{y:.1}"), label_y: format!("{label_y:.1}"), label });
            rate += distance;
        }
    }
    lines
}

/// Returns a round distance between the lines of the scale, in bytes per second.
fn distance(range: f64) -> f64 {
    let mut unit = 1.0;
    loop {
        for digits in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0] {
            if range <= digits * unit * (LINES + 1.0) {
                return digits * unit;
            }
        }
        unit *= 1024.0;
    }
}

/// Returns the times to be shown: at both ends, in the middle, and between these.
fn times(first: Timestamp, last: Timestamp) -> Vec<Label> {
    let all = last.duration_since(first);
    let is_of_days = first.strftime("%F").to_string() != last.strftime("%F").to_string();
    let label = |percent: u8| {
        let time = first.checked_add(all * i32::from(percent) / 100).unwrap_or(last);
        let text = time.strftime(if is_of_days { "%b %d %R" } else { "%T" }).to_string();
        let anchor = match percent {
            0 => "start",
            100 => "end",
            _ => "middle",
        };
        Label { percent, anchor, text }
    };
    [0, 25, 50, 75, 100].map(label).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Moment;

    #[test]
    fn scales_are_round() {
        assert_eq!(
            [0.0, 4.0, 5.1, 4096.0, 2.0e9].map(distance),
            [1.0, 1.0, 2.0, 1024.0, 500.0 * 1024.0 * 1024.0]
        );
        let lines = lines(5000.0, 100.0, 0.01, 50.0);
        assert_eq!(
            lines.iter().map(|line| line.label.as_str()).collect::<Vec<_>>(),
            ["1.0 KiB/s", "2.0 KiB/s", "3.0 KiB/s", "4.0 KiB/s"]
        );
    }

    #[test]
    fn every_series_has_a_finite_drawing() {
        let drawn = |moments: &[(i64, u64, u64)]| {
            let mut series = Series::default();
            for (second, rx_bytes, tx_bytes) in moments {
                let time = Timestamp::from_second(*second).unwrap();
                series.add(Moment { time, rx_bytes: *rx_bytes, tx_bytes: *tx_bytes });
            }
            Timeline::new(&series)
        };
        assert!(drawn(&[]).is_none() && drawn(&[(0, 1, 1)]).is_none());
        for moments in [
            &[(0, 0, 0), (1, 0, 0)][..],
            &[(0, 9, 9), (1, 0, 0)],
            &[(0, 0, 0), (1, u64::MAX, u64::MAX)],
            &[(0, 0, 0), (100_000, 5, u64::MAX)],
        ] {
            let timeline = drawn(moments).unwrap();
            assert!(
                !timeline.rx_area.contains("NaN") && !timeline.tx_area.contains("inf"),
                "{}",
                timeline.rx_area
            );
            assert_eq!(timeline.times.len(), 5);
        }
        let timeline = drawn(&[(0, 0, 0), (10, 1000, 0), (20, 1000, 500)]).unwrap();
        assert_eq!(timeline.rx_area, "M0 126.7L0.0 0.0H500.0L500.0 126.7H1000.0L1000 126.7Z");
        assert_eq!((timeline.rx_peak.rate.as_str(), timeline.rx_peak.time.as_str()), ("100 B/s", "00:00:00"));
    }
}
