//! Tests of plain text that arrives before its connection is known, and of the bytes that the kernel is asked to skip.

use traffictrace_http::{Beginning, Exchange, Reason, Side, Start, Status};

use super::*;

/// A sink that keeps the reports of a connection.
#[derive(Debug, Default)]
struct Seen {
    exchanges: Vec<Exchange>,
    unobserved: u64,
}

impl Sink for Seen {
    fn exchange(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    fn unobserved(&mut self, _side: Side, _reason: Reason, count: u64) {
        self.unobserved += count;
    }
}

fn text(way: Way, sequence: u32, bytes: &[u8]) -> Text {
    let length = bytes.len().try_into().unwrap();
    Text { way, time: 1, sequence, length, bytes: bytes.to_vec(), lost_before: false }
}

/// Makes the parser of a connection of which every byte is seen.
fn whole() -> Connection {
    Connection::begin(Beginning { start: Start::Whole, first: [Some(0); 2] })
}

const CHANNEL: Origin = Origin { channel: 7, pid: 1 };
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_long_body_is_left_to_the_kernel() {
    let (mut tls, mut connection, mut seen) = (Tls::default(), whole(), Seen::default());
    assert!(tls.belongs_to(CHANNEL));
    assert_eq!(tls.feed(&mut connection, &text(Way::Received, 0, REQUEST), &mut seen), None);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let end = head.len() as u64 + 100_000;
    let skip = tls.feed(&mut connection, &text(Way::Sent, 0, head), &mut seen);
    assert_eq!(skip, Some((Way::Sent, end)));
    // The kernel skips the body and reports only its last piece, without contents.
    let last = Text { length: 1000, ..text(Way::Sent, u32::try_from(end).unwrap() - 1000, b"") };
    assert_eq!(tls.feed(&mut connection, &last, &mut seen), None);
    let [exchange] = seen.exchanges.as_slice() else { panic!("{seen:?}") };
    assert_eq!((exchange.status, exchange.response_bytes), (Status::Code(200), end));
    assert_eq!(tls.passed, [REQUEST.len() as u64, end]);
}

#[test]
fn a_body_up_to_the_end_of_the_connection_is_counted() {
    let (mut tls, mut connection, mut seen) = (Tls::default(), whole(), Seen::default());
    assert!(tls.belongs_to(CHANNEL));
    tls.feed(&mut connection, &text(Way::Received, 0, REQUEST), &mut seen);
    let head = b"HTTP/1.0 200 OK\r\n\r\n";
    let skip = tls.feed(&mut connection, &text(Way::Sent, 0, head), &mut seen);
    assert_eq!(skip, Some((Way::Sent, ENDLESS)));
    let body = Text { length: 5000, ..text(Way::Sent, u32::try_from(head.len()).unwrap(), b"") };
    assert_eq!(tls.feed(&mut connection, &body, &mut seen), None, "it was said");
    tls.end_way(Way::Sent, &mut connection, 0, &mut seen);
    let [exchange] = seen.exchanges.as_slice() else { panic!("{seen:?}") };
    assert_eq!(exchange.response_bytes, head.len() as u64 + 5000);
}

#[test]
fn a_response_that_may_have_been_lost_is_not_said_to_be_missing() {
    for (lost, exchanges, unobserved) in [(3, 1, 0), (4, 0, 1)] {
        let (mut tls, mut connection, mut seen) = (Tls::begin(3), whole(), Seen::default());
        assert!(tls.belongs_to(CHANNEL));
        tls.feed(&mut connection, &text(Way::Received, 0, REQUEST), &mut seen);
        tls.end(&mut connection, lost, &mut seen);
        assert_eq!((seen.exchanges.len(), seen.unobserved), (exchanges, unobserved), "{seen:?}");
        assert!(seen.exchanges.iter().all(|exchange| exchange.status == Status::NoResponse));
    }
}

#[test]
fn what_is_no_http_is_not_copied() {
    let (mut tls, mut connection, mut seen) = (Tls::default(), whole(), Seen::default());
    assert!(tls.belongs_to(CHANNEL));
    let skip = tls.feed(&mut connection, &text(Way::Received, 0, b"\x01\x02 binary noise"), &mut seen);
    assert_eq!(skip, Some((Way::Received, u64::MAX)));
}

/// The response to a read that was under way when the probes were attached is not seen. Its request must not be matched
/// with the next response.
#[test]
fn a_client_that_is_joined_is_believed_when_it_has_read() {
    let (mut tls, mut seen) = (Tls::default(), Seen::default());
    let mut connection = Connection::begin(Beginning { start: Start::Joined, first: [None; 2] });
    assert!(tls.belongs_to(CHANNEL));
    tls.join();
    let response = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let (sent, received) =
        (|n: u32| text(Way::Sent, n * 28, REQUEST), |n: u32| text(Way::Received, n * 45, response));
    assert_eq!((REQUEST.len(), response.len()), (28, 45));
    let mut pass =
        |text: Text| tls.passes_over(&text) || tls.feed(&mut connection, &text, &mut seen).is_some();
    assert!(pass(sent(0)) && pass(sent(1)), "nothing was received yet");
    assert!(!pass(received(0)) && !pass(sent(2)) && !pass(received(1)));
    let [exchange] = seen.exchanges.as_slice() else { panic!("{seen:?}") };
    assert_eq!(exchange.status, Status::Code(404));
}

#[test]
fn a_server_that_is_joined_within_a_body_goes_on_with_the_next_request() {
    let mut tls = Tls::default();
    assert!(tls.belongs_to(CHANNEL));
    tls.join();
    assert!(tls.passes_over(&text(Way::Received, 0, b"the rest of a body")));
    assert!(tls.is_unread(&Connection::begin(Beginning { start: Start::Joined, first: [None; 2] })));
    assert!(!tls.passes_over(&text(Way::Received, 18, REQUEST)));
    assert!(!tls.passes_over(&text(Way::Sent, 0, b"any")));
}

#[test]
fn a_socket_that_two_claim_is_nobodys() {
    let mut tls = Tls::default();
    let other = Origin { pid: 2, ..CHANNEL };
    assert!(!tls.is_read() && tls.belongs_to(CHANNEL) && tls.is_read());
    assert!(!tls.belongs_to(other));
    assert!(!tls.belongs_to(CHANNEL) && !tls.is_read());
}

#[test]
fn a_piece_that_lies_behind_changes_no_count() {
    assert_eq!(end_of(100, 60, 0), 100);
    assert_eq!(end_of(50, 60, 0), 60, "behind");
    assert_eq!(end_of(4, u64::from(u32::MAX) - 5, 0), (1 << 32) + 4, "wrapped");
    let body = 5 << 32;
    assert_eq!(end_of(low(body + 70), 60, body + 70), body + 70, "the end of a skipped body");
    assert_eq!(end_of(90, 60, ENDLESS), 90);
}

#[test]
fn pieces_wait_in_their_order_and_not_for_ever() {
    let mut waiting = Waiting::default();
    let origin = |channel| Origin { channel, pid: 5 };
    waiting.keep(origin(1), 0, 10, text(Way::Sent, 0, b"a"));
    waiting.keep(origin(1), 9, 11, text(Way::Received, 0, b"b"));
    waiting.keep(origin(2), 0, 12, text(Way::Sent, 0, b"c"));
    assert_eq!(waiting.channel_of(9), Some(origin(1)));
    let ways: Vec<Way> = waiting.take(origin(1)).iter().map(|text| text.way).collect();
    assert_eq!(ways, [Way::Sent, Way::Received]);
    assert!(waiting.take(origin(1)).is_empty() && waiting.channel_of(9).is_none());
    waiting.sweep(12 + LONGEST_WAIT);
    assert_eq!(waiting.given_up(5), 0);
    waiting.sweep(13 + LONGEST_WAIT);
    assert_eq!((waiting.given_up(5), waiting.bytes, waiting.pieces), (1, 0, 0));
}

#[test]
fn memory_is_bounded_and_the_largest_channel_alone_is_given_up() {
    let mut waiting = Waiting::default();
    let (small, large) = (Origin { channel: 1, pid: 1 }, Origin { channel: 2, pid: 2 });
    waiting.keep(small, 0, 0, text(Way::Sent, 0, b"small"));
    for number in 0..3 * MOST_PIECES as u64 {
        waiting.keep(large, 0, number, text(Way::Sent, 0, &[0; 1000]));
        assert!(waiting.bytes <= MOST_BYTES && waiting.pieces <= MOST_PIECES);
    }
    assert_eq!((waiting.given_up(1), waiting.given_up(2)), (0, 1));
    assert_eq!(waiting.take(small).len(), 1);
    assert_eq!((waiting.bytes, waiting.pieces), (0, 0), "what comes of the other one is dropped");
}

#[test]
fn memory_is_bounded_with_many_channels() {
    let mut waiting = Waiting::default();
    for channel in 0..5 * MOST_PIECES as u64 {
        waiting.keep(Origin { channel, pid: 1 }, channel + 1, channel, text(Way::Sent, 0, b""));
        assert!(waiting.bytes <= MOST_BYTES && waiting.pieces <= MOST_PIECES);
        assert!(waiting.dropped.len() <= MOST_GIVEN_UP && waiting.sockets.len() == waiting.pieces);
    }
    assert_eq!(waiting.given_up(1) + waiting.pieces as u64, 5 * MOST_PIECES as u64);
}
