//! The rows to which the slots of the flow table are added.

use std::sync::atomic::Ordering::Relaxed;

use traffictrace_ebpf::layout::CONNECTION;

use super::session::Session;
use crate::{
    flows::{Key, Opening, Role, RowId},
    kernel::Drained,
};

/// The rows of one flow, each with its session's number. Nearly always there is one row of one session.
#[derive(Debug, Default)]
enum Rows {
    #[default]
    None,
    One((u8, RowId)),
    Many(Box<[(u8, RowId)]>),
}

/// The rows to which a flow's traffic is added. They are looked up only once, since an open slot never gets further
/// sessions.
#[derive(Debug, Default)]
struct SlotRow {
    rows: Rows,
    /// Set if the flow represents an open connection.
    connection: bool,
}

/// The rows of every flow, by the flow's number.
#[derive(Debug, Default)]
pub(super) struct SlotRows {
    flows: Vec<SlotRow>,
    /// Received and sent bytes, see [`Self::unbooked`].
    unbooked: (u64, u64),
}

impl SlotRows {
    /// Received and sent bytes of flows that belong to no session or to an unknown protocol. The kernel programs
    /// produce none.
    pub(super) fn unbooked(&self) -> (u64, u64) {
        self.unbooked
    }

    /// Removes the rows of the session with this number from all flows.
    pub(super) fn forget_session(&mut self, number: u8) {
        for flow in &mut self.flows {
            let left = flow.rows.as_slice().iter().copied().filter(|(of, _)| *of != number).collect();
            flow.rows = Rows::from_vec(left);
        }
    }

    /// Ends these flows in the rows of a session that no longer counts them.
    pub(super) fn leave(&mut self, flows: &[usize], session: &mut Session) {
        for flow in flows {
            let Some(flow) = self.flows.get_mut(*flow) else { continue };
            let is_left = |(number, _): &(u8, RowId)| *number == session.number;
            let (left, kept): (Vec<_>, Vec<_>) = flow.rows.as_slice().iter().copied().partition(is_left);
            for (_, row) in left {
                session.ledger.close(row, flow.connection);
                session.ledger.release(row);
            }
            flow.rows = Rows::from_vec(kept);
        }
    }

    /// Adds the traffic of a flow to its rows. `parent_of` returns the parent of a cgroup if it is known.
    pub(super) fn book(
        &mut self,
        drained: &Drained<'_>,
        parent_of: &dyn Fn(u64) -> Option<u64>,
        sessions: &mut [Option<&mut Session>],
    ) {
        if drained.opened {
            self.open(drained, parent_of, sessions);
        }
        let Some(flow) = self.flows.get_mut(drained.flow) else { return };
        // Read only for connections: the field lies in a cache line that is not needed otherwise and takes time to
        // load.
        let rtt_us = if drained.state.has(CONNECTION) { drained.slot.srtt_us.load(Relaxed) } else { 0 };
        for (number, row) in flow.rows.as_slice() {
            let Some(session) = &mut sessions[usize::from(*number)] else { continue };
            session.ledger.add(*row, &drained.moved, rtt_us);
            if drained.closed {
                session.ledger.close(*row, flow.connection);
            }
            if drained.released {
                session.ledger.release(*row);
            }
        }
        if drained.released {
            *flow = SlotRow::default();
        }
    }

    /// Looks up the rows of a new flow.
    fn open(
        &mut self,
        drained: &Drained<'_>,
        parent_of: &dyn Fn(u64) -> Option<u64>,
        sessions: &mut [Option<&mut Session>],
    ) {
        if self.flows.len() <= drained.flow {
            self.flows.resize_with(drained.flow + 1, SlotRow::default);
        }
        let (wanted, key) = (drained.slot.sessions.load(Relaxed), Key::of(drained.slot));
        let connections = drained.slot.connections.load(Relaxed);
        let role = Role::of(drained.state);
        let mut rows = Vec::new();
        for session in sessions.iter_mut().flatten().filter(|session| session.is_in(wanted)) {
            let Some(key) = key else { break };
            let cgroup = session.containers.of(key.cgroup, &session.spec, parent_of);
            let caller_cgroup = if key.caller_cgroup == key.cgroup { cgroup } else { key.caller_cgroup };
            let row = session.ledger.hold(Key { cgroup, caller_cgroup, ..key });
            session.ledger.open(row, opening(role, session.is_in(connections), session.resumed));
            rows.push((session.number, row));
        }
        if rows.is_empty() {
            self.unbooked.0 += drained.moved.rx_bytes;
            self.unbooked.1 += drained.moved.tx_bytes;
        }
        let connection = matches!(role, Role::Connection { .. });
        self.flows[drained.flow] = SlotRow { rows: Rows::from_vec(rows), connection };
    }
}

/// Returns the connection counts that a new flow adds to a session. `new` is set if the kernel has not counted the
/// connection for this session before. `resumed` is set if the session continues an earlier one, which has counted
/// older connections.
fn opening(role: Role, new: bool, resumed: bool) -> Opening {
    match role {
        Role::Part => Opening::default(),
        Role::Failed => Opening { failures: 1, ..Opening::default() },
        Role::Connection { older } => {
            let connections = u64::from(new && !(older && resumed));
            Opening { connections, older, open: true, ..Opening::default() }
        }
    }
}

impl Rows {
    fn from_vec(rows: Vec<(u8, RowId)>) -> Self {
        match *rows {
            [] => Self::None,
            [row] => Self::One(row),
            _ => Self::Many(rows.into_boxed_slice()),
        }
    }

    fn as_slice(&self) -> &[(u8, RowId)] {
        match self {
            Self::None => &[],
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }
}

#[cfg(test)]
mod tests;
