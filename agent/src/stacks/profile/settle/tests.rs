//! Tests of samples against the ledger's sums.

use proptest::{collection::vec, prelude::*};
use traffictrace_profile::By;

use super::*;
use crate::stacks::profile::testing::{missing, owner, place, stack, thread};

const QUARTER: u32 = 1 << 30;

fn sums(pid: u32, sent: (u64, u64)) -> Sums {
    Sums { owner: owner(pid), sent, received: (0, 0) }
}

/// Returns, for each row, the name of the innermost function or of the placeholder for a stack, its bytes and its
/// calls.
fn rows(graph: &Graph) -> Vec<(String, u64, u64)> {
    let name = |row: &Row| {
        let function = row.key.frames.last().map(|frame| frame.name.clone());
        function.or(row.key.known.frame().map(Cow::into_owned)).unwrap_or_default()
    };
    graph.rows().iter().map(|row| (name(row), row.bytes, row.calls)).collect()
}

fn row(name: &str, bytes: u64, calls: u64) -> (String, u64, u64) {
    (name.to_owned(), bytes, calls)
}

fn sampled(samples: &[(&str, u64, u32)]) -> Profile {
    let mut profile = Profile::default();
    for (name, bytes, chance) in samples {
        profile.add(&owner(1), &thread("main"), Way::Sent, &stack(&["main", name]), *bytes, *chance);
    }
    profile
}

#[test]
fn a_process_whose_every_call_was_sampled_is_left_as_it_is() {
    let profile = sampled(&[("a", 70, 0), ("b", 30, 0), ("a", 5, 0)]);
    let mut graph = profile.settle(&[sums(1, (105, 3))]);
    graph.name(&place);
    assert_eq!(rows(&graph), [row("a", 75, 2), row("b", 30, 1)]);
    assert_eq!((graph.coverage.own, graph.coverage.bytes(), graph.coverage.whole), (105, 105, 105));
    let key = &graph.rows()[0].key;
    assert_eq!(
        (&*key.process.place(), &*key.process.label(), &*key.thread),
        ("default/shop/web", "nginx (1)", "main")
    );
}

#[test]
fn calls_without_a_sample_are_spread_by_what_is_expected() {
    // `always` was sampled at each call, the other two functions at one call in four.
    let profile = sampled(&[("always", 1000, 0), ("a", 200, QUARTER), ("b", 100, QUARTER)]);
    let graph = profile.settle(&[sums(1, (2200, 9))]);
    assert_eq!(rows(&graph), [row("always", 1000, 1), row("a", 800, 4), row("b", 400, 4)]);
    assert_eq!((graph.coverage.own, graph.coverage.spread), (1300, 900));
}

#[test]
fn bytes_without_a_call_go_to_the_threads_that_move_them_so() {
    let mut profile = sampled(&[("write", 100, 0)]);
    profile.claim(&owner(1), &thread("main"), Way::Sent, &stack(&["main", "splice"]));
    let graph = profile.settle(&[sums(1, (1100, 1))]);
    assert_eq!(rows(&graph), [row("splice", 1000, 0), row("write", 100, 1)]);
    assert_eq!(graph.coverage.claimed, 1000);
    // Calls without a sample get the bytes that they are expected to have moved; only the rest goes to the claim.
    profile.add(&owner(1), &thread("main"), Way::Sent, &stack(&["main", "send"]), 10, QUARTER);
    let graph = profile.settle(&[sums(1, (1140, 5))]);
    assert_eq!(rows(&graph), [row("splice", 1000, 0), row("write", 100, 1), row("send", 40, 4)]);
}

#[test]
fn what_nothing_explains_says_why() {
    let (nothing, mut lost) = (Profile::default(), Profile::default());
    lost.lost(5);
    for (profile, counted, expected) in [
        (&nothing, (50, 5), row("[no stack: over the budget]", 50, 5)),
        (&nothing, (50, 0), row("[no stack: moved without a call]", 50, 0)),
        (&lost, (50, 5), row("[no stack: lost]", 50, 5)),
        (&sampled(&[("a", 0, 0)]), (50, 1), row("[no stack: moved without a call]", 50, 0)),
    ] {
        let graph = profile.settle(&[sums(1, counted)]);
        assert_eq!(rows(&graph)[0], expected);
        assert_eq!(graph.coverage.without_stack(), 50);
    }
    let mut profile = Profile::default();
    profile.add(&owner(1), &thread("main"), Way::Sent, &missing("process ended first"), 50, 0);
    let graph = profile.settle(&[sums(1, (50, 1))]);
    assert_eq!(rows(&graph), [row("[no stack: process ended first]", 50, 1)]);
}

#[test]
fn the_ledger_is_right_where_samples_have_more() {
    let graph = sampled(&[("a", 70, 0), ("b", 30, 0)]).settle(&[sums(1, (90, 1))]);
    assert_eq!(rows(&graph), [row("a", 60, 0), row("b", 30, 1)]);
    // The ledger does not know this process, so its sample is left out.
    assert_eq!(rows(&sampled(&[("a", 70, 0)]).settle(&[])), []);
}

#[test]
fn the_largest_numbers_are_no_overflow() {
    let profile = sampled(&[("a", u64::MAX, 1), ("b", u64::MAX, 1), ("c", 1, QUARTER)]);
    let all = (u64::MAX, u64::MAX);
    let graph = profile.settle(&[Sums { owner: owner(1), sent: all, received: all }, sums(2, all)]);
    assert_eq!(graph.total(Way::Sent, By::Bytes), MOST);
    assert_eq!(graph.total(Way::Received, By::Calls), MOST);
}

/// One call of [`Profile::claim`] if `claim` is true, and otherwise of [`Profile::add`].
#[derive(Debug, Clone)]
struct Event {
    pid: u32,
    sent: bool,
    function: usize,
    bytes: u64,
    chance: u32,
    claim: bool,
}

prop_compose! {
    fn event()(
        pid in 0_u32..4,
        sent: bool,
        function in 0_usize..5,
        bytes in prop_oneof![0_u64..100, any::<u64>().prop_map(|bytes| bytes >> 20)],
        chance in prop_oneof![Just(0_u32), any::<u32>(), Just(1)],
        claim in prop::bool::weighted(0.1),
    ) -> Event {
        Event { pid, sent, function, bytes, chance, claim }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rows_are_the_ledger_to_the_byte(
        events in vec(event(), 0..60),
        ledger in vec((0_u32..5, (0_u64..1 << 40, 0_u64..99), (0_u64..200, 0_u64..1 << 50)), 0..8),
        lost in 0_u64..50,
    ) {
        let mut profile = Profile::default();
        profile.lost(lost);
        for event in &events {
            let way = if event.sent { Way::Sent } else { Way::Received };
            let stack = match event.function {
                0 => missing("process ended first"),
                other => stack(&["main", ["a", "b", "c", "d"][other - 1]]),
            };
            let (owner, thread) = (owner(event.pid), thread("main"));
            match event.claim {
                true => profile.claim(&owner, &thread, way, &stack),
                false => profile.add(&owner, &thread, way, &stack, event.bytes, event.chance),
            }
        }
        let sums: Vec<Sums> = ledger
            .iter()
            .map(|(pid, sent, received)| Sums { owner: owner(*pid), sent: *sent, received: *received })
            .collect();
        let graph = profile.settle(&sums);
        for pid in 0..5 {
            for (way, side) in [(Way::Sent, 0), (Way::Received, 1)] {
                let expected = ledger.iter().filter(|row| row.0 == pid).map(|row| [row.1, row.2][side]);
                let expected = expected.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                let found = graph.rows().iter().filter(|row| row.key.way == way && row.key.process.pid == pid);
                let found = found.fold((0, 0), |sum, row| (sum.0 + row.bytes, sum.1 + row.calls));
                prop_assert_eq!(found, expected, "process {} {:?}", pid, way);
            }
        }
        let coverage = &graph.coverage;
        let all = graph.total(Way::Sent, By::Bytes) + graph.total(Way::Received, By::Bytes);
        prop_assert_eq!(coverage.bytes(), all);
        prop_assert_eq!(coverage.whole + coverage.cut + coverage.folded + coverage.without_stack(), all);
    }

    #[test]
    fn what_was_sampled_at_every_call_is_not_touched(calls in vec((0_usize..4, 0_u64..1 << 40), 0..60)) {
        let mut profile = Profile::default();
        let mut expected = [(0, 0); 4];
        for (function, bytes) in &calls {
            let name = ["a", "b", "c", "d"][*function];
            profile.add(&owner(1), &thread("main"), Way::Sent, &stack(&["main", name]), *bytes, 0);
            expected[*function].0 += bytes;
            expected[*function].1 += 1;
        }
        let all = expected.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let graph = profile.settle(&[sums(1, all)]);
        let mut found = rows(&graph);
        found.sort();
        let named = ["a", "b", "c", "d"].iter().zip(expected).filter(|(_, sum)| *sum != (0, 0));
        let expected: Vec<_> = named.map(|(name, (bytes, calls))| row(name, bytes, calls)).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(graph.coverage.own, all.0);
    }
}
