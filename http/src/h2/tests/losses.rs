//! Tests of missing bytes: no exchange is reported wrongly, and each request that was seen is reported once.

use super::*;

/// If a hole may contain the head or the end of a response, the request of that response is unobserved.
#[test]
fn a_response_in_a_hole_is_unobserved() {
    for (lost, reason) in [(true, Reason::LostResponse), (false, Reason::MissingBytes)] {
        let mut f = Fixture::new();
        f.headers(CLIENT, 1, true, GET);
        f.headers(CLIENT, 3, true, GET);
        f.headers(SERVER, 3, false, OK);
        f.hole(SERVER, lost);
        f.close();
        assert_eq!((f.statuses(), f.reports.reasons()), (vec![], vec![reason; 2]));
    }
}

#[test]
fn a_response_that_goes_on_after_a_hole_is_reported() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.headers(SERVER, 3, false, OK);
    f.hole(SERVER, true);
    f.headers(SERVER, 1, true, &[(":status", "404")]);
    f.data(SERVER, 3, true);
    f.close();
    assert_eq!(f.statuses(), [Status::Code(404), Status::Code(200)]);
    assert_eq!(f.reports.reasons(), []);
}

#[test]
fn the_end_of_a_response_without_its_head_is_unobserved() {
    let mut f = Fixture::new();
    for stream in [1, 3, 5, 7] {
        f.headers(CLIENT, stream, true, GET);
    }
    f.hole(SERVER, true);
    f.data(SERVER, 1, true);
    f.headers(SERVER, 3, true, &[("grpc-status", "0")]);
    // The entry at this index was inserted unseen, so the block of stream 5 may be a head or trailers.
    f.bytes(SERVER, &frame(1, 5, 5, &[0xbe]));
    f.reset(SERVER, 7);
    f.close();
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![], vec![Reason::LostResponse; 4]));
}

#[test]
fn a_hole_in_the_requests_makes_their_table_unknown() {
    let mut f = Fixture::new();
    f.bytes(CLIENT, &frame(1, 5, 1, &[0x82, 0x44, 2, b'/', b'a', 0x41, 1, b'h']));
    f.bytes(CLIENT, &frame(1, 5, 3, &[0x82, 0xbf, 0xbe]));
    f.hole(CLIENT, true);
    f.bytes(CLIENT, &frame(1, 5, 7, &[0x82, 0xbf, 0xbe]));
    for stream in [1, 3, 5, 7] {
        f.headers(SERVER, stream, true, OK);
    }
    f.close();
    let told: Vec<_> = f.reports.exchanges.iter().map(|e| (e.path.as_str(), e.host.as_str())).collect();
    assert_eq!(told, [("/a", "h"), ("/a", "h"), ("", "")]);
    assert!(f.reports.exchanges.iter().all(|exchange| exchange.method == "GET"));
    assert_eq!(f.reports.reasons(), []);
}

#[test]
fn a_request_whose_end_may_be_in_a_hole_is_not_waited_for() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, false, GET);
    f.headers(CLIENT, 3, false, GET);
    f.headers(SERVER, 1, true, OK);
    f.hole(CLIENT, true);
    assert_eq!(f.statuses(), [Status::Code(200)]);
    f.headers(SERVER, 3, true, OK);
    assert_eq!(f.statuses().len(), 2);
}

#[test]
fn a_request_that_a_hole_cuts_counts_once() {
    let mut f = Fixture::new();
    let block = f.block(CLIENT, GET);
    f.bytes(CLIENT, &frame(1, 5, 1, &block)[..12]);
    f.hole(CLIENT, true);
    f.bytes(CLIENT, &frame(0, 1, 1, b"x"));
    f.headers(SERVER, 1, true, OK);
    f.close();
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![], vec![Reason::LostResponse]));
}

#[test]
fn a_place_is_found_only_where_a_piece_starts_with_a_frame() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.hole(SERVER, true);
    assert_eq!(f.parser.skippable(SERVER), u64::MAX);
    let response = frame(1, 5, 1, &[0x88]);
    f.parser.bytes(SERVER, 9, &response, false, &mut f.reports);
    f.bytes(SERVER, b"HTTP/1.1 200 OK\r\n\r\n");
    f.bytes(SERVER, &[0; 30]);
    f.bytes(SERVER, &frame(0x20, 0, 1, b"x"));
    assert_eq!(f.reports.exchanges, []);
    f.bytes(SERVER, &response);
    assert_eq!(f.statuses(), [Status::Code(200)]);
}

#[test]
fn a_block_whose_beginning_was_lost_is_passed_over() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.hole(SERVER, true);
    f.bytes(SERVER, &frame(9, 0, 1, &[0xff; 20]));
    f.bytes(SERVER, &frame(9, 4, 1, &[0xff; 20]));
    f.headers(SERVER, 3, true, &[(":status", "204")]);
    f.close();
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![Status::Code(204)], vec![Reason::LostResponse]));
}

#[test]
fn a_hole_within_a_body_harms_nothing() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(SERVER, 1, false, OK);
    f.bytes(SERVER, &frame(0, 1, 1, &[0; 150])[..9]);
    f.hole(SERVER, true);
    assert_eq!(f.parser.skippable(SERVER), 50);
    f.bytes(SERVER, &[0; 50]);
    assert_eq!(f.statuses(), [Status::Code(200)]);
}

#[test]
fn an_answer_that_came_before_its_request_is_not_waited_for() {
    let mut f = Fixture::new();
    f.headers(SERVER, 3, true, OK);
    f.headers(CLIENT, 3, true, GET);
    f.headers(CLIENT, 5, true, GET);
    f.close();
    assert_eq!(f.statuses(), [Status::NoResponse]);
    assert_eq!(f.reports.reasons(), [Reason::MissingBytes]);
}

#[test]
fn a_response_that_was_lost_before_its_stream_was_reset_is_unobserved() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.reset(CLIENT, 1);
    f.hole(SERVER, true);
    f.data(SERVER, 9, true);
    f.close();
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![], vec![Reason::LostResponse]));
}

#[test]
fn a_response_that_passed_before_its_stream_was_reset_counts_even_if_it_comes_later() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.time = 20;
    f.reset(CLIENT, 1);
    f.time = 10;
    f.headers(SERVER, 1, true, OK);
    assert_eq!((f.statuses(), f.reports.exchanges[0].ended), (vec![Status::Code(200)], 11));
}

#[test]
fn a_refused_stream_was_not_answered_in_a_hole() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.hole(SERVER, true);
    f.bytes(SERVER, &frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    f.close();
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![Status::NoResponse], vec![Reason::LostResponse]));
}
