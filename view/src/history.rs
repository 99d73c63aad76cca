//! Rates over the last minute, for sparklines.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

/// Length of the history, in seconds.
pub const SECONDS: usize = 60;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The rates of the last minute, in bytes per second: of the whole trace, and of each row by its key.
#[derive(Clone, Debug, Default)]
pub struct History {
    total: Series,
    rows: HashMap<String, Series>,
}

/// Rates by time.
#[derive(Clone, Debug, Default, PartialEq)]
struct Series(VecDeque<(Timestamp, u64)>);

impl Series {
    fn add(&mut self, time: Timestamp, rate: u64) {
        if self.0.back().is_some_and(|(last, _)| *last >= time) {
            return;
        }
        self.0.push_back((time, rate));
        self.forget(time);
    }

    fn forget(&mut self, now: Timestamp) {
        let is_old = |at: &Timestamp| now.duration_since(*at).as_secs() >= SECONDS as i64;
        while self.0.pop_front_if(|(at, _)| is_old(at)).is_some() {}
    }

    /// Splits the last minute into `columns` equal parts and returns the largest rate of each part; `None` before the first
    /// rate.
    fn sampled(&self, now: Timestamp, columns: usize) -> Vec<Option<u64>> {
        let mut values = vec![None; columns];
        let mut last = None;
        let mut known = self.0.iter().peekable();
        for (column, value) in values.iter_mut().enumerate() {
            let age_at_end = (columns - 1 - column) as f64 * SECONDS as f64 / columns as f64;
            let mut largest = None;
            while let Some((_, rate)) =
                known.next_if(|(at, _)| now.duration_since(*at).as_secs_f64() >= age_at_end)
            {
                largest = largest.max(Some(*rate));
                last = Some(*rate);
            }
            // A rate is valid until the next one, so a part without a rate of its own shows the last one before it.
            *value = largest.or(last);
        }
        values
    }
}

impl History {
    /// Adds the rates of one moment. A row without new rates is forgotten a minute after its last one.
    pub fn add<'a>(&mut self, time: Timestamp, total: u64, rows: impl IntoIterator<Item = (&'a str, u64)>) {
        self.total.add(time, total);
        for (key, rate) in rows {
            match self.rows.get_mut(key) {
                Some(series) => series.add(time, rate),
                None => {
                    let mut series = Series::default();
                    series.add(time, rate);
                    self.rows.insert(key.to_owned(), series);
                }
            }
        }
        self.rows.retain(|_, series| {
            series.forget(time);
            !series.0.is_empty()
        });
    }

    /// Returns the largest rate of the whole trace in the last minute, in bytes per second.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.total.0.iter().map(|(_, rate)| *rate).max().unwrap_or(0)
    }

    /// Draws a sparkline of the whole trace, `columns` wide.
    #[must_use]
    pub fn sparkline(&self, now: Timestamp, columns: usize) -> String {
        drawn(&self.total.sampled(now, columns))
    }

    /// Draws a sparkline of one row, `columns` wide, scaled to the row's own largest rate.
    #[must_use]
    pub fn sparkline_of(&self, key: &str, now: Timestamp, columns: usize) -> String {
        self.rows.get(key).map_or_else(|| " ".repeat(columns), |series| drawn(&series.sampled(now, columns)))
    }
}

fn drawn(values: &[Option<u64>]) -> String {
    let largest = values.iter().flatten().copied().max().unwrap_or(0).max(1);
    let level = |value: u64| {
        let level = (value as f64 / largest as f64 * (LEVELS.len() - 1) as f64).round() as usize;
        LEVELS[level.min(LEVELS.len() - 1)]
    };
    values.iter().map(|value| value.map_or(' ', level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn a_minute_is_drawn_and_older_rates_are_forgotten() {
        let mut history = History::default();
        for second in 0..90 {
            history.add(at(second), if second < 30 { 1000 } else { 7 * second as u64 }, []);
        }
        assert_eq!(history.peak(), 7 * 89);
        let line = history.sparkline(at(89), 10);
        assert_eq!(line.chars().count(), 10);
        assert_eq!(line.chars().last(), Some('█'));
        assert!(line.starts_with('▄'), "{line}");
    }

    #[test]
    fn nothing_is_drawn_before_the_first_rate_and_a_rate_holds_until_the_next() {
        let mut history = History::default();
        history.add(at(0), 5, [("a", 5)]);
        history.add(at(10), 10, [("a", 0)]);
        assert_eq!(history.sparkline(at(15), 6), "    ▅█");
        assert_eq!(history.sparkline_of("a", at(15), 6), "    █▁");
        assert_eq!(history.sparkline_of("b", at(15), 6), "      ");
        history.add(at(100), 1, []);
        assert!(history.rows.is_empty());
    }

    #[test]
    fn a_snapshot_that_is_seen_again_adds_nothing() {
        let mut history = History::default();
        history.add(at(0), 5, []);
        history.add(at(0), 9, []);
        assert_eq!(history.peak(), 5);
        assert_eq!(History::default().sparkline(at(0), 3), "   ");
    }
}
