//! Pauses between attempts, the same for every request and watch.

use std::time::Duration;

/// First and longest pause if the API server asks for none.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Longest pause that the API server may ask for. A starting API server asks for up to 30 s.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Growing, randomized pauses, so that the nodes of a cluster do not all return at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Returns the next pause. If the server asked for one, that pause is used (at most 30 s), plus up to a quarter.
    /// Otherwise the pause doubles from 0.5 s to 15 s, minus up to a half.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let (first, longest) = PAUSES;
        let own = (first * 2_u32.saturating_pow(self.attempts.min(8))).min(longest);
        self.attempts = self.attempts.saturating_add(1);
        match asked {
            Some(asked) => asked.min(LONGEST_ASKED).mul_f64(1.0 + 0.25 * fastrand::f64()),
            None => own.mul_f64(0.5 + 0.5 * fastrand::f64()),
        }
    }

    /// Number of pauses since the last success.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Records a success, so that pauses are short again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        for most in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
            let pause = backoff.next(None).as_millis();
            assert!(pause >= most / 2 && pause <= most, "{pause} of {most}");
        }
        assert_eq!(backoff.attempts(), 7);
        backoff.reset();
        assert!(backoff.next(None).as_millis() <= 500);
    }

    #[test]
    fn the_server_has_the_last_word_within_reason() {
        for (asked, least, most) in [(17, 17.0, 21.25), (3600, 30.0, 37.5)] {
            let pause = Backoff::default().next(Some(Duration::from_secs(asked))).as_secs_f64();
            assert!(pause >= least && pause <= most, "{pause}");
        }
    }
}
