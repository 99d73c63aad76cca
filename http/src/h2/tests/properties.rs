//! Tests with random conversations and random bytes.

use proptest::prelude::*;

use super::{
    encoder::Random,
    kernel::{Kernel, Packet},
    talk::Talk,
    *,
};

/// Limit on the heap memory of a connection in bytes: streams with the longest methods, hosts and paths, and for each
/// direction a header table and a header block.
const BOUND: usize = 4 << 20;

/// Asserts that a reported exchange equals one of the true ones, except for fields that may be unknown. With `losses`,
/// the reported one may have fewer bytes and another end time.
fn compare(reported: &Exchange, truth: &[Exchange], losses: bool) {
    let fits = |truth: &&Exchange| {
        let text = |reported: &str, truth: &str| reported == truth || reported.is_empty();
        reported.began == truth.began
            && text(&reported.method, &truth.method)
            && text(&reported.host, &truth.host)
            && text(&reported.path, &truth.path)
            && (reported.status == truth.status || reported.status == Status::Unknown)
            && (reported.grpc_status == truth.grpc_status || reported.grpc_status.is_none())
            && (reported.protocol == truth.protocol || reported.protocol == Protocol::Http2)
            && reported.side == truth.side
            && (reported.first_byte == truth.first_byte
                || reported.first_byte.is_none() && reported.status == Status::Unknown)
            && reported.request_bytes <= truth.request_bytes
            && reported.response_bytes <= truth.response_bytes
            && (losses
                || reported.ended == truth.ended
                    && reported.request_bytes == truth.request_bytes
                    && reported.response_bytes == truth.response_bytes)
    };
    let near: Vec<_> = truth.iter().filter(|truth| truth.began == reported.began).collect();
    assert!(near.iter().copied().any(|truth| fits(&truth)), "{reported:#?}\nis none of {near:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_seen_whole_is_reported_exactly(seed: u64, requests in 1..40_usize, skips: bool) {
        let talk = Talk::new(seed >> 1, requests);
        let reports = talk.replay(skips, 0, |_| false);
        prop_assert_eq!(reports.unobserved, []);
        prop_assert_eq!(Talk::sorted(reports.exchanges), Talk::sorted(talk.truth));
    }

    #[test]
    fn a_joined_connection_shows_what_is_right_or_unknown(seed: u64, requests in 1..40_usize, from: usize) {
        let talk = Talk::new(seed >> 1, requests);
        let reports = talk.replay(true, from % talk.packets.len(), |_| false);
        for exchange in &reports.exchanges {
            compare(exchange, &talk.truth, false);
        }
        prop_assert!(reports.exchanges.len() + reports.unobserved.len() <= talk.truth.len());
    }

    #[test]
    fn losses_make_nothing_wrong(seed: u64, requests in 1..40_usize, rate in 2..200_usize) {
        let talk = Talk::new(seed >> 1, requests);
        let lost: Vec<bool> = {
            let mut random = Random::new(seed);
            talk.packets.iter().map(|_| random.below(rate) == 0).collect()
        };
        let reports = talk.replay(true, 0, |at| lost[at]);
        for exchange in &reports.exchanges {
            compare(exchange, &talk.truth, true);
        }
        prop_assert!(reports.exchanges.len() + reports.unobserved.len() <= talk.truth.len());
    }

    #[test]
    fn lost_responses_are_counted(seed: u64, requests in 1..40_usize, rate in 2..50_usize) {
        let talk = Talk::new(seed >> 1, requests);
        let lost: Vec<bool> = {
            let mut random = Random::new(seed);
            talk.packets.iter().map(|packet| packet.way != talk.client && random.below(rate) == 0).collect()
        };
        let reports = talk.replay(true, 0, |at| lost[at]);
        let of_client = |exchange: &&Exchange| !exchange.path.starts_with("/pushed/");
        let requests = talk.truth.iter().filter(of_client).count();
        let all = reports.exchanges.len() + reports.unobserved.len();
        prop_assert!((requests..=talk.truth.len()).contains(&all), "{} of {}", all, requests);
    }

    #[test]
    fn mutated_bytes_neither_panic_nor_grow(seed: u64, requests in 1..30_usize, rate in 2..200_usize) {
        let talk = Talk::new(seed >> 1, requests);
        let mut random = Random::new(seed);
        let (mut parser, mut reports) = (Parser::new(seed % 2 == 0), Reports::default());
        let mut kernel = Kernel::new(talk.client, seed % 3 == 0);
        for packet in &talk.packets {
            let mut packet: Packet = packet.clone();
            if random.below(rate) == 0 {
                let at = random.below(packet.bytes.len());
                packet.bytes[at] = random.below(256) as u8;
            }
            kernel.pass(&packet, &mut parser, &mut reports);
            prop_assert!(parser.memory() < BOUND);
        }
        parser.close(talk.close, false, &mut reports);
        for exchange in &reports.exchanges {
            prop_assert!(!exchange.path.contains('?') && exchange.path.len() <= 1024, "{}", exchange.path);
        }
    }

    #[test]
    fn random_bytes_neither_panic_nor_grow(
        pieces in prop::collection::vec((any::<bool>(), any::<bool>(), frames(), 0..40_u8), 0..60),
        joined: bool,
    ) {
        let (mut parser, mut reports) = (Parser::new(joined), Reports::default());
        for (sent, starts, bytes, act) in pieces {
            let way = if sent { SERVER } else { CLIENT };
            match act {
                0 => parser.hole(way, bytes.len() as u64, starts, &mut reports),
                1 => parser.end(way, 5, &mut reports),
                2 => parser.skipped(way, 6, parser.skippable(way).min(1 << 40), &mut reports),
                _ => parser.bytes(way, 7, &bytes, starts, &mut reports),
            }
            prop_assert!(parser.memory() < BOUND);
        }
        parser.close(8, joined, &mut reports);
        let memory = parser.memory();
        parser.close(9, joined, &mut reports);
        prop_assert_eq!(parser.memory(), memory);
    }
}

/// Generates random bytes, a frame with a random payload, or a client's preface.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(prop_oneof![any::<u8>(), Just(0x82), Just(0x88), Just(0x44)], 0..40);
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..100),
        8 => (0..11_u8, any::<u8>(), 0..6_u32, payload)
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags & 0x2d, stream, &payload)),
        1 => Just(preface()),
    ]
}
