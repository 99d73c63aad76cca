use std::{cell::RefCell, sync::atomic::AtomicU64};

use traffictrace_ebpf::layout::{CONNECTION, OPEN, SESSIONS, UDP, WAYS};

use super::*;

/// A drain's report of a flow: number, remote port, bytes received, and whether it was opened, closed and released.
type Said = (usize, u16, u64, bool, bool, bool);

fn geometry() -> Geometry {
    Geometry { main_sets: 4, stash_sets: 2 }
}

/// Makes a table in ordinary memory, shared with no kernel program.
fn table() -> Table {
    let geometry = geometry();
    // SAFETY: all fields are integers.
    #[expect(unsafe_code, reason = "see SAFETY")]
    let (tags, slots) = unsafe { (Mapped::fake(geometry.sets()), Mapped::fake(geometry.slots())) };
    Table::new(tags, slots, geometry)
}

/// Takes a slot as the kernel does.
fn take(table: &Table, number: usize, word: u32, sessions: u64) {
    table.tags[number / WAYS][number % WAYS].store(0x8000_0000 | number as u32, Relaxed);
    let slot = &table.slots[number];
    slot.cookie.store(1000 + number as u64, Relaxed);
    slot.remote_port.store(number as u16, Relaxed);
    slot.sessions.store(sessions, Relaxed);
    slot.connections.store(sessions, Relaxed);
    slot.state.store(word, Release);
}

fn receive(table: &Table, number: usize, bytes: u64) {
    table.slots[number].rx_bytes.fetch_add(bytes, Relaxed);
    table.slots[number].rx_calls.fetch_add(1, Relaxed);
}

fn said(drained: &Drained<'_>) -> Said {
    let Drained { flow, slot, moved, opened, closed, released, .. } = *drained;
    (flow, slot.remote_port.load(Relaxed), moved.rx_bytes, opened, closed, released)
}

fn scan_at(table: &mut Table, now: Instant, ended: &[u64]) -> Vec<Said> {
    let all = RefCell::new(Vec::new());
    let ended = ended.iter().copied().collect();
    table.scan(now, &ended, &mut |drained| all.borrow_mut().push(said(drained)), |_, _| {});
    all.into_inner()
}

fn scan(table: &mut Table) -> Vec<Said> {
    scan_at(table, Instant::now(), &[])
}

/// Frees the slots that are already closed, as if [`GRACE`] had passed.
fn free(table: &mut Table) -> Vec<Said> {
    let mut all = Vec::new();
    let due = table.due(Instant::now() + GRACE);
    table.free(due, &mut |drained| all.push(said(drained)));
    all
}

const TCP_OPEN: u32 = OPEN | TCP << 8 | CONNECTION;
const UDP_OPEN: u32 = OPEN | UDP << 8;

#[test]
fn a_flow_is_new_once_moves_and_is_released() {
    let mut table = table();
    take(&table, 9, TCP_OPEN, 1);
    receive(&table, 9, 100);
    assert_eq!(scan(&mut table), [(0, 9, 100, true, false, false)]);
    assert_eq!(scan(&mut table), []);
    receive(&table, 9, 7);
    close(&table.slots[9]);
    assert_eq!(scan(&mut table), [(0, 9, 7, false, true, false)]);
    assert_eq!((scan(&mut table), table.used()), (vec![], 1));
    assert_eq!(table.due(Instant::now()), 0, "not before the grace time");
    // A program that began to count an event before the slot was closed adds the bytes only now.
    receive(&table, 9, 3);
    assert_eq!(free(&mut table), [(0, 9, 3, false, false, true)]);
    assert_eq!((scan(&mut table), table.used()), (vec![], 0));
}

#[test]
fn a_freed_slot_is_empty_and_has_another_epoch() {
    let mut table = table();
    for round in 1..4 {
        take(&table, 3, TCP_OPEN, 1);
        receive(&table, 3, 50);
        assert_eq!(scan(&mut table), [(0, 3, 50, true, false, false)], "round {round}: counted from zero");
        close(&table.slots[3]);
        scan(&mut table);
        free(&mut table);
        let slot = &table.slots[3];
        assert_eq!(
            (slot.state().phase(), slot.sessions.load(Relaxed), slot.cookie.load(Relaxed)),
            (FREE, 0, 0)
        );
        assert_eq!((slot.epoch.load(Relaxed), table.tags[0][3].load(Relaxed)), (round, 0));
    }
}

#[test]
fn numbers_of_flows_stay_small() {
    let mut table = table();
    for number in [40, 5, 17] {
        take(&table, number, UDP_OPEN, 1);
    }
    let flows: Vec<_> = scan(&mut table).iter().map(|said| (said.0, said.1)).collect();
    assert_eq!(flows, [(0, 5), (1, 17), (2, 40)]);
    close(&table.slots[17]);
    scan(&mut table);
    free(&mut table);
    take(&table, 30, UDP_OPEN, 1);
    assert_eq!(scan(&mut table), [(1, 30, 0, true, false, false)]);
}

#[test]
fn nothing_is_said_of_a_slot_that_is_filled_or_pending_or_never_counted_for_a_session() {
    let mut table = table();
    take(&table, 1, FREE, 1);
    take(&table, 2, PENDING | TCP << 8 | CONNECTION, 1);
    take(&table, 3, TCP_OPEN, 0);
    close(&table.slots[3]);
    assert_eq!(scan(&mut table), []);
    assert_eq!((free(&mut table), table.tags[0][3].load(Relaxed)), (vec![], 0), "freed in silence");
    close(&table.slots[2]);
    assert_eq!(scan(&mut table), [(0, 2, 0, true, true, false)], "a connection that failed is one");
    assert_eq!(table.used(), 2);
}

#[test]
fn sockets_that_ended_have_their_flows_closed() {
    let mut table = table();
    for number in [0, 31, 47] {
        take(&table, number, UDP_OPEN, 1);
    }
    table.slots[31].cookie.store(1000, Relaxed);
    let closed: Vec<_> = scan_at(&mut table, Instant::now(), &[1000, 5]).iter().map(|said| said.4).collect();
    assert_eq!(closed, [true, true, false]);
}

#[test]
fn idle_datagrams_are_closed_and_idle_connections_are_not() {
    let mut table = table();
    take(&table, 1, UDP_OPEN, 1);
    take(&table, 2, TCP_OPEN, 1);
    take(&table, 3, UDP_OPEN, 1);
    scan(&mut table);
    let later = Instant::now() + Duration::from_secs(u64::from(IDLE) + 1);
    receive(&table, 3, 5);
    scan_at(&mut table, later, &[]);
    table.close_idle(later);
    assert_eq!(scan_at(&mut table, later, &[]), [(0, 1, 0, false, true, false)]);
}

#[test]
fn a_session_that_ends_is_taken_out_of_every_slot() {
    let mut table = table();
    take(&table, 1, TCP_OPEN, 0b11);
    take(&table, 2, TCP_OPEN, 0b10);
    take(&table, 3, PENDING | TCP << 8 | CONNECTION, 0b10);
    scan(&mut table);
    table.end_sessions(0b10);
    let states = [1, 2, 3].map(|number| {
        let slot: &Slot = &table.slots[number];
        let words = [&slot.sessions, &slot.connections].map(|word: &AtomicU64| word.load(Relaxed));
        (slot.state().phase(), words)
    });
    assert_eq!(states, [(OPEN, [1, 1]), (CLOSED, [0, 0]), (CLOSED, [0, 0])]);
    assert_eq!(scan(&mut table), [(1, 2, 0, false, true, false)]);
    for session in 0..SESSIONS {
        table.end_sessions(1 << session);
    }
    assert_eq!(table.slots[1].state().phase(), CLOSED);
}

#[test]
fn only_slots_of_the_stash_have_keys_to_remove() {
    let mut table = table();
    let first = geometry().main_slots();
    for number in [2, first, first + 3] {
        take(&table, number, UDP_OPEN, 1);
        close(&table.slots[number]);
    }
    scan(&mut table);
    let keys = table.spill_keys(table.due(Instant::now() + GRACE));
    let cookies: Vec<_> =
        keys.iter().map(|(key, _)| u64::from_ne_bytes(key[..8].try_into().unwrap())).collect();
    assert_eq!(cookies, [1000 + first as u64, 1003 + first as u64]);
}

#[test]
fn a_table_that_fills_up_is_drained_early_and_one_that_is_full_is_not_drained_all_the_time() {
    let mut table = table();
    let slots = table.len();
    for number in 0..slots / 2 {
        take(&table, number, TCP_OPEN, 1);
    }
    assert!(!table.is_filling());
    take(&table, slots / 2, TCP_OPEN, 1);
    assert!(table.is_filling());
    scan(&mut table);
    assert!(!table.is_filling(), "what is there is known");
    close(&table.slots[0]);
    scan_at(&mut table, Instant::now() - GRACE, &[]);
    assert!(table.is_filling(), "a slot can be freed");
}

#[test]
fn a_look_tells_whether_calls_were_counted() {
    let mut table = table();
    take(&table, 1, TCP_OPEN, 1);
    take(&table, 2, PENDING | TCP << 8, 1);
    receive(&table, 1, 1);
    let looks = |table: &mut Table, now| {
        let mut looks = Vec::new();
        table
            .scan(now, &HashSet::new(), &mut |_| {}, |slot, look| looks.push((slot, look.called, look.idle)));
        looks
    };
    let now = Instant::now();
    assert_eq!(looks(&mut table, now), [(1, true, 0), (2, true, 0)]);
    assert_eq!(looks(&mut table, now + Duration::from_secs(70)), [(1, false, 70), (2, true, 0)]);
    close(&table.slots[1]);
    assert_eq!(looks(&mut table, now).len(), 1);
}
