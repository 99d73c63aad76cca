//! Tests of [`Stream`], with a parser that records its calls.

use super::*;
use crate::{Exchange, Reason, Side};

/// A parser that records a line for each call, and does not need the next `skippable` bytes.
#[derive(Debug, Default)]
struct Notes {
    skippable: u64,
    lines: Vec<String>,
}

impl Parser for Notes {
    fn skippable(&self, _way: Way) -> u64 {
        self.skippable
    }

    fn bytes(&mut self, _way: Way, time: u64, bytes: &[u8], starts: bool, _sink: &mut dyn Sink) {
        if self.skippable < u64::MAX {
            self.skippable = self.skippable.saturating_sub(bytes.len() as u64);
        }
        let starts = if starts { " starts" } else { "" };
        self.lines.push(format!("{time}: {}{starts}", bytes.escape_ascii()));
    }

    fn skipped(&mut self, _way: Way, time: u64, length: u64, _sink: &mut dyn Sink) {
        assert!(length > 0 && length <= self.skippable);
        if self.skippable < u64::MAX {
            self.skippable -= length;
        }
        self.lines.push(format!("{time}: skipped {length}"));
    }

    fn hole(&mut self, _way: Way, length: u64, lost: bool, _sink: &mut dyn Sink) {
        self.lines.push(format!("hole {length} {lost}"));
    }

    fn end(&mut self, _way: Way, time: u64, _sink: &mut dyn Sink) {
        self.lines.push(format!("{time}: end"));
    }

    fn close(&mut self, _time: u64, _lost: bool, _sink: &mut dyn Sink) {}

    fn under_way(&self) -> usize {
        0
    }

    fn pauses(&self) -> bool {
        false
    }

    fn memory(&self) -> usize {
        0
    }
}

impl Sink for () {
    fn exchange(&mut self, _exchange: Exchange) {}
    fn unobserved(&mut self, _side: Side, _reason: Reason, _count: u64) {}
}

const FIRST: u32 = u32::MAX - 1;

#[derive(Debug)]
struct Fixture {
    stream: Stream,
    notes: Notes,
    time: u64,
}

impl Fixture {
    fn new(skippable: u64) -> Self {
        let notes = Notes { skippable, ..Notes::default() };
        Self { stream: Stream::new(Way::Sent, Some(FIRST)), notes, time: 0 }
    }

    fn piece(&mut self, at: u32, text: &str) -> &mut Self {
        self.any(at, text, text.len(), false, false)
    }

    fn any(&mut self, at: u32, text: &str, length: usize, starts: bool, lost_before: bool) -> &mut Self {
        self.time += 1;
        let piece = Piece {
            way: Way::Sent,
            time: self.time,
            sequence: FIRST.wrapping_add(at),
            length: u32::try_from(length).expect("short"),
            bytes: text.as_bytes(),
            starts,
            lost_before,
        };
        self.stream.piece(&piece, &mut self.notes, &mut ());
        self
    }

    fn fin(&mut self, at: u32) -> &mut Self {
        self.time += 1;
        self.stream.fin(FIRST.wrapping_add(at), self.time, &mut self.notes, &mut ());
        self
    }

    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes.lines)
    }
}

#[test]
fn order_is_restored_and_repetitions_are_dropped() {
    let mut fixture = Fixture::new(0);
    fixture.piece(3, "defg").piece(5, "fg").piece(3, "de").any(0, "abc", 3, true, false);
    assert_eq!(fixture.lines(), ["4: abc starts", "4: defg"]);
    assert_eq!(fixture.stream.memory(), 0);
    fixture.piece(0, "abcdefgh").piece(2, "cd").any(8, "i", 1, true, false);
    assert_eq!(fixture.lines(), ["5: h", "7: i starts"]);
}

#[test]
fn gaps_are_skipped_as_far_as_the_parser_can() {
    let mut fixture = Fixture::new(10);
    fixture.piece(4, "efgh");
    assert_eq!(fixture.lines(), ["1: skipped 4", "1: efgh"]);
    fixture.piece(12, "later");
    assert_eq!(fixture.lines(), ["2: skipped 2"], "the gap goes on beyond the body");
    fixture.piece(9, "jkl");
    assert_eq!(fixture.lines(), ["3: kl", "3: later"]);
}

#[test]
fn the_rest_of_a_cut_piece_is_skipped_or_awaited() {
    let mut fixture = Fixture::new(5);
    fixture.any(0, "ab", 9, true, false);
    assert_eq!(fixture.lines(), ["1: ab starts", "1: skipped 3"]);
    fixture.piece(5, "fghi").any(9, "", 0, false, false);
    assert_eq!(fixture.lines(), ["2: fghi"]);
    let mut fixture = Fixture::new(u64::MAX);
    fixture.any(0, "ab", 9, true, false).any(4, "ef", 2, true, false).fin(9);
    assert_eq!(fixture.lines(), ["1: ab starts", "2: skipped 2", "2: ef starts", "3: skipped 3", "3: end"]);
}

#[test]
fn losses_are_holes_at_once() {
    let mut fixture = Fixture::new(2);
    fixture.piece(5, "f").any(10, "k", 1, true, true);
    assert_eq!(fixture.lines(), ["1: skipped 2", "hole 3 true", "1: f", "hole 4 true", "2: k starts"]);
    fixture.any(11, "l", 1, false, true);
    assert_eq!(fixture.lines(), ["3: l"], "nothing is missing");
}

#[test]
fn bytes_that_do_not_come_are_given_up() {
    let mut fixture = Fixture::new(0);
    for index in 0..MAX_HELD_PIECES {
        fixture.piece(1 + 2 * u32::try_from(index).expect("small"), "x");
    }
    assert_eq!(fixture.lines(), [""; 0]);
    fixture.piece(1_000, "y");
    assert_eq!(fixture.lines(), ["hole 1 false", "1: x"]);
    let mut fixture = Fixture::new(0);
    let large = "z".repeat(MAX_HELD_BYTES + 1);
    fixture.piece(1, &large);
    assert_eq!(fixture.lines()[0], "hole 1 false");
}

#[test]
fn a_fin_comes_after_everything_before_it() {
    let mut fixture = Fixture::new(0);
    fixture.fin(6).piece(3, "def");
    assert_eq!(fixture.lines(), [""; 0]);
    fixture.piece(0, "abc");
    assert_eq!(fixture.lines(), ["3: abc", "3: def", "3: end"]);
    fixture.piece(6, "g");
    assert_eq!(fixture.lines(), [""; 0]);
    let mut fixture = Fixture::new(0);
    fixture.piece(0, "abc").fin(9);
    fixture.stream.close(&mut fixture.notes, &mut ());
    assert_eq!(fixture.lines(), ["1: abc", "hole 6 false", "2: end"]);
}

#[test]
fn the_first_piece_sets_an_unknown_origin() {
    let mut fixture = Fixture::new(0);
    fixture.stream = Stream::new(Way::Sent, None);
    fixture.any(500, "ab", 2, true, true).piece(400, "old").piece(502, "c");
    assert_eq!(fixture.lines(), ["hole 0 true", "1: ab starts", "3: c"]);
}

#[test]
fn bodies_may_be_longer_than_sequence_numbers_reach() {
    for length in [1_u64 << 31, 3 << 30, 1 << 32, (1 << 32) + 5, 10_000_000_000] {
        let mut fixture = Fixture::new(length + 2);
        fixture.piece(0, "ab");
        let end = u32::try_from((length + 2) & 0xffff_ffff).expect("masked");
        fixture.any(end, "cd", 2, true, false);
        assert_eq!(
            fixture.lines(),
            ["1: ab".to_owned(), format!("2: skipped {length}"), "2: cd starts".into()]
        );
    }
    // A duplicate of a body's first bytes is not taken for bytes near the end of the body, although the sequence
    // numbers there are nearly the same.
    let mut fixture = Fixture::new((1 << 32) + 2);
    fixture.piece(0, "ab").piece(0, "ab").piece(2, "c");
    assert_eq!(fixture.lines(), ["1: ab", "3: c"]);
}

#[test]
fn a_piece_far_behind_is_far_ahead() {
    let mut fixture = Fixture::new(u64::MAX);
    fixture.any(3_000_000_000, "x", 1, true, false);
    assert_eq!(fixture.lines(), ["1: skipped 3000000000", "1: x starts"]);
}
