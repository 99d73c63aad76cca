//! Tests of all forms of messages, on connections without losses.

use super::*;

#[test]
fn an_exchange_has_all_its_fields() {
    let mut f = Fixture::new();
    let request = f.headers(CLIENT, 1, true, GET);
    let response = f.headers(SERVER, 1, false, OK);
    f.data(SERVER, 1, true);
    assert_eq!(
        f.reports.exchanges,
        [Exchange {
            side: Side::Server,
            protocol: Protocol::Http2,
            method: "GET".into(),
            host: "a.example".into(),
            path: "/a".into(),
            status: Status::Code(200),
            grpc_status: None,
            request_bytes: request,
            response_bytes: response + 19,
            began: 3,
            first_byte: Some(4),
            ended: 5,
        }]
    );
    f.close();
    assert_eq!((f.reports.exchanges.len(), f.reports.unobserved.len()), (1, 0));
}

#[test]
fn the_side_is_told_by_the_preface() {
    let mut f = Fixture::with(Parser::new(false));
    f.bytes(CLIENT, &frame(4, 0, 0, b""));
    f.bytes(SERVER, &preface());
    f.headers(SERVER, 1, true, GET);
    f.headers(CLIENT, 1, true, OK);
    assert_eq!(f.reports.exchanges[0].side, Side::Client);
}

#[test]
fn byte_by_byte_tells_the_same() {
    let mut f = Fixture::with(Parser::new(false));
    let request = [preface(), frame(1, 5, 1, &f.block(CLIENT, GET))].concat();
    let response =
        [frame(4, 0, 0, b""), frame(1, 4, 1, &f.block(SERVER, OK)), frame(0, 1, 1, b"body")].concat();
    for (way, bytes) in [(CLIENT, request), (SERVER, response)] {
        for byte in bytes {
            f.bytes(way, &[byte]);
        }
    }
    assert_eq!(f.statuses(), [Status::Code(200)]);
    assert_eq!(f.reports.exchanges[0].path, "/a");
}

#[test]
fn padding_priority_and_continuation_belong_to_the_block() {
    let mut f = Fixture::new();
    let block = f.block(CLIENT, GET);
    let (a, b) = block.split_at(3);
    let mut first = vec![2, 0, 0, 0, 0, 16];
    first.extend(a);
    first.extend([0, 0]);
    let wire = [frame(1, 0x29, 1, &first), frame(9, 0, 1, b""), frame(9, 4, 1, b)].concat();
    f.bytes(CLIENT, &wire);
    f.headers(SERVER, 1, true, OK);
    let exchange = &f.reports.exchanges[0];
    assert_eq!((exchange.method.as_str(), exchange.host.as_str()), ("GET", "a.example"));
    assert_eq!(exchange.request_bytes, wire.len() as u64);
}

#[test]
fn interim_responses_are_not_final() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    let interim = f.headers(SERVER, 1, false, &[(":status", "103"), ("link", "</a>")]);
    let response = f.headers(SERVER, 1, true, &[(":status", "404")]);
    let exchange = &f.reports.exchanges[0];
    assert_eq!((exchange.status, exchange.first_byte), (Status::Code(404), Some(5)));
    assert_eq!(exchange.response_bytes, interim + response);
}

#[test]
fn grpc_is_told_by_its_content_type_and_its_status_by_the_trailers() {
    let mut f = Fixture::new();
    let call = [GET, &[("content-type", "application/grpc+proto")]].concat();
    f.headers(CLIENT, 1, false, &call);
    f.data(CLIENT, 1, true);
    f.headers(SERVER, 1, false, &[(":status", "200"), ("content-type", "application/grpc")]);
    f.data(SERVER, 1, false);
    f.headers(SERVER, 1, true, &[("grpc-status", "5"), ("grpc-message", "x")]);
    // A gRPC response may be a single header block with both statuses ("Trailers-Only"). gRPC-Web does not count as
    // gRPC.
    f.headers(CLIENT, 3, true, &call);
    f.headers(SERVER, 3, true, &[(":status", "200"), ("grpc-status", "12")]);
    f.headers(CLIENT, 5, true, &[GET, &[("content-type", "application/grpc-web")]].concat());
    f.headers(SERVER, 5, true, OK);
    let told: Vec<_> = f.reports.exchanges.iter().map(|e| (e.protocol, e.grpc_status, e.ended)).collect();
    assert_eq!(
        told,
        [(Protocol::Grpc, Some(5), 7), (Protocol::Grpc, Some(12), 9), (Protocol::Http2, None, 11)]
    );
}

#[test]
fn an_exchange_waits_for_its_request() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, false, GET);
    f.headers(SERVER, 1, true, OK);
    assert_eq!(f.reports.exchanges, []);
    f.data(CLIENT, 1, true);
    assert_eq!((f.statuses(), f.reports.exchanges[0].ended), (vec![Status::Code(200)], 5));
}

#[test]
fn a_reset_after_a_whole_response_takes_nothing_from_it() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, false, GET);
    f.headers(SERVER, 1, true, OK);
    f.reset(SERVER, 1);
    f.close();
    assert_eq!((f.statuses(), f.reports.exchanges[0].ended), (vec![Status::Code(200)], 4));
}

#[test]
fn a_reset_before_a_response_is_no_response_and_in_a_response_keeps_its_status() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.reset(CLIENT, 1);
    assert_eq!(f.reports.exchanges, []);
    f.headers(SERVER, 3, false, OK);
    f.reset(SERVER, 3);
    assert_eq!(f.statuses(), [Status::NoResponse, Status::Code(200)]);
    assert_eq!(f.reports.exchanges[0].ended, 5);
    assert_eq!(f.reports.exchanges[0].first_byte, None);
}

#[test]
fn goaway_tells_what_was_not_processed() {
    let mut f = Fixture::new();
    for stream in [1, 3, 5] {
        f.headers(CLIENT, stream, true, GET);
    }
    f.bytes(SERVER, &frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0, b'b', b'y', b'e']));
    assert_eq!(f.statuses(), [Status::NoResponse]);
    f.headers(SERVER, 3, true, OK);
    f.close();
    assert_eq!(f.statuses(), [Status::NoResponse, Status::Code(200), Status::NoResponse]);
}

#[test]
fn the_end_of_the_servers_way_settles_what_is_open() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.headers(SERVER, 3, false, OK);
    f.parser.end(CLIENT, 90, &mut f.reports);
    assert_eq!(f.reports.exchanges, []);
    f.parser.end(SERVER, 99, &mut f.reports);
    assert_eq!(f.statuses(), [Status::NoResponse, Status::Code(200)]);
    assert!(f.reports.exchanges.iter().all(|exchange| exchange.ended == 99));
}

#[test]
fn a_close_with_losses_invents_no_missing_response() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, false, GET);
    f.headers(SERVER, 3, true, OK);
    f.parser.close(9, true, &mut f.reports);
    assert_eq!(f.statuses(), [Status::Code(200)]);
    assert_eq!(f.reports.reasons(), [Reason::LostResponse]);
}

#[test]
fn a_promise_is_a_request_and_goes_through_the_table() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    let block = f.block(SERVER, &[GET, &[("x-a", "b")]].concat());
    f.bytes(SERVER, &frame(5, 4, 1, &[&[0, 0, 0, 2], block.as_slice()].concat()));
    f.headers(SERVER, 1, true, &[(":status", "200"), ("x-a", "b")]);
    f.headers(SERVER, 2, false, OK);
    f.data(SERVER, 2, true);
    assert_eq!(f.statuses(), [Status::Code(200), Status::Code(200)]);
    assert_eq!(f.reports.exchanges[1].path, "/a");
    assert_eq!(f.reports.exchanges[1].request_bytes, block.len() as u64 + 13);
}

#[test]
fn an_upgraded_request_is_stream_one() {
    let upgrade = Upgrade {
        side: Side::Client,
        method: "GET".into(),
        host: "h".into(),
        path: "/up".into(),
        began: 1,
        request_bytes: 200,
        response_bytes: 50,
    };
    let mut f = Fixture::with(Parser::upgraded(upgrade));
    f.time = 10;
    let block = f.block(CLIENT, OK);
    f.bytes(CLIENT, &[frame(4, 0, 0, b""), frame(1, 5, 1, &block)].concat());
    f.bytes(SERVER, &preface());
    f.headers(SERVER, 3, true, GET);
    f.headers(CLIENT, 3, true, OK);
    assert_eq!(f.statuses(), [Status::Code(200), Status::Code(200)]);
    let first = &f.reports.exchanges[0];
    assert_eq!((first.path.as_str(), first.began, first.ended), ("/up", 1, 11));
    assert_eq!((first.request_bytes, first.response_bytes), (200, 59 + block.len() as u64));
    assert_eq!(first.side, Side::Client);
}

#[test]
fn payloads_that_are_not_needed_may_be_skipped() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, false, GET);
    f.bytes(CLIENT, &frame(0, 9, 1, &[7; 1000])[..9]);
    assert_eq!(f.parser.skippable(CLIENT), 1000);
    f.headers(SERVER, 1, true, OK);
    f.parser.skipped(CLIENT, 50, 400, &mut f.reports);
    assert_eq!(f.parser.skippable(CLIENT), 600);
    f.parser.skipped(CLIENT, 60, 600, &mut f.reports);
    assert_eq!((f.parser.skippable(CLIENT), f.reports.exchanges[0].ended), (0, 60));
    for kind in [2, 3, 4, 6, 8, 0x10, 0xff] {
        let length = [0, 0, 5, 4, 6, 0, 8, 0, 4].get(kind).copied().unwrap_or(77);
        let stream = u32::from(!matches!(kind, 4 | 6));
        f.bytes(CLIENT, &frame(kind as u8, 0, stream, &vec![0; length])[..9]);
        assert_eq!(f.parser.skippable(CLIENT), length as u64, "{kind}");
        f.parser.skipped(CLIENT, 61, length as u64, &mut f.reports);
    }
    f.headers(CLIENT, 3, true, GET);
    f.headers(SERVER, 3, true, OK);
    assert_eq!(f.reports.exchanges.len(), 2);
}

#[test]
fn request_trailers_and_targets_of_all_forms() {
    let targets = [
        ("*", "*"),
        ("", ""),
        ("/a#b?c", "/a"),
        ("http://user:secret@h/x?y", "/x"),
        ("http://user:secret@h", ""),
        ("/a://b", "/a://b"),
    ];
    for (target, path) in targets {
        let mut f = Fixture::new();
        let head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", target),
            ("host", "user:secret@H.Example:80"),
        ];
        let size = f.headers(CLIENT, 1, false, &head);
        let trailers = f.headers(CLIENT, 1, true, &[("x-checksum", "1")]);
        f.headers(SERVER, 1, true, OK);
        let exchange = &f.reports.exchanges[0];
        assert_eq!((exchange.path.as_str(), exchange.host.as_str()), (path, "h.example:80"));
        assert_eq!(exchange.request_bytes, size + trailers);
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut f = Fixture::new();
    let path = format!("/{}", "é".repeat(600));
    let host = "H".repeat(300);
    f.headers(CLIENT, 1, true, &[(":method", &"M".repeat(40)), (":path", &path), (":authority", &host)]);
    f.headers(SERVER, 1, true, OK);
    let exchange = &f.reports.exchanges[0];
    assert_eq!((exchange.method.len(), exchange.host.as_str()), (32, "h".repeat(255).as_str()));
    assert_eq!(exchange.path, format!("/{}", "é".repeat(511)));
}

#[test]
fn a_stream_is_under_way_until_it_is_reported() {
    let mut fixture = Fixture::new();
    fixture.headers(CLIENT, 1, true, GET);
    fixture.headers(CLIENT, 3, true, GET);
    assert_eq!(fixture.parser.under_way(), 2);
    fixture.headers(SERVER, 3, true, OK);
    assert_eq!((fixture.parser.under_way(), fixture.statuses()), (1, vec![Status::Code(200)]));
    fixture.close();
    assert_eq!((fixture.parser.under_way(), fixture.statuses().len()), (0, 2));
}
