//! One line on the terminal while a trace runs.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use traffictrace_crd::human;

/// Interval at which the line is updated.
const INTERVAL: Duration = Duration::from_millis(500);
/// Control sequence that returns to the beginning of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// The line, if standard error is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    duration: Duration,
    due: Instant,
    shown: bool,
}

impl Progress {
    pub(super) fn new(duration: Duration) -> Self {
        Self { is_terminal: io::stderr().is_terminal(), duration, due: Instant::now(), shown: false }
    }

    /// Updates the line if the interval has passed. `counted` returns the number of bytes moved and of stacks taken.
    pub(super) fn show(&mut self, elapsed: Duration, counted: impl FnOnce() -> (u64, u64)) {
        if !self.is_terminal || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + INTERVAL;
        self.shown = true;
        let line = line(elapsed, self.duration, counted());
        // Errors are ignored: a terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "{CLEAR}{line}");
    }

    /// Removes the line, so that other text can be written.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn line(elapsed: Duration, duration: Duration, (bytes, stacks): (u64, u64)) -> String {
    let seconds = |time: Duration| time.as_secs_f64().round();
    format!(
        "{} of {} s: {}, {}",
        seconds(elapsed),
        seconds(duration),
        human::bytes(bytes),
        human::number_of(stacks, "stack")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_is() {
        let line = line(Duration::from_millis(3200), Duration::from_secs(10), (1 << 20, 1));
        assert_eq!(line, "3 of 10 s: 1.0 MiB, 1 stack");
    }
}
