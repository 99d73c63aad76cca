//! Losses: events and bytes that are in no row, or in a less precise one.

use traffictrace_ebpf::layout::Loss;

use super::{Session, SlotRows};
use crate::{
    flows::{Direction, Key, Protocol, Totals},
    kernel::Tracer,
};

/// Losses of the whole node since the session began, or since the programs were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events that found no room in the flow table. Their bytes are in rows without process and peer.
    pub table_full: u64,
    /// Processes that could not be followed, or whose open files could not all be examined.
    pub processes_lost: u64,
    /// Cgroups whose name and parent could not be kept. Rows of a container may then name a cgroup inside it.
    pub cgroups_not_named: u64,
    /// Received bytes that are in no row and no total.
    pub rx_bytes: u64,
    /// Sent bytes that are in no row and no total.
    pub tx_bytes: u64,
    /// Upper bound of the UDP, ICMP, MPTCP and kernel-TLS messages that the kernel skipped; their bytes are in no row and
    /// no total.
    pub missed_events: u64,
}

impl Losses {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            table_full: self.table_full - before.table_full,
            processes_lost: self.processes_lost - before.processes_lost,
            cgroups_not_named: self.cgroups_not_named - before.cgroups_not_named,
            rx_bytes: self.rx_bytes - before.rx_bytes,
            tx_bytes: self.tx_bytes - before.tx_bytes,
            // The value is an upper bound, which falls when a twin (`kernel/twins.rs`) turns out to have counted the
            // events.
            missed_events: self.missed_events.saturating_sub(before.missed_events),
        }
    }
}

/// The losses since the programs were loaded.
pub(super) fn losses(tracer: &Tracer, slots: &SlotRows) -> Losses {
    let (rx_bytes, tx_bytes) = slots.unbooked();
    Losses {
        table_full: tracer.loss(Loss::TableFull),
        processes_lost: tracer.loss(Loss::Processes),
        cgroups_not_named: tracer.loss(Loss::Folders),
        rx_bytes: tracer.loss(Loss::RxBytes) + rx_bytes,
        tx_bytes: tracer.loss(Loss::TxBytes) + tx_bytes,
        missed_events: tracer.missed_events(),
    }
}

/// Adds the sums of events that found no slot to the sessions' rows. The sums are exact, but process and peer are
/// unknown.
pub(super) fn book_overflow(tracer: &mut Tracer, by_number: &mut [Option<&mut Session>]) {
    let (rows, folders) = match tracer.overflow().and_then(|rows| Ok((rows, tracer.folders()?))) {
        Ok(both) => both,
        Err(error) => {
            return tracing::error!(%error, "flows without a slot are not shown until the next drain");
        }
    };
    for (key @ [cgroup, sessions, protocol], now) in rows {
        let Some(protocol) = Protocol::from_bit(protocol as u32) else { continue };
        for session in by_number.iter_mut().flatten().filter(|session| session.is_in(sessions)) {
            let before = session.overflow_before.insert(key, now).unwrap_or_default();
            let [rx_bytes, tx_bytes, rx_calls, tx_calls] =
                std::array::from_fn(|at| now[at].saturating_sub(before[at]));
            let sum = Totals { rx_bytes, tx_bytes, rx_calls, tx_calls, ..Totals::default() };
            if sum != Totals::default() {
                if protocol == Protocol::Tcp {
                    session.crowded_out.insert(cgroup);
                }
                let cgroup = session.containers.of(cgroup, &session.spec, &|id| folders.parent(id));
                session.ledger.add_folded(overflow_key(cgroup, protocol), &sum);
            }
        }
    }
}

fn overflow_key(cgroup: u64, protocol: Protocol) -> Key {
    Key {
        cgroup,
        caller_cgroup: cgroup,
        pid: 0,
        container_pid: 0,
        command: [0; 16],
        protocol,
        direction: Direction::Unknown,
        local_address: None,
        remote_address: None,
        local_port: None,
        remote_port: None,
    }
}
