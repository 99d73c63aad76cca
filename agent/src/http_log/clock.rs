//! Conversion of the kernel's monotonic timestamps into times of day.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Interval between two comparisons of the clocks, since the time of day may be set or slewed.
const COMPARED_EVERY: Duration = Duration::from_secs(1);
/// Number of readings of one comparison. The quickest one counts, because this process may be interrupted between
/// reading the two clocks.
const READINGS: usize = 3;

/// The difference between the time of day and the monotonic clock.
#[derive(Debug)]
pub(super) struct Clock {
    /// The difference in nanoseconds.
    difference: i128,
    compared: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { difference: difference(), compared: Instant::now() }
    }

    /// Compares the clocks again if the last comparison is more than a second old.
    pub(super) fn follow(&mut self) {
        if self.compared.elapsed() >= COMPARED_EVERY {
            *self = Self::new();
        }
    }

    /// Returns the time of day of a moment given in nanoseconds of the monotonic clock.
    pub(super) fn time_of(&self, moment: u64) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(moment) + self.difference).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

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
