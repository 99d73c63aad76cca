//! Tests of losses, limits, and connections that are older than the trace.

use super::*;
use crate::h1::MAX_HEAD;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n\r\n")
}

fn ok(code: u16) -> String {
    format!("HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n")
}

/// Returns a connection after two exchanges. The second one showed the parser that the client waits for a response
/// before its next request.
fn spoken() -> Talk {
    let mut talk = Talk::new();
    turn(&mut talk);
    turn(&mut talk);
    talk.record = Record::default();
    talk
}

fn turn(talk: &mut Talk) {
    talk.request(&get("/turn"));
    talk.response(&ok(200));
}

#[test]
fn skipped_bodies_are_no_loss() {
    let mut talk = Talk::new();
    let post = "POST /p HTTP/1.1\r\nContent-Length: 5000000000\r\n\r\n";
    talk.piece(REQUESTS, post.as_bytes(), post.len() + 1_000, true, false);
    talk.response("HTTP/1.1 100 Continue\r\n\r\n");
    // The body is longer than the range of sequence numbers. The next piece has no bytes and shows the body's end.
    talk.miss(REQUESTS, 4_000_000_000);
    talk.miss(REQUESTS, 999_999_000);
    talk.piece(REQUESTS, b"", 0, false, false);
    let ended = talk.time;
    talk.response("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    talk.miss(RESPONSES, 100);
    turn(&mut talk);
    assert_eq!(talk.record.exchanges[0].request_bytes, 5_000_000_000 + post.len() as u64);
    assert_eq!((ended, talk.record.exchanges[0].ended), (3, 6), "the gap shows with the next piece");
    assert_eq!(talk.close(false).lines().len(), 2);
}

#[test]
fn lost_responses_are_counted_and_the_next_pair_again() {
    let mut talk = spoken();
    talk.request(&get("/1"));
    talk.miss(RESPONSES, ok(201).len());
    talk.request(&get("/2"));
    talk.after_loss(RESPONSES, &ok(202));
    assert_eq!(talk.record.unobserved, [(Reason::LostResponse, 2)]);
    talk.request(&get("/3"));
    talk.response(&ok(203));
    assert_eq!(talk.close(false).lines(), ["GET  /3 203 19 37"]);
}

#[test]
fn lost_requests_do_not_shift_the_pairs() {
    let mut talk = spoken();
    talk.request(&get("/1"));
    talk.response(&ok(201));
    talk.miss(REQUESTS, get("/2").len());
    talk.response(&ok(202));
    talk.after_loss(REQUESTS, &get("/3"));
    talk.response(&ok(203));
    let record = talk.close(false);
    assert_eq!(record.lines(), ["GET  /1 201 19 37", "GET  /3 203 19 37"]);
    assert_eq!(record.unobserved, []);
}

#[test]
fn pipelined_requests_after_a_loss_are_not_guessed() {
    let mut talk = Talk::new();
    talk.request(&[get("/1"), get("/2")].concat());
    talk.response(&[ok(201), ok(202)].concat());
    talk.request(&get("/3"));
    talk.miss(REQUESTS, get("/4").len());
    talk.after_loss(REQUESTS, &get("/5"));
    for code in [203, 204, 205] {
        talk.response(&ok(code));
    }
    let record = talk.close(false);
    assert_eq!(record.lines().last().map(String::as_str), Some("GET  /3 203 19 37"));
    assert_eq!(record.unobserved, [(Reason::LostResponse, 1)]);
}

#[test]
fn a_pipelining_client_is_trusted_again_when_all_stale_responses_passed() {
    let mut talk = Talk::new();
    talk.request(&[get("/1"), get("/2"), get("/3")].concat());
    talk.miss(RESPONSES, ok(201).len());
    talk.after_loss(RESPONSES, &ok(202));
    talk.request(&get("/4"));
    talk.response(&[ok(203), ok(204)].concat());
    talk.request(&get("/5"));
    talk.response(&ok(205));
    let record = talk.close(false);
    assert_eq!(record.lines(), ["GET  /5 205 19 37"]);
    assert_eq!(record.unobserved_count(), 4);
}

#[test]
fn holes_in_a_body_make_its_exchange_unobserved() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel";
    let mut talk = spoken();
    talk.request(&get("/1"));
    talk.response(chunked);
    talk.miss(RESPONSES, 50);
    talk.request(&get("/2"));
    talk.after_loss(RESPONSES, &ok(200));
    talk.request(&get("/3"));
    talk.response(&ok(200));
    let record = talk.close(false);
    assert_eq!((record.lines().len(), record.unobserved_count()), (1, 2));
}

#[test]
fn a_loss_at_the_end_is_no_missing_response() {
    let mut talk = spoken();
    talk.request(&get("/1"));
    let record = talk.close(true);
    assert_eq!((record.lines().len(), record.unobserved), (0, vec![(Reason::LostResponse, 1)]));
    let mut talk = spoken();
    talk.request(&get("/1"));
    talk.miss(RESPONSES, 30);
    talk.fin(RESPONSES);
    let record = talk.close(false);
    assert_eq!((record.lines().len(), record.unobserved), (0, vec![(Reason::MissingBytes, 1)]));
}

#[test]
fn joined_connections_begin_with_a_whole_message() {
    let mut talk = Talk::with(Start::Joined);
    talk.piece(RESPONSES, b"the rest of a body", 18, false, false);
    talk.piece(REQUESTS, b"rest: of a head\r\n\r\n", 19, false, false);
    talk.response(&ok(299));
    talk.request(&get("/1"));
    talk.response(&ok(201));
    assert_eq!(talk.connection.side(), Some(Side::Server));
    let record = talk.close(false);
    assert_eq!((record.lines(), record.unobserved), (vec!["GET  /1 201 19 37".to_owned()], vec![]));
}

#[test]
fn answers_to_requests_before_the_first_piece_are_unobserved() {
    let mut talk = Talk::with(Start::Unanswered);
    talk.request(&get("/1"));
    talk.request(&get("/2"));
    for code in [200, 201, 202] {
        talk.response(&ok(code));
    }
    talk.request(&get("/3"));
    talk.response(&ok(203));
    let record = talk.close(false);
    assert_eq!(record.lines(), ["GET  /3 203 19 37"]);
    assert_eq!(record.unobserved, [(Reason::MissingBytes, 1); 3]);
}

#[test]
fn a_request_before_the_first_piece_takes_no_other_with_it() {
    let mut talk = Talk::with(Start::Unanswered);
    talk.response(&ok(200));
    talk.request(&get("/1"));
    talk.response(&ok(201));
    let record = talk.close(false);
    assert_eq!(record.lines(), ["GET  /1 201 19 37"]);
    assert_eq!(record.unobserved, [(Reason::MissingBytes, 1)]);
}

#[test]
fn heads_beyond_the_bound_are_counted() {
    let mut talk = spoken();
    let head = format!("GET /long HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    for part in head.as_bytes().chunks(1_000) {
        talk.piece(REQUESTS, part, part.len(), false, false);
        assert!(talk.connection.memory() < 4 * MAX_HEAD);
    }
    talk.response(&ok(431));
    turn(&mut talk);
    let record = talk.close(false);
    assert_eq!((record.lines().len(), record.unobserved), (1, vec![(Reason::HeadTooLarge, 1)]));
}

#[test]
fn malformed_messages_are_counted_once() {
    let mut talk = spoken();
    talk.request("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    talk.response(&ok(400));
    turn(&mut talk);
    talk.request(&get("/1"));
    talk.response("no HTTP at all");
    talk.piece(RESPONSES, b"nor here", 8, false, false);
    turn(&mut talk);
    let record = talk.close(false);
    assert_eq!(record.lines().len(), 2);
    assert_eq!(record.unobserved, [(Reason::Malformed, 1), (Reason::Malformed, 1)]);
}

#[test]
fn outstanding_requests_are_bounded() {
    let mut talk = spoken();
    for index in 0..1_000 {
        talk.request(&get(&format!("/{index}")));
    }
    assert!(talk.connection.memory() < 1 << 20);
    let record = talk.close(false);
    assert_eq!(record.lines().len() as u64 + record.unobserved_count(), 1_000);
    assert!(record.unobserved.iter().all(|&(reason, _)| reason == Reason::NoMemory));
}

#[test]
fn an_answer_that_came_before_its_request_was_read_pairs_with_no_other() {
    let mut talk = spoken();
    let (begin, end) = ("GET /1 HTT", "P/1.1\r\n\r\n");
    talk.request(begin);
    talk.response(&ok(408));
    talk.piece(REQUESTS, end.as_bytes(), end.len(), false, false);
    assert_eq!(talk.record.unobserved, [(Reason::MissingBytes, 1)]);
    turn(&mut talk);
    assert_eq!(talk.close(false).lines(), ["GET  /turn 200 22 37"]);
}

#[test]
fn a_client_that_waits_is_trusted_again_after_a_loss_at_the_beginning() {
    let mut talk = Talk::new();
    talk.miss(REQUESTS, get("/1").len());
    talk.response(&ok(200));
    talk.after_loss(REQUESTS, &get("/2"));
    talk.response(&ok(200));
    for _ in 0..30 {
        turn(&mut talk);
    }
    let record = talk.close(false);
    assert_eq!(record.lines().len() as u64 + record.unobserved_count(), 31);
    assert_eq!(record.unobserved_count(), 15, "{record:?}");
}

#[test]
fn heads_that_are_answered_before_their_end_are_exchanges() {
    let long = "x".repeat(5_000);
    let cases = [
        ("GET /1?a HTTP/1.1\r\nHost: h\r\nX: ".to_owned(), 431, "GET h /1 431 5031 37".to_owned()),
        (format!("GET /{long}"), 414, format!("GET  /{} 414 10005 37", &long[1..1_024])),
    ];
    for (begin, code, expected) in cases {
        let mut talk = Talk::new();
        talk.request(&begin);
        talk.response(&ok(code));
        talk.piece(REQUESTS, long.as_bytes(), long.len(), false, false);
        turn(&mut talk);
        let record = talk.close(false);
        assert_eq!(record.lines(), [expected, "GET  /turn 200 22 37".into()]);
        assert_eq!(record.unobserved, []);
    }
}
