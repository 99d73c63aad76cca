//! Which rows a slot of the flow table adds to.

use super::Session;
use crate::{
    flows::{Key, Opening, RowId},
    kernel::{Delta, Drained, Role, Tracer},
};

/// The rows of one slot: nearly always one, of one session.
#[derive(Debug, Default)]
enum Rows {
    #[default]
    None,
    One((u8, RowId)),
    Many(Box<[(u8, RowId)]>),
}

#[derive(Debug, Default)]
struct SlotRow {
    rows: Rows,
    /// Whether it stands for an open connection.
    connection: bool,
    /// The selection for which `rows` was found.
    selection: u32,
}

/// A flow that was seen for the first time, or for the first time since the selection changed.
#[derive(Debug)]
pub(super) struct Opened {
    index: usize,
    key: Key,
    sessions: u64,
    connections: u64,
    role: Role,
    delta: Delta,
    rtt_us: u32,
    closed: bool,
    released: bool,
}

/// The rows of every slot.
#[derive(Debug, Default)]
pub(super) struct SlotRows {
    slots: Vec<SlotRow>,
    selection: u32,
    /// See [`Self::unbooked`].
    unbooked: (u64, u64),
}

impl SlotRows {
    /// A slot can count for another session from now on, which took the number of one that ended.
    pub(super) fn selection_changed(&mut self) {
        self.selection = self.selection.wrapping_add(1);
    }

    /// Bytes received and sent of slots that are no session's, or of a protocol that nobody knows. The kernel's programs
    /// leave none.
    pub(super) fn unbooked(&self) -> (u64, u64) {
        self.unbooked
    }

    /// Nothing is booked to this number any more.
    pub(super) fn forget_session(&mut self, number: u8) {
        for slot in &mut self.slots {
            let left = slot.rows.as_slice().iter().copied().filter(|(of, _)| *of != number).collect();
            slot.rows = Rows::from_vec(left);
        }
    }

    /// Books what a slot moved; puts it into `opened` instead where its rows must be found first.
    pub(super) fn book(
        &mut self,
        drained: &Drained<'_>,
        sessions: &mut [Option<&mut Session>],
        opened: &mut Vec<Opened>,
    ) {
        use std::sync::atomic::Ordering::Relaxed;
        if self.slots.len() <= drained.index {
            self.slots.resize_with(drained.index + 1, SlotRow::default);
        }
        let slot = &mut self.slots[drained.index];
        if drained.opened {
            slot.rows = Rows::None;
            slot.selection = self.selection.wrapping_sub(1);
        }
        let rtt_us = drained.slot.srtt_us.load(Relaxed);
        if slot.selection != self.selection {
            let sessions = drained.slot.sessions;
            let Some(key) = Key::of(drained).filter(|_| sessions != 0) else {
                self.unbooked.0 += drained.delta.rx_bytes;
                self.unbooked.1 += drained.delta.tx_bytes;
                return;
            };
            opened.push(Opened {
                index: drained.index,
                key,
                sessions,
                connections: drained.slot.connections.load(Relaxed),
                role: drained.role,
                delta: drained.delta,
                rtt_us,
                closed: drained.closed,
                released: drained.released,
            });
            return;
        }
        for (number, row) in slot.rows.as_slice() {
            if let Some(session) = &mut sessions[usize::from(*number)] {
                session.ledger.add(*row, &drained.delta, rtt_us);
            }
        }
        slot.end(drained.closed, drained.released, sessions);
    }

    /// Finds the rows of new flows and books what they moved.
    pub(super) fn book_opened(
        &mut self,
        opened: Vec<Opened>,
        sessions: &mut [Option<&mut Session>],
        tracer: &mut Tracer,
    ) {
        for flow in opened {
            let slot = &mut self.slots[flow.index];
            let known = std::mem::take(&mut slot.rows);
            let mut rows = Vec::new();
            for session in
                sessions.iter_mut().flatten().filter(|session| flow.sessions >> session.number & 1 == 1)
            {
                let number = session.number;
                let row = match known.as_slice().iter().find(|(of, _)| *of == number) {
                    Some((_, row)) => *row,
                    None => {
                        let cgroup = session.containers.of(flow.key.cgroup, &session.spec, tracer);
                        let same = flow.key.caller_cgroup == flow.key.cgroup;
                        let caller_cgroup = if same { cgroup } else { flow.key.caller_cgroup };
                        let row = session.ledger.hold(Key { cgroup, caller_cgroup, ..flow.key });
                        let new = flow.connections >> number & 1 == 1;
                        session.ledger.open(row, opening(flow.role, new, session.resumed));
                        row
                    }
                };
                session.ledger.add(row, &flow.delta, flow.rtt_us);
                rows.push((number, row));
            }
            slot.rows = Rows::from_vec(rows);
            slot.connection = matches!(flow.role, Role::Connection { .. });
            slot.selection = self.selection;
            slot.end(flow.closed, flow.released, sessions);
        }
    }
}

/// What a new flow says of connections to a session. `new`: the kernel has not counted it for this session yet.
/// `resumed`: the session goes on from another one, which has counted what is older.
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

impl SlotRow {
    fn end(&mut self, closed: bool, released: bool, sessions: &mut [Option<&mut Session>]) {
        for (number, row) in self.rows.as_slice() {
            let Some(session) = &mut sessions[usize::from(*number)] else { continue };
            if closed {
                session.ledger.close(*row, self.connection);
            }
            if released {
                session.ledger.release(*row);
            }
        }
        if released {
            self.rows = Rows::None;
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
mod tests {
    use traffictrace_ebpf::layout::{self, Slot};

    use super::*;

    #[test]
    fn bytes_of_nobody_are_told() {
        let slot = Slot { sessions: 1, ..Slot::default() };
        let nobodys = Slot::default();
        let mut rows = SlotRows::default();
        let mut opened = Vec::new();
        let mut book = |slot, protocol, opened_now, opened: &mut Vec<_>| {
            let drained = Drained {
                index: 0,
                slot,
                protocol,
                direction: 0,
                role: Role::Part,
                delta: Delta { rx_bytes: 5, tx_bytes: 7, ..Delta::default() },
                opened: opened_now,
                closed: false,
                released: false,
            };
            rows.book(&drained, &mut [], opened);
            rows.unbooked()
        };
        assert_eq!(book(&slot, layout::TCP, true, &mut opened), (0, 0));
        assert_eq!(opened.len(), 1);
        assert_eq!(book(&nobodys, layout::TCP, true, &mut opened), (5, 7), "no session");
        assert_eq!(book(&nobodys, layout::TCP, false, &mut opened), (10, 14), "and again");
        assert_eq!(book(&slot, 99, true, &mut opened), (15, 21), "no protocol");
        assert_eq!(opened.len(), 1);
    }
}
