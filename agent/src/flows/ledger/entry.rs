//! A row of a ledger.

use std::time::Duration;

use crate::flows::{FlowState, Key, Row, Totals};

/// A row, or a vacant entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) totals: Totals,
    /// Number of open flows in this row.
    pub(super) open: u32,
    /// Number of open connections in this row.
    pub(super) connections_open: u64,
    /// Number of connections in `totals` that are older than the session.
    pub(super) older: u64,
    /// Number of flows that can still add to this row. Until this is 0, the row keeps its index.
    pub(super) held: u32,
    pub(super) rtt_us: u32,
    /// Number of the interval in which the row last changed.
    pub(super) interval: u32,
    /// Received bytes at the beginning of `interval`.
    pub(super) rx_before: u64,
    /// Sent bytes at the beginning of `interval`.
    pub(super) tx_before: u64,
    /// Set if the row waits in `closed` to be folded.
    pub(super) queued: bool,
    pub(super) folded: bool,
    /// Set if the entry holds no row; its index is then in `vacant`.
    pub(super) vacant: bool,
}

/// Returns bytes per second.
pub(super) fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (bytes as f64 / seconds).round() as u64 } else { 0 }
}

impl Entry {
    /// Creates a row without counts.
    pub(super) fn new(key: Key, folded: bool) -> Self {
        Self {
            key,
            totals: Totals::default(),
            open: 0,
            connections_open: 0,
            older: 0,
            held: 0,
            rtt_us: 0,
            interval: 0,
            rx_before: 0,
            tx_before: 0,
            queued: false,
            folded,
            vacant: false,
        }
    }

    /// Returns the row as it is shown in this interval, which has lasted for `elapsed`.
    pub(super) fn show(&self, interval: u32, elapsed: Duration) -> Row {
        let rate = |now, before| if self.interval == interval { rate(now - before, elapsed) } else { 0 };
        Row {
            key: self.key,
            totals: self.totals,
            rx_bytes_per_second: rate(self.totals.rx_bytes, self.rx_before),
            tx_bytes_per_second: rate(self.totals.tx_bytes, self.tx_before),
            rtt_us: self.rtt_us,
            connections_open: self.connections_open,
            state: match self.open {
                0 if self.totals.connections == 0 && self.totals.connect_failures > 0 => FlowState::Failed,
                0 => FlowState::Closed,
                _ => FlowState::Open,
            },
            folded: self.folded,
            flows: 1,
        }
    }
}
