//! Tests of connections that are older than the trace.

use super::*;

#[test]
fn the_side_is_told_by_pseudo_headers() {
    // The first header block shows its sender: by `:status`, a pseudo-header of requests, a priority, or as
    // PUSH_PROMISE.
    for (way, first, side) in [
        (CLIENT, frame(1, 5, 9, &[0x88]), Side::Client),
        (CLIENT, frame(1, 5, 9, &[0xbe, 0x82]), Side::Server),
        (SERVER, frame(1, 5, 9, &[0xbe, 0x86]), Side::Client),
        (SERVER, frame(1, 0x25, 9, &[0, 0, 0, 0, 16, 0xbe]), Side::Client),
        (CLIENT, frame(5, 4, 9, &[0, 0, 0, 2, 0xbe]), Side::Client),
    ] {
        let mut f = Fixture::joined();
        f.bytes(way, &first);
        let client = if side == Side::Server { CLIENT } else { SERVER };
        f.bytes(client, &frame(1, 5, 101, &[0x83, 0x84]));
        f.bytes(client.other(), &frame(1, 5, 101, &[0x8d]));
        let exchange = f.reports.exchanges.iter().find(|exchange| exchange.method == "POST").unwrap();
        assert_eq!((exchange.side, exchange.path.as_str()), (side, "/"));
        assert_eq!(exchange.status, Status::Code(404));
    }
}

#[test]
fn what_the_table_lacks_is_unknown() {
    let mut f = Fixture::joined();
    // The position in the server's direction is known before the request comes, so that the response is not in doubt.
    f.bytes(SERVER, &frame(4, 1, 0, b""));
    f.bytes(CLIENT, &frame(1, 5, 9, &[0x82, 0xc0, 0xc1]));
    f.bytes(SERVER, &frame(1, 4, 9, &[0xc2, 0xc3]));
    f.data(SERVER, 9, true);
    let exchange = &f.reports.exchanges[0];
    assert_eq!((exchange.method.as_str(), exchange.host.as_str(), exchange.path.as_str()), ("GET", "", ""));
    assert_eq!((exchange.status, exchange.first_byte), (Status::Unknown, Some(3)));
}

#[test]
fn an_unknown_interim_response_gives_way_to_the_final_one() {
    let mut f = Fixture::joined();
    f.bytes(SERVER, &frame(4, 1, 0, b""));
    f.bytes(CLIENT, &frame(1, 5, 9, &[0x82, 0x84]));
    f.bytes(SERVER, &frame(1, 4, 9, &[0xc2]));
    f.bytes(SERVER, &frame(1, 5, 9, &[0x88]));
    let exchange = &f.reports.exchanges[0];
    assert_eq!((exchange.status, exchange.first_byte), (Status::Code(200), Some(4)));
}

#[test]
fn what_belongs_to_older_streams_is_no_request() {
    let mut f = Fixture::joined();
    f.bytes(SERVER, &frame(1, 4, 7, &[0x88]));
    f.headers(CLIENT, 7, true, &[("x-checksum", "1")]);
    f.data(CLIENT, 5, true);
    f.data(SERVER, 7, true);
    f.reset(CLIENT, 3);
    f.close();
    assert_eq!((f.reports.exchanges.len(), f.reports.unobserved.len()), (0, 0));
}

#[test]
fn a_request_seen_before_the_servers_way_was_followed_is_unobserved_without_its_response() {
    let mut f = Fixture::joined();
    f.bytes(CLIENT, &frame(1, 5, 9, &[0x82, 0x84]));
    f.bytes(CLIENT, &frame(1, 5, 11, &[0x82, 0x84]));
    f.bytes(SERVER, b"the middle of a body");
    f.bytes(SERVER, &frame(1, 5, 11, &[0x88]));
    f.bytes(CLIENT, &frame(1, 5, 13, &[0x82, 0x84]));
    f.close();
    assert_eq!(f.statuses(), [Status::Code(200), Status::NoResponse]);
    assert_eq!(f.reports.reasons(), [Reason::MissingBytes]);
}

#[test]
fn bytes_before_the_first_frame_are_passed_over() {
    let mut f = Fixture::joined();
    let request = frame(1, 5, 9, &[0x82, 0x84]);
    f.parser.bytes(CLIENT, 1, &[0x55; 100], false, &mut f.reports);
    f.parser.bytes(CLIENT, 2, &request[..3], true, &mut f.reports);
    f.parser.bytes(CLIENT, 3, &request[3..], false, &mut f.reports);
    f.bytes(SERVER, &frame(1, 5, 9, &[0x88]));
    assert_eq!((f.statuses(), f.reports.exchanges[0].began), (vec![Status::Code(200)], 2));
}
