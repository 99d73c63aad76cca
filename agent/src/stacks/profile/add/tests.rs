//! Tests that samples add up, however many there are.

use super::*;
use crate::stacks::profile::testing::{owner, stack};

const THREAD: [u8; 16] = *b"main\0\0\0\0\0\0\0\0\0\0\0\0";

fn bytes(profile: &Profile) -> u64 {
    profile.rows.values().map(|tally| tally.bytes).sum()
}

#[test]
fn equal_stacks_are_one_row() {
    let mut profile = Profile::default();
    for _ in 0..3 {
        profile.add(&owner(1), &THREAD, Way::Sent, &stack(&["main", "write"]), 10, 0);
    }
    profile.add(&owner(1), &THREAD, Way::Received, &stack(&["main", "write"]), 10, 0);
    assert_eq!((profile.rows.len(), profile.stacks.len(), profile.frames.len()), (2, 1, 2));
    assert_eq!((bytes(&profile), profile.taken()), (40, 4));
}

#[test]
fn many_stacks_fold_the_smallest_and_lose_no_byte() {
    let mut profile = Profile::default();
    // One sample in six is large.
    let size = |number: u64| if number.is_multiple_of(6) { 1_000_000 } else { 1 };
    for number in 0..60_000 {
        let stack = stack(&["main", &format!("f{number}")]);
        profile.add(&owner(1), &THREAD, Way::Sent, &stack, size(number), 0);
        assert!(profile.rows.len() <= MAX_ROWS);
    }
    assert_eq!(bytes(&profile), (0..60_000).map(size).sum::<u64>());
    assert_eq!(profile.rows.values().filter(|tally| tally.bytes == 1_000_000).count(), 10_000);
    let folded = profile.rows.iter().find(|(key, _)| key.stack.is_none()).map(|(_, tally)| tally.bytes);
    assert!(folded.is_some_and(|bytes| bytes > 40_000 && bytes < 50_000), "{folded:?}");
    assert!(profile.stacks.len() <= MAX_ROWS);
}

#[test]
fn long_names_fold_too() {
    let mut profile = Profile::default();
    for number in 0..600 {
        let name = format!("{number}{}", "x".repeat(100_000));
        profile.add(&owner(1), &THREAD, Way::Sent, &stack(&["main", &name]), 5, 0);
        assert!(!profile.is_too_large(), "{}", profile.stack_memory);
    }
    assert_eq!(bytes(&profile), 3000);
}

#[test]
fn many_processes_are_bounded() {
    let mut profile = Profile::default();
    for pid in 0..100_000 {
        profile.add(&owner(pid), &THREAD, Way::Sent, &stack(&["main", "write"]), 5, 0);
    }
    assert!(profile.rows.len() <= MAX_ROWS);
}

#[test]
fn weights_are_what_is_expected_of_calls_without_sample() {
    let mut profile = Profile::default();
    // The stack of one call in four is taken.
    profile.add(&owner(1), &THREAD, Way::Sent, &stack(&["main"]), 100, 1 << 30);
    let tally = profile.rows.values().next().unwrap();
    assert_eq!((tally.hidden_bytes >> FRACTION, tally.hidden_calls >> FRACTION), (300, 3));
    // The smallest probability with the most bytes does not overflow.
    profile.add(&owner(1), &THREAD, Way::Sent, &stack(&["main"]), u64::MAX, 1);
    profile.add(&owner(1), &THREAD, Way::Sent, &stack(&["main"]), u64::MAX, 1);
}

#[test]
fn profiles_that_share_their_memory_fold_until_it_is_enough() {
    let mut profile = Profile::default();
    for number in 0..10_000 {
        let names = [&format!("f{number}"), "handle", "write"];
        profile.add(&owner(number % 100), &THREAD, Way::Sent, &stack(&names), number.into(), 0);
    }
    let sum = bytes(&profile);
    let before = profile.rows.len();
    assert_eq!(before, 10_000, "alone, all have room");
    for sessions in [2, 8, 64] {
        profile.share_with(sessions);
        assert!(!profile.is_too_large(), "{sessions}");
        assert_eq!(bytes(&profile), sum, "{sessions}");
    }
    let largest = profile.rows.iter().any(|(key, tally)| key.stack.is_some() && tally.bytes == 9_999);
    assert!(largest && profile.rows.len() > 200, "{}", profile.rows.len());
    // The number of rows is bounded too, even if all of them have the same stack.
    let mut profile = Profile::default();
    profile.share_with(64);
    for pid in 0..20_000 {
        profile.add(&owner(pid), &THREAD, Way::Sent, &stack(&["main", "write"]), 5, 0);
        assert!(!profile.is_too_large());
    }
    // The profile goes on counting when its share of the memory grows.
    profile.share_with(1);
    profile.add(&owner(1), &THREAD, Way::Sent, &stack(&["main", "send"]), 5, 0);
    assert_eq!(profile.taken(), 20_001);
}
