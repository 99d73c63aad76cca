//! Random conversations: their exchanges are the same however the bytes are divided into pieces, and never wrong,
//! whatever is lost.

use std::collections::HashMap;

use proptest::prelude::*;

use super::kernel::{Conversation, Dice, OwnedPiece, planned};
use super::*;

/// First sequence numbers of received and of sent bytes; those of received bytes wrap around after 1,000 bytes.
const FIRST: [u32; 2] = [u32::MAX - 1_000, 1 << 31];

/// Passes the pieces and both FINs to a connection, and closes it. `lost` is true if the last pieces of a direction
/// were lost.
fn run(conversation: &Conversation, pieces: &[OwnedPiece], lost: bool) -> Record {
    let mut record = Record::default();
    let mut connection = Connection::begin(Beginning { start: Start::Whole, first: FIRST.map(Some) });
    let sequence = |way: Way, at: usize| {
        FIRST[way.index()].wrapping_add(u32::try_from(at).expect("a conversation is short"))
    };
    let mut last = 0;
    for OwnedPiece { way, time, begin, length, bytes, starts, lost_before } in pieces {
        let piece = Piece {
            way: *way,
            time: *time,
            sequence: sequence(*way, *begin),
            length: u32::try_from(*length).expect("a piece is short"),
            bytes,
            starts: *starts,
            lost_before: *lost_before,
        };
        connection.piece(&piece, &mut record);
        last = *time;
    }
    for way in Way::BOTH {
        connection.fin(way, sequence(way, conversation.length(way)), last + 1, &mut record);
    }
    connection.close(last + 2, lost, &mut record);
    record
}

/// The pieces that reach user space after a full ring buffer has refused others.
#[derive(Debug)]
struct Remains {
    pieces: Vec<OwnedPiece>,
    /// True if the last pieces of a direction were lost.
    open: bool,
    /// Number of pieces that were lost.
    losses: usize,
}

/// Drops pieces after the first `spared` bytes of each direction. On average, one in `rarity` pieces begins a loss of
/// up to `run_length` pieces in a row.
fn lose(
    all: Vec<OwnedPiece>,
    spared: [usize; 2],
    rarity: usize,
    run_length: usize,
    dice: &mut Dice,
) -> Remains {
    let mut lost = [false; 2];
    let (mut losing, mut losses) = (0, 0);
    let mut pieces = Vec::new();
    for mut piece in all {
        if losing == 0 && dice.once_in(rarity) {
            losing = 1 + dice.below(run_length);
        }
        let spared = piece.begin < spared[piece.way.index()];
        let lost = &mut lost[piece.way.index()];
        if losing > 0 && !spared {
            losing -= 1;
            losses += 1;
            *lost = true;
        } else {
            piece.lost_before = std::mem::take(lost);
            pieces.push(piece);
        }
    }
    Remains { pieces, open: lost != [false; 2], losses }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_cut_and_the_order_make_no_difference(
        planned in prop::collection::vec(planned(), 1..12), burst in 1..5_usize, rolling: bool, seed: u64,
        disorder: bool,
    ) {
        let conversation = Conversation::new(&planned, burst, rolling);
        let pieces = conversation.pieces(&mut Dice(seed), disorder);
        let record = run(&conversation, &pieces, false);
        let truth: Vec<String> = conversation.exchanges.iter().map(|(line, ..)| line.clone()).collect();
        prop_assert_eq!(record.lines(), truth);
        prop_assert_eq!(record.unobserved_count(), 0);
        let passed = Way::BOTH.map(|way| conversation.passed(&pieces, way));
        for (exchange, (_, request, response)) in record.exchanges.iter().zip(&conversation.exchanges) {
            prop_assert_eq!(exchange.began, passed[REQUESTS.index()][*request]);
            let first_byte = passed[RESPONSES.index()][*response];
            prop_assert_eq!(exchange.first_byte, Some(first_byte));
            prop_assert!(exchange.ended >= first_byte);
        }
    }

    #[test]
    fn no_loss_makes_an_exchange_wrong(
        planned in prop::collection::vec(planned(), 1..24), burst in 1..5_usize, rolling: bool, seed: u64,
        rarity in 2..40_usize, run_length in 1..4_usize,
    ) {
        let conversation = Conversation::new(&planned, burst, rolling);
        let mut dice = Dice(seed);
        // Only the first response shows the parser that the client pipelines, so nothing is lost up to there.
        let spared = if rolling && burst > 1 { conversation.first_flights(1) } else { [0; 2] };
        let all = conversation.pieces(&mut dice, false);
        let Remains { pieces, open, .. } = lose(all, spared, rarity, run_length, &mut dice);
        let record = run(&conversation, &pieces, open);
        let truth: HashMap<&str, &String> = conversation
            .exchanges
            .iter()
            .map(|(line, ..)| (line.split(' ').nth(2).expect("a line has a path"), line))
            .collect();
        for exchange in &record.exchanges {
            prop_assert_eq!(&line(exchange), truth[&*exchange.path], "{:?}", record);
        }
        let told = record.exchanges.len() + usize::try_from(record.unobserved_count()).expect("few");
        prop_assert!(told <= planned.len());
        prop_assert!(told >= conversation.surely_seen(&pieces), "{:?}", record);
    }
    #[test]
    fn a_loss_costs_few_exchanges_of_a_client_that_waits(
        planned in prop::collection::vec(planned(), 60), seed: u64,
    ) {
        let conversation = Conversation::new(&planned, 1, false);
        let mut dice = Dice(seed);
        // Only the second request shows the parser that the client waits for responses, so nothing is lost up to there.
        let spared = conversation.first_flights(2);
        let all = conversation.pieces(&mut dice, false);
        let Remains { pieces, open, losses } = lose(all, spared, 50, 1, &mut dice);
        let record = run(&conversation, &pieces, open);
        prop_assert!(record.exchanges.len() + 3 * losses >= planned.len(), "{} losses: {:?}", losses, record);
    }
}
