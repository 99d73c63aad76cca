use super::*;
use crate::layout::{TCP, UDP};

/// Makes a slot with values in the fields that these tests need.
fn full(state: u32) -> Slot {
    let slot = Slot::default();
    for word in [&slot.cookie, &slot.sessions, &slot.connections, &slot.cgroup, &slot.rx_bytes] {
        word.store(0x0101_0101_0101_0101, Relaxed);
    }
    slot.owner.store(5 << PID_BITS | 77, Relaxed);
    slot.remote_addr.store([9; 16]);
    slot.remote_port.store(53, Relaxed);
    slot.epoch.store(u32::MAX, Relaxed);
    slot.state.store(state, Relaxed);
    slot
}

#[test]
fn a_cleared_slot_is_another_flow() {
    let slot = full(CLOSED | TCP << 8);
    slot.clear();
    let empty = Slot::default();
    assert_eq!(format!("{slot:?}"), format!("{empty:?}"), "the epoch began again at 0");
    slot.clear();
    empty.epoch.store(1, Relaxed);
    assert_eq!(format!("{slot:?}"), format!("{empty:?}"));
}

#[test]
fn the_main_slot_of_a_connection_is_found_by_its_cookie_alone() {
    for flag in [CONNECTION, FAILED] {
        let main = full(CLOSED | TCP << 8 | flag).spill_key();
        assert_eq!((&main[..8], &main[8..]), (&[1; 8][..], &[0; 24][..]));
    }
    let other = full(CLOSED | TCP << 8).spill_key();
    assert_eq!((&other[8..24], &other[24..28]), (&[0; 16][..], &(5u32 << PID_BITS | 77).to_ne_bytes()[..]));
    assert_eq!(other[28..], [0; 4]);
}

#[test]
fn a_flow_of_datagrams_is_found_by_owner_and_peer() {
    let slot = full(CLOSED | UDP << 8);
    let key = slot.spill_key();
    assert_eq!(key[8..24], [9; 16]);
    assert_eq!(key[24..28], slot.owner.load(Relaxed).to_ne_bytes());
    assert_eq!((&key[28..30], &key[30..]), (&53u16.to_ne_bytes()[..], &1u16.to_ne_bytes()[..]));
    assert_eq!(slot.pid(), 77);
}

#[test]
fn a_state_word_has_its_parts() {
    let state = State(PENDING | TCP << 8 | 2 << 16 | CONNECTION | OLDER);
    assert_eq!((state.phase(), state.protocol(), state.direction()), (PENDING, TCP, 2));
    assert!(state.is_live() && state.has(CONNECTION) && state.has(OLDER) && !state.has(FAILED));
    assert_eq!(state.closed(), State(CLOSED | TCP << 8 | 2 << 16 | CONNECTION | OLDER));
    assert!(!state.closed().is_live());
}
