//! Arbitrary bytes: the parser must not panic, must bound its memory, and must not count anything that is not HTTP.

use proptest::prelude::*;

use super::kernel::{Conversation, Dice, planned};
use super::*;

/// Limit on the heap memory of a connection in bytes: held pieces, an incomplete head, and waiting requests.
const MAX_MEMORY: usize = 3 << 20;

/// Generates a piece: whether it is received, the distance of its sequence number from the expected one, `length`,
/// `bytes`, `starts` and `lost_before` of [`Piece`].
fn piece() -> impl Strategy<Value = (bool, u32, u32, Vec<u8>, bool, bool)> {
    let text = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "\r\n",
        "\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 x\r\n\r\n",
        "Content-Length: 70000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "\0",
        "HEAD ",
        "CONNECT h HTTP/1.1\r\n\r\n",
        "HTTP/1.1 101 x\r\n\r\n",
        "X",
        "Content-Length: 18446744073709551615\r\n\r\n",
    ]);
    let texts = prop::collection::vec(text, 0..8).prop_map(|texts| texts.concat().into_bytes());
    let bytes = prop_oneof![4 => texts, 1 => prop::collection::vec(any::<u8>(), 0..40)];
    let sequence = prop_oneof![8 => Just(0_u32), 1 => 0..9_000_u32, 1 => any::<u32>()];
    let length = prop_oneof![4 => Just(0_u32), 1 => any::<u32>()];
    (any::<bool>(), sequence, length, bytes, any::<bool>(), prop::bool::weighted(0.05))
}

fn start() -> impl Strategy<Value = Start> {
    prop::sample::select(vec![Start::Whole, Start::Joined, Start::Unanswered, Start::Lost])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_pieces(pieces in prop::collection::vec(piece(), 0..200), start in start(), fin in 0..400_usize) {
        let mut record = Record::default();
        let mut connection = Connection::begin(Beginning { start, first: [(start == Start::Whole).then_some(0); 2] });
        let mut next = [0_u32; 2];
        for (index, (received, skew, length, bytes, starts, lost_before)) in pieces.iter().enumerate() {
            let way = if *received { Way::Received } else { Way::Sent };
            let sequence = next[way.index()].wrapping_add(*skew);
            let time = index as u64;
            let piece =
                Piece { way, time, sequence, length: *length, bytes, starts: *starts, lost_before: *lost_before };
            connection.piece(&piece, &mut record);
            next[way.index()] = sequence.wrapping_add(u32::try_from(bytes.len()).expect("short"));
            if index == fin {
                connection.fin(way, next[way.index()], time, &mut record);
            }
            prop_assert!(connection.memory() < MAX_MEMORY);
        }
        connection.close(1_000, false, &mut record);
        prop_assert_eq!(connection.memory(), 0);
    }

    #[test]
    fn mutated_conversations(
        planned in prop::collection::vec(planned(), 1..12), burst in 1..5_usize, seed: u64, rarity in 1..400_usize,
    ) {
        let mut dice = Dice(seed);
        let conversation = Conversation::new(&planned, burst, dice.once_in(2));
        let mut talk = Talk::with(if dice.once_in(2) { Start::Joined } else { Start::Whole });
        for mut piece in conversation.pieces(&mut dice, true) {
            for byte in &mut piece.bytes {
                if dice.once_in(rarity) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            let length = piece.length - if dice.once_in(rarity) { dice.below(piece.length + 1) } else { 0 };
            talk.piece(piece.way, &piece.bytes, length, piece.starts, dice.once_in(rarity));
            prop_assert!(talk.connection.memory() < MAX_MEMORY);
        }
        talk.close(false);
    }
}

#[test]
fn noise_is_never_counted() {
    let mut dice = Dice(1);
    for _ in 0..1_000 {
        let mut talk = Talk::new();
        for _ in 0..20 {
            let way = if dice.once_in(2) { REQUESTS } else { RESPONSES };
            let bytes: Vec<u8> =
                (0..dice.below(200)).map(|_| u8::try_from(dice.below(256)).expect("a byte")).collect();
            talk.pass(way, &bytes);
        }
        assert_eq!(talk.close(false), Record::default());
    }
}

#[test]
fn gaps_are_held_within_bounds() {
    let mut talk = Talk::new();
    talk.request(GET);
    for _ in 0..1_000 {
        talk.miss(REQUESTS, 1);
        talk.pass(REQUESTS, [b'x'; 3_000]);
        assert!(talk.connection.memory() < MAX_MEMORY);
    }
    assert_eq!(talk.close(false).lines(), ["GET h /a NoResponse 28 0"]);
}
