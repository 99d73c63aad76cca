//! Counts that the programs keep outside of slots: losses by reason, and the sums of events that found no slot.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aya::Ebpf;
use traffictrace_ebpf::{
    layout::{self, Loss, Overflow, OverflowKey},
    maps,
};

use super::{KernelError, Tracer, gone_is_fine, map_data, mapped::Mapped};

/// Mapped counters, one for each [`Loss`], since the programs were loaded.
pub(super) struct LossCounters(Mapped<AtomicU64>);

impl LossCounters {
    pub(super) fn map(ebpf: &Ebpf) -> Result<Self, KernelError> {
        // SAFETY: the map is a mappable array of `LOSSES` elements of `u64` (shared.h, maps.h), which the kernel
        // changes atomically.
        #[expect(unsafe_code, reason = "see SAFETY")]
        let counters = unsafe { Mapped::new(map_data(ebpf, maps::LOSSES)?, maps::LOSSES, layout::LOSSES)? };
        Ok(Self(counters))
    }

    pub(super) fn of(&self, loss: Loss) -> u64 {
        self.0.get(loss as usize).map_or(0, |counter| counter.load(Relaxed))
    }
}

impl Tracer {
    /// Value of a counter since the programs were loaded: events or, for some reasons, bytes.
    pub fn loss(&self, loss: Loss) -> u64 {
        self.losses.of(loss)
    }

    /// Upper bound of the events that the kernel skipped since the programs were loaded and whose bytes are missing:
    /// messages of datagram sockets, MPTCP and kernel TLS. Reads files, so do not call this in each drain.
    pub fn missed_events(&self) -> u64 {
        self.hooks.twins.missed(&self.ebpf, &|loss| self.losses.of(loss))
    }

    /// Returns the sums of the events that found no slot, by cgroup, sessions and protocol.
    pub fn overflow(&mut self) -> Result<Vec<(OverflowKey, Overflow)>, KernelError> {
        let map = self.hash::<OverflowKey, Overflow>(maps::OVERFLOW)?;
        map.iter()
            .collect::<Result<_, _>>()
            .map_err(|e| KernelError::map("read the overflow rows", maps::OVERFLOW, e))
    }

    /// Removes the overflow rows of sessions that have all ended, so that the map does not fill up with them. `live`
    /// has the bits of the sessions that still run.
    pub fn forget_overflow(&mut self, live: u64) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("remove an overflow row", maps::OVERFLOW, e);
        let mut map = self.hash::<OverflowKey, Overflow>(maps::OVERFLOW)?;
        let keys = map.keys().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        for key in keys.iter().filter(|[_, sessions, _]| sessions & live == 0) {
            gone_is_fine(map.remove(key)).map_err(failed)?;
        }
        Ok(())
    }
}
