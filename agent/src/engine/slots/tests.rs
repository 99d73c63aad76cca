use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use traffictrace_ebpf::layout::{self, CONNECTION, OPEN, Slot};

use super::*;
use crate::{
    engine::{Losses, SessionSpec, containers::Containers},
    flows::{Counters, GroupBy, Ledger},
};

fn session(number: u8) -> Session {
    Session {
        number,
        spec: SessionSpec { max_rows: 10, ..SessionSpec::default() },
        protocols: 0,
        ledger: Ledger::new(GroupBy::Connection, 10),
        containers: Containers::default(),
        resumed: false,
        http: None,
        stacks: None,
        older_sockets_found: false,
        losses_before: Losses::default(),
        overflow_before: HashMap::new(),
        crowded_out: BTreeSet::new(),
        shown: Instant::now(),
    }
}

fn slot(protocol: u32, sessions: u64) -> Slot {
    let slot = Slot::default();
    slot.state.store(OPEN | protocol << 8 | CONNECTION, Relaxed);
    slot.sessions.store(sessions, Relaxed);
    slot.connections.store(sessions, Relaxed);
    slot
}

/// Returns a drain's report of a flow that received 5 bytes and sent 7.
fn moved(slot: &Slot, opened: bool) -> Drained<'_> {
    let moved = Counters { rx_bytes: 5, tx_bytes: 7, ..Counters::default() };
    Drained { flow: 0, slot, state: slot.state(), moved, opened, closed: false, released: false }
}

fn book(rows: &mut SlotRows, drained: &Drained<'_>, session: Option<&mut Session>) {
    let mut sessions: [Option<&mut Session>; 2] = [None, None];
    if let Some(session) = session {
        let number = usize::from(session.number);
        sessions[number] = Some(session);
    }
    rows.book(drained, &|_| None, &mut sessions);
}

#[test]
fn bytes_of_nobody_are_told() {
    let mut rows = SlotRows::default();
    let mut own = session(1);
    book(&mut rows, &moved(&slot(layout::TCP, 0b10), true), Some(&mut own));
    assert_eq!((rows.unbooked(), own.ledger.totals().rx_bytes), ((0, 0), 5));
    book(&mut rows, &moved(&slot(layout::TCP, 0b01), true), Some(&mut own));
    assert_eq!(rows.unbooked(), (5, 7), "of a session that is not there");
    book(&mut rows, &moved(&slot(99, 0b10), true), Some(&mut own));
    assert_eq!(rows.unbooked(), (10, 14), "of an unknown protocol");
    assert_eq!(own.ledger.totals().bytes(), 12);
}

#[test]
fn a_flow_of_an_ended_session_is_not_the_next_ones_with_the_same_number() {
    let mut rows = SlotRows::default();
    let slot = slot(layout::TCP, 0b01);
    let (mut first, mut second) = (session(0), session(0));
    book(&mut rows, &moved(&slot, true), Some(&mut first));
    assert_eq!(first.ledger.connections_open(), 1);
    rows.forget_session(0);
    // The slot is then closed and released. Its remaining bytes must not count for the new session with the number.
    book(&mut rows, &Drained { closed: true, ..moved(&slot, false) }, Some(&mut second));
    book(&mut rows, &Drained { released: true, ..moved(&slot, false) }, Some(&mut second));
    assert_eq!((second.ledger.totals(), second.ledger.len()), (Default::default(), 0));
}
