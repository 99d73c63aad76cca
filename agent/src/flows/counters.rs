//! The counters of a flow and its role in its connection, as read from its slot.

use std::sync::atomic::Ordering::Relaxed;

use traffictrace_ebpf::layout::{CONNECTION, FAILED, OLDER, Slot, State};

/// Counters of a flow, either since its slot was taken or since they were last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received bytes.
    pub rx_bytes: u64,
    /// Sent bytes.
    pub tx_bytes: u64,
    /// Number of receive calls.
    pub rx_calls: u32,
    /// Number of send calls.
    pub tx_calls: u32,
    /// Number of retransmitted segments.
    pub retransmits: u32,
}

impl Counters {
    /// Reads the current counters of a slot, which keep moving.
    pub fn of(slot: &Slot) -> Self {
        // Retransmits lie in another cache line, which is read for connections only.
        let connection = State(slot.state.load(Relaxed)).has(CONNECTION);
        Self {
            rx_bytes: slot.rx_bytes.load(Relaxed),
            tx_bytes: slot.tx_bytes.load(Relaxed),
            rx_calls: slot.rx_calls.load(Relaxed),
            tx_calls: slot.tx_calls.load(Relaxed),
            retransmits: if connection { slot.retransmits.load(Relaxed) } else { 0 },
        }
    }

    /// Replaces these counters by a later reading of the same slot, and returns the difference. The programs never make
    /// a counter of bytes or retransmits smaller; if one fell nevertheless, its difference would be 0 until it exceeds
    /// its old value again. Counters of calls may wrap around.
    pub fn advance(&mut self, now: Self) -> Self {
        let moved = Self {
            rx_bytes: now.rx_bytes.saturating_sub(self.rx_bytes),
            tx_bytes: now.tx_bytes.saturating_sub(self.tx_bytes),
            rx_calls: now.rx_calls.wrapping_sub(self.rx_calls),
            tx_calls: now.tx_calls.wrapping_sub(self.tx_calls),
            retransmits: now.retransmits.saturating_sub(self.retransmits),
        };
        *self = Self {
            rx_bytes: now.rx_bytes.max(self.rx_bytes),
            tx_bytes: now.tx_bytes.max(self.tx_bytes),
            retransmits: now.retransmits.max(self.retransmits),
            ..now
        };
        moved
    }

    /// Returns true if all counters are 0.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The role of a flow in its connection. A connection has one flow for each of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A datagram flow, or a further process of a TCP socket. The socket's connection is counted in another flow.
    Part,
    /// The flow represents its connection.
    Connection {
        /// Set if the connection is older than its selection, so that its opening was not seen.
        older: bool,
    },
    /// The flow represents a connection that could not be opened.
    Failed,
}

impl Role {
    /// Returns the role that a slot's state has.
    pub fn of(state: State) -> Self {
        if state.has(FAILED) {
            Self::Failed
        } else if state.has(CONNECTION) {
            Self::Connection { older: state.has(OLDER) }
        } else {
            Self::Part
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_calls_may_wrap() {
        let mut seen = Counters { rx_calls: u32::MAX, tx_bytes: 5, ..Counters::default() };
        let now = Counters { rx_calls: 1, tx_bytes: 7, ..Counters::default() };
        assert_eq!(seen.advance(now), Counters { rx_calls: 2, tx_bytes: 2, ..Counters::default() });
        assert!(seen.advance(now).is_empty());
    }

    #[test]
    fn what_was_taken_back_is_not_counted_again() {
        let mut seen = Counters::default();
        let at = |rx_bytes, retransmits| Counters { rx_bytes, retransmits, ..Counters::default() };
        let moved = [at(100, 3), at(70, 0), at(90, 2), at(130, 4)].map(|now| seen.advance(now));
        assert_eq!(moved, [at(100, 3), at(0, 0), at(0, 0), at(30, 1)]);
    }
}
