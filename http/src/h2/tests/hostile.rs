//! Tests of input that violates the protocol or asks for too much memory.

use super::{
    block::{MAX_BLOCK, MAX_FRAMES},
    streams::MAX_STREAMS,
    *,
};

/// Limit on the heap memory, in bytes, of a connection whose methods, hosts and paths are short.
const SMALL: usize = 1 << 20;

#[test]
fn a_block_that_is_too_large_is_counted_and_not_kept() {
    let mut f = Fixture::new();
    f.bytes(CLIENT, &frame(1, 1, 1, &[0x82; 16_384]));
    for _ in 0..1000 {
        f.bytes(CLIENT, &frame(9, 0, 1, &[0x82; 16_384]));
        assert!(f.parser.memory() <= 4 * MAX_BLOCK, "{}", f.parser.memory());
    }
    f.bytes(CLIENT, &frame(9, 4, 1, b""));
    f.headers(SERVER, 1, true, OK);
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![], vec![Reason::HeadTooLarge]));
    // The next request is decoded with a header table whose contents are unknown.
    f.bytes(CLIENT, &frame(1, 5, 3, &[0x82, 0xbe, 0x84]));
    f.headers(SERVER, 3, true, OK);
    assert_eq!((f.reports.exchanges[0].method.as_str(), f.reports.exchanges[0].path.as_str()), ("GET", "/"));
}

#[test]
fn a_flood_of_empty_continuations_is_too_large() {
    let mut f = Fixture::new();
    f.bytes(CLIENT, &frame(1, 1, 1, &[0x82]));
    for _ in 0..MAX_FRAMES {
        f.bytes(CLIENT, &frame(9, 0, 1, b""));
    }
    f.bytes(CLIENT, &frame(9, 4, 1, &[0x84]));
    assert_eq!(f.reports.reasons(), [Reason::HeadTooLarge]);
}

#[test]
fn responses_and_trailers_that_are_too_large() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.bytes(SERVER, &frame(1, 5, 1, &vec![0x88; MAX_BLOCK + 1]));
    f.headers(SERVER, 3, false, OK);
    f.bytes(SERVER, &frame(1, 5, 3, &vec![0x88; MAX_BLOCK + 1]));
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![Status::Code(200)], vec![Reason::HeadTooLarge]));
}

#[test]
fn streams_beyond_the_bound_are_counted() {
    let mut f = Fixture::new();
    let count = MAX_STREAMS as u32 + 5;
    for stream in 0..count {
        f.bytes(CLIENT, &frame(1, 5, stream * 2 + 1, &[0x82, 0x84]));
    }
    assert_eq!(f.reports.reasons(), [Reason::NoMemory; 5]);
    assert!(f.parser.memory() < SMALL, "{}", f.parser.memory());
    for stream in 0..count {
        f.bytes(SERVER, &frame(1, 5, stream * 2 + 1, &[0x88]));
    }
    assert_eq!(f.reports.exchanges.len(), MAX_STREAMS);
    assert!(f.parser.memory() < 20_000, "{}", f.parser.memory());
}

#[test]
fn streams_that_wait_or_are_in_doubt_give_way() {
    let mut f = Fixture::new();
    for stream in 0..MAX_STREAMS as u32 {
        f.bytes(CLIENT, &frame(1, 4, stream * 2 + 1, &[0x82, 0x84]));
    }
    f.headers(SERVER, 7, true, OK);
    f.hole(SERVER, true);
    f.bytes(CLIENT, &frame(1, 5, 10_001, &[0x82, 0x84]));
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![Status::Code(200)], vec![]));
    f.bytes(CLIENT, &frame(1, 5, 10_003, &[0x82, 0x84]));
    assert_eq!(f.reports.reasons(), [Reason::LostResponse]);
}

#[test]
fn streams_that_are_opened_and_reset_at_once_are_all_reported() {
    let mut f = Fixture::new();
    let count = MAX_STREAMS as u32 * 3;
    for stream in 0..count {
        f.bytes(CLIENT, &frame(1, 5, stream * 2 + 1, &[0x82, 0x84]));
        f.reset(CLIENT, stream * 2 + 1);
        assert!(f.parser.memory() < SMALL, "{}", f.parser.memory());
    }
    f.close();
    assert_eq!(f.statuses(), vec![Status::NoResponse; count as usize]);
    assert_eq!(f.reports.reasons(), []);
}

#[test]
fn frames_that_close_a_connection_lose_the_place() {
    let bad = [
        frame(0, 0, 0, b"x"),
        frame(1, 4, 0, b"x"),
        frame(1, 0xc, 3, &[9, 0x88]),
        frame(1, 0x24, 3, &[0, 0, 0, 0]),
        frame(3, 0, 1, b"x"),
        frame(4, 0, 0, b"x"),
        frame(5, 4, 1, b"x"),
        frame(6, 0, 0, b"x"),
        frame(7, 0, 0, b"x"),
        frame(8, 0, 0, b"x"),
        frame(9, 4, 1, b"x"),
        [frame(1, 0, 1, &[0x88]), frame(0, 0, 1, b"x")].concat(),
        [frame(1, 0, 1, &[0x88]), frame(9, 4, 3, b"x")].concat(),
    ];
    for bytes in bad {
        let mut f = Fixture::new();
        f.headers(CLIENT, 1, true, GET);
        f.bytes(SERVER, &bytes);
        assert_eq!(f.parser.skippable(SERVER), u64::MAX, "{bytes:x?}");
        f.close();
        assert_eq!((f.statuses(), f.reports.reasons()), (vec![], vec![Reason::Malformed]), "{bytes:x?}");
    }
}

#[test]
fn a_preface_of_something_else_is_not_parsed() {
    let mut f = Fixture::with(Parser::new(false));
    f.bytes(CLIENT, b"POST / HTTP/1.1\r\n\r\n");
    assert_eq!(f.parser.skippable(CLIENT), u64::MAX);
    f.close();
    assert_eq!((f.reports.exchanges.len(), f.reports.unobserved.len()), (0, 0));
}

#[test]
fn a_response_without_a_status_is_malformed() {
    let mut f = Fixture::new();
    f.headers(CLIENT, 1, true, GET);
    f.headers(CLIENT, 3, true, GET);
    f.headers(CLIENT, 5, true, GET);
    f.data(SERVER, 1, true);
    f.headers(SERVER, 3, true, &[("x", "y")]);
    f.headers(SERVER, 5, true, &[(":status", "2000")]);
    assert_eq!((f.statuses(), f.reports.reasons()), (vec![Status::Unknown], vec![Reason::Malformed; 2]));
}

#[test]
fn a_client_that_promises_is_followed_and_not_believed() {
    let mut f = Fixture::new();
    let block = f.block(CLIENT, &[GET, &[("x-a", "b")]].concat());
    f.bytes(CLIENT, &frame(5, 4, 1, &[&[0, 0, 0, 2], block.as_slice()].concat()));
    f.headers(CLIENT, 1, true, GET);
    f.headers(SERVER, 1, true, OK);
    f.close();
    assert_eq!((f.reports.exchanges.len(), f.reports.unobserved.len()), (1, 0));
    assert_eq!(f.reports.exchanges[0].path, "/a");
}
