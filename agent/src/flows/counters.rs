//! What a flow moved, and what it is to its connection, as its slot has both.

use std::sync::atomic::Ordering::Relaxed;

use traffictrace_ebpf::layout::{CONNECTION, FAILED, OLDER, Slot, State};

/// Counters of a flow: since its slot was taken, or since they were last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Receive calls.
    pub rx_calls: u32,
    /// Send calls.
    pub tx_calls: u32,
    /// Segments retransmitted.
    pub retransmits: u32,
}

impl Counters {
    /// The counters of a slot as they are now. They go on moving.
    pub fn of(slot: &Slot) -> Self {
        // Those of a connection lie in another cache line, which a drain of many flows need not touch.
        let connection = State(slot.state.load(Relaxed)).has(CONNECTION);
        Self {
            rx_bytes: slot.rx_bytes.load(Relaxed),
            tx_bytes: slot.tx_bytes.load(Relaxed),
            rx_calls: slot.rx_calls.load(Relaxed),
            tx_calls: slot.tx_calls.load(Relaxed),
            retransmits: if connection { slot.retransmits.load(Relaxed) } else { 0 },
        }
    }

    /// Goes on to a later reading of the same slot and returns what moved since. Bytes that a slot credited too early
    /// are taken out of it again, and a socket that is disconnected begins its retransmits again: where a counter fell,
    /// nothing moved until it is past where it was.
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

    /// Whether nothing moved.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a flow is to its connection. A connection has one flow for each of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A flow of datagrams, or a further process of a TCP socket: the connection is not counted here.
    Part,
    /// The flow represents its connection.
    Connection {
        /// The connection is older than its selection: its opening was not seen.
        older: bool,
    },
    /// The flow represents a connection that could not be opened.
    Failed,
}

impl Role {
    /// The role that a slot's state tells.
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
