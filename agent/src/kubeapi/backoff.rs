//! Waiting between attempts, the same for every request and watch.

use std::time::Duration;

/// First and longest pause of its own making.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Longest pause that the API server may ask for. One that starts asks for up to 30 s.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Growing pauses between attempts, spread so that the nodes of a cluster do not all come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause: what the server asks for and up to a quarter more, else one that doubles from half a second to
    /// a quarter of a minute, of which up to a half is left out.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let (first, longest) = PAUSES;
        let own = (first * 2_u32.saturating_pow(self.attempts.min(8))).min(longest);
        self.attempts = self.attempts.saturating_add(1);
        match asked {
            Some(asked) => asked.min(LONGEST_ASKED).mul_f64(1.0 + 0.25 * fastrand::f64()),
            None => own.mul_f64(0.5 + 0.5 * fastrand::f64()),
        }
    }

    /// The number of pauses since it last worked.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Begins with short pauses again: it worked.
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
