//! Conversion of the kernel's monotonic timestamps into times of day.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Minimum time between two comparisons of the clocks, which are repeated because the time of day may be set or slewed.
const COMPARED_EVERY: Duration = Duration::from_secs(1);
/// Number of times that one comparison reads both clocks. The quickest reading counts, because this process may be
/// interrupted between reading one clock and the other.
const READINGS: usize = 3;

/// The difference between the time of day and the monotonic clock.
#[derive(Debug)]
pub(super) struct Clock {
    /// Time of day minus monotonic time, in nanoseconds.
    difference: i128,
    compared: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { difference: difference(), compared: Instant::now() }
    }

    /// Compares the clocks again if the last comparison is at least [`COMPARED_EVERY`] ago.
    pub(super) fn follow(&mut self) {
        if self.compared.elapsed() >= COMPARED_EVERY {
            *self = Self::new();
        }
    }

    /// Returns the time of day of a moment that is given in nanoseconds of the monotonic clock; the Unix epoch if it is
    /// beyond the range of dates.
    pub(super) fn time_of(&self, moment: u64) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(moment) + self.difference).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Reads both clocks and returns their difference, as in [`Clock::difference`].
fn difference() -> i128 {
    let reading = || {
        let before = nanoseconds(clock_gettime(ClockId::Monotonic));
        let day = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = nanoseconds(clock_gettime(ClockId::Monotonic));
        (after - before, day - (before + after) / 2)
    };
    (0..READINGS).map(|_| reading()).min().map_or(0, |(_, difference)| difference)
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let clock = Clock::new();
        let monotonic = nanoseconds(clock_gettime(ClockId::Monotonic)).try_into().unwrap();
        let apart = clock.time_of(monotonic).duration_since(Timestamp::now()).abs();
        assert!(apart.as_secs_f64() < 1.0, "{apart:?}");
    }

    #[test]
    fn a_moment_that_has_no_date_is_no_panic() {
        let clock = Clock { difference: i128::MAX / 2, compared: Instant::now() };
        assert_eq!(clock.time_of(u64::MAX), Timestamp::UNIX_EPOCH);
    }
}
