//! A limit on bytes per second.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::stop::{CALL_TIMEOUT, Stop};

/// A limit on one thread: its share of the client's rate.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<f64>,
    start: Instant,
    moved: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>, threads: usize) -> Self {
        let bytes_per_second = rate.map(|rate| rate.max(1) as f64 / threads.max(1) as f64);
        Self { bytes_per_second, start: Instant::now(), moved: 0 }
    }

    /// Waits until `bytes` more bytes may be moved; returns false if the process was stopped first.
    pub(super) fn wait(&mut self, bytes: u64, stop: &Stop) -> bool {
        let Some(rate) = self.bytes_per_second else { return !stop.is_set() };
        let due = self.start + Duration::from_secs_f64(self.moved as f64 / rate);
        self.moved = self.moved.saturating_add(bytes);
        while !stop.is_set() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(CALL_TIMEOUT));
        }
        false
    }
}
