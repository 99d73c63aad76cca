//! Tests of all forms of HTTP/1 messages, without losses.

use super::*;

/// Plays a conversation with a piece for each message and with a piece for each byte, and returns its exchanges as
/// lines.
fn converse(script: &[(Way, &str)]) -> Vec<String> {
    let mut whole = Talk::new();
    let mut single = Talk::new();
    for &(way, text) in script {
        whole.pass(way, text);
        for byte in text.as_bytes() {
            single.piece(way, &[*byte], 1, false, false);
        }
    }
    let (whole, single) = (whole.close(false), single.close(false));
    assert_eq!(whole.lines(), single.lines(), "the cut makes no difference");
    assert_eq!(whole.unobserved, single.unobserved);
    assert_eq!(whole.unobserved, []);
    whole.lines()
}

/// Plays one request and one response, and returns their exchanges as lines.
fn exchange(request: &str, response: &str) -> Vec<String> {
    converse(&[(REQUESTS, request), (RESPONSES, response)])
}

#[test]
fn lengths_chunks_and_closes_end_bodies() {
    assert_eq!(exchange(GET, OK), ["GET h /a 200 28 40"]);
    let post = "POST /p HTTP/1.1\r\nHost: H:80\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
                5;name=\"v\"\r\nhello\r\n0a \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    let created = "HTTP/1.1 201\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\nx\n000\n\n";
    let (sent, received) = (post.len(), created.len());
    assert_eq!(
        converse(&[(REQUESTS, post), (RESPONSES, created), (REQUESTS, GET), (RESPONSES, OK)]),
        [format!("POST h:80 /p 201 {sent} {received}"), "GET h /a 200 28 40".into()]
    );
    let until_close = "HTTP/1.0 200 OK\n\nall of it";
    assert_eq!(exchange("GET /old HTTP/1.0\n\n", until_close), ["GET  /old 200 19 26"]);
    let other_coding = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 1\r\n\r\nabc";
    assert_eq!(exchange(GET, other_coding).len(), 1);
}

#[test]
fn responses_without_a_body() {
    for code in ["204 No Content", "304 Not Modified"] {
        let response = format!("HTTP/1.1 {code}\r\nContent-Length: 100\r\n\r\n");
        let script = [(REQUESTS, GET), (RESPONSES, &*response), (REQUESTS, GET), (RESPONSES, OK)];
        assert_eq!(converse(&script)[1], "GET h /a 200 28 40");
    }
    let head = "HEAD /h HTTP/1.1\r\n\r\n";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let script = [(REQUESTS, head), (REQUESTS, GET), (RESPONSES, length), (RESPONSES, OK)];
    assert_eq!(converse(&script), ["HEAD  /h 200 20 40", "GET h /a 200 28 40"]);
}

#[test]
fn interim_responses_are_not_final() {
    let post = "POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let script = [
        (REQUESTS, post),
        (RESPONSES, "HTTP/1.1 100 Continue\r\n\r\n"),
        (REQUESTS, "abc"),
        (RESPONSES, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        (RESPONSES, OK),
    ];
    assert_eq!(converse(&script), [format!("POST  /p 200 {} {}", post.len() + 3, 25 + 37 + 40)]);
}

#[test]
fn early_responses_wait_for_the_end_of_the_request() {
    let post = "POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nab";
    let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    let mut talk = Talk::new();
    talk.request(post);
    talk.response(early);
    assert_eq!(talk.record.lines(), [""; 0]);
    talk.piece(REQUESTS, b"cde", 3, false, false);
    let exchange = &talk.record.exchanges[0];
    assert_eq!((exchange.began, exchange.first_byte, exchange.ended), (1, Some(2), 3));
    assert_eq!(line(exchange), "POST  /p 413 44 45");
}

#[test]
fn a_body_refused_before_it_was_sent_is_not_awaited() {
    let post = "POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n";
    let refusal = "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n";
    let mut talk = Talk::new();
    talk.request(post);
    talk.response(refusal);
    talk.request(GET);
    talk.response(OK);
    assert_eq!(
        talk.close(false).lines(),
        [format!("POST  /p 417 {} 38", post.len()), "GET h /a 200 28 40".into()]
    );
}

#[test]
fn targets_lose_what_is_private() {
    let target = |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: user:pw@Example.ORG\r\n\r\n");
        let lines = exchange(&request, "HTTP/1.1 204 x\r\n\r\n");
        lines[0].rsplitn(4, ' ').last().expect("a line has a path").to_owned()
    };
    assert_eq!(target("GET /a?token=x#y"), "GET example.org /a");
    assert_eq!(target("GET http://me:secret@Other:81/b/c?d"), "GET other:81 /b/c");
    assert_eq!(target("GET http://other?d"), "GET other /");
    assert_eq!(target("OPTIONS *"), "OPTIONS example.org *");
    assert_eq!(target("OPTIONS http://other"), "OPTIONS other *");
    assert_eq!(target("PROPFIND /p"), "PROPFIND example.org /p");
    assert_eq!(target("GET /a?u=http://x"), "GET example.org /a");
    assert_eq!(target("GET /ä"), "GET example.org /ä");
    let long = format!("GET /{}", "x".repeat(2_000));
    assert_eq!(target(&long).len(), "GET example.org ".len() + 1_024);
}

#[test]
fn targets_that_are_no_text_are_kept_as_far_as_they_are() {
    let mut talk = Talk::new();
    talk.pass(REQUESTS, b"GET /\xff\xfe HTTP/1.1\r\n\r\n");
    talk.response(OK);
    assert_eq!(talk.record.exchanges[0].path, "/\u{fffd}\u{fffd}");
}

#[test]
fn odd_heads_are_read() {
    let folded = "\r\n\nGET /f HTTP/1.1\r\nX: a\r\n b\r\nHost:\r\n folded\r\nbad name: x\r\n\r\n";
    assert_eq!(exchange(folded, OK), ["GET folded /f 200 58 40"]);
    let twice = "POST /t HTTP/1.1\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(exchange(twice, OK).len(), 1);
    let spoken = "GET /s HTTP/1.1\nHost: x\n\n";
    assert_eq!(exchange(spoken, "HTTP/1.1 200\nContent-Length: 1\n\nx"), ["GET x /s 200 25 33"]);
}

#[test]
fn pipelined_requests_pair_by_order() {
    let requests: String = (0..5).map(|index| format!("GET /{index} HTTP/1.1\r\n\r\n")).collect();
    let responses: String =
        (0..5).map(|index| format!("HTTP/1.1 20{index} x\r\nContent-Length: 0\r\n\r\n")).collect();
    let lines = exchange(&requests, &responses);
    assert_eq!(lines, (0..5).map(|index| format!("GET  /{index} 20{index} 19 37")).collect::<Vec<_>>());
}

#[test]
fn tunnels_and_other_protocols_end_the_parsing() {
    let websocket = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let connect = "CONNECT user@Host:443 HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases = [
        (websocket, switching, "GET  /ws 101"),
        (connect, "HTTP/1.1 200 OK\r\n\r\n\x16\x03", "CONNECT host:443  200"),
    ];
    for (request, response, expected) in cases {
        let mut talk = Talk::new();
        talk.request(request);
        talk.response(response);
        assert_eq!(talk.connection.language(), Language::Left);
        talk.request(GET);
        let record = talk.close(false);
        assert!(record.lines()[0].starts_with(expected), "{record:?}");
        assert_eq!((record.lines().len(), record.unobserved_count()), (1, 0));
    }
    let refused = [
        (REQUESTS, connect),
        (RESPONSES, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
        (REQUESTS, GET),
        (RESPONSES, OK),
    ];
    assert_eq!(converse(&refused).len(), 2);
}

#[test]
fn connections_that_close_without_an_answer_have_no_status() {
    assert_eq!(converse(&[(REQUESTS, GET)]), ["GET h /a NoResponse 28 0"]);
    assert_eq!(exchange(GET, "HTTP/1.1 20"), ["GET h /a NoResponse 28 0"]);
    assert_eq!(exchange(GET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), ["GET h /a 200 28 40"]);
    let mut talk = Talk::new();
    talk.request(GET);
    talk.fin(RESPONSES);
    assert_eq!(talk.record.lines(), ["GET h /a NoResponse 28 0"], "the FIN is enough");
}

#[test]
fn a_fin_ends_a_body_without_a_length() {
    let mut talk = Talk::new();
    talk.request("GET / HTTP/1.0\r\n\r\n");
    talk.response("HTTP/1.0 200 OK\r\n\r\nbegin");
    talk.miss(RESPONSES, 5_000);
    talk.fin(RESPONSES);
    assert_eq!(talk.record.lines(), ["GET  / 200 18 5024"]);
    assert_eq!(talk.record.exchanges[0].ended, 3);
}

#[test]
fn unsolicited_responses_are_ignored() {
    let timeout = "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(converse(&[(REQUESTS, GET), (RESPONSES, OK), (RESPONSES, timeout)]).len(), 1);
    assert_eq!(
        converse(&[(REQUESTS, GET), (RESPONSES, OK), (RESPONSES, timeout), (REQUESTS, GET), (RESPONSES, OK)])
            .len(),
        2
    );
}

#[test]
fn upgrades_to_http2_leave_http1_after_the_101() {
    let mut talk = Talk::new();
    talk.request("GET /u HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n");
    assert_eq!(talk.connection.language(), Language::Http1);
    talk.response("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(talk.connection.language(), Language::Http2);
    assert_eq!(talk.connection.side(), Some(Side::Server));
    assert_eq!(talk.record.lines(), [""; 0], "the response comes on stream 1");
}

#[test]
fn the_side_follows_the_requests() {
    let mut talk = Talk::new();
    talk.pass(Way::Sent, "GET / HTTP/1.0\r\n\r\n");
    talk.pass(Way::Received, OK);
    assert_eq!(talk.connection.side(), Some(Side::Client));
    let exchange = &talk.record.exchanges[0];
    assert_eq!((exchange.side, exchange.protocol), (Side::Client, Protocol::Http10));
    assert_eq!(talk.connection.idle_since(), 2);
}

#[test]
fn protocols_are_told_by_their_first_bytes() {
    let language = |pieces: &[(Way, &[u8])], start| {
        let mut talk = Talk::with(start);
        for &(way, bytes) in pieces {
            talk.pass(way, bytes);
        }
        let (language, memory) = (talk.connection.language(), talk.connection.memory());
        let record = talk.close(false);
        if language == Language::Other {
            assert_eq!((record.exchanges.len(), record.unobserved_count(), memory), (0, 0, 0));
        }
        language
    };
    let settings: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let hello: &[u8] = b"\x16\x03\x01\x02\0\x01\0";
    let others: [&[u8]; 9] = [
        b"\x16\x03\x01\x02\0\x01\0",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"EHLO mail.example\r\n",
        b"GET /old\r\n",
        b"get key\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"PRI * HTTP/2.1\r\n\r\n",
        b"HTTP/1.x nonsense\r\n",
        b"\0\0\0\x04\0\x01\0\0\0",
    ];
    for other in others {
        assert_eq!(language(&[(REQUESTS, other)], Start::Whole), Language::Other, "{}", other.escape_ascii());
    }
    assert_eq!(language(&[(REQUESTS, preface)], Start::Whole), Language::Http2);
    assert_eq!(language(&[(REQUESTS, &preface[..3])], Start::Whole), Language::Undecided);
    assert_eq!(
        language(&[(REQUESTS, &preface[..3]), (REQUESTS, &preface[3..])], Start::Whole),
        Language::Http2
    );
    assert_eq!(language(&[(RESPONSES, settings)], Start::Whole), Language::Undecided);
    assert_eq!(language(&[(RESPONSES, settings), (REQUESTS, preface)], Start::Whole), Language::Http2);
    assert_eq!(language(&[(RESPONSES, settings)], Start::Joined), Language::Http2);
    assert_eq!(language(&[(REQUESTS, hello)], Start::Joined), Language::Undecided);
    assert_eq!(language(&[(REQUESTS, hello); 16], Start::Joined), Language::Other);
    assert_eq!(language(&[(REQUESTS, GET.as_bytes())], Start::Joined), Language::Http1);
}

#[test]
fn a_request_is_under_way_from_its_head_to_its_report() {
    let post = "POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
    let mut talk = Talk::new();
    let mut passed = |way: Way, text: &str| {
        talk.piece(way, text.as_bytes(), text.len(), false, false);
        (talk.connection.under_way(), talk.record.exchanges.len())
    };
    assert_eq!(passed(REQUESTS, &GET[..20]), (0, 0));
    assert_eq!(passed(REQUESTS, &GET[20..]), (1, 0));
    assert_eq!(passed(REQUESTS, post), (2, 0));
    assert_eq!(passed(RESPONSES, OK), (1, 1));
    assert_eq!(passed(RESPONSES, OK), (1, 1), "the body of the answered request has not passed");
    assert_eq!(passed(REQUESTS, "abc"), (0, 2));
}

#[test]
fn bytes_that_are_no_request_are_counted() {
    let mut talk = Talk::new();
    talk.request(GET);
    talk.response(OK);
    talk.request("\x01\x02 is no request\r\n\r\n");
    talk.response("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let record = talk.close(false);
    assert_eq!(record.lines(), ["GET h /a 200 28 40"]);
    assert_eq!(record.unobserved, [(Reason::Malformed, 1)]);
}

#[test]
fn a_connection_pauses_where_messages_begin_on_both_ways() {
    let mut talk = Talk::new();
    let mut passed = |way: Way, text: &str| {
        talk.piece(way, text.as_bytes(), text.len(), false, false);
        talk.connection.pause().is_some_and(|pause| pause == talk.sequence)
    };
    assert!(!passed(REQUESTS, &GET[..9]) && !passed(REQUESTS, &GET[9..]));
    assert!(!passed(RESPONSES, &OK[..OK.len() - 1]));
    assert!(passed(RESPONSES, "k"));
    assert!(!passed(REQUESTS, GET));
    assert!(passed(RESPONSES, OK));
    // The piece is held, because bytes before it are missing.
    talk.miss(RESPONSES, 5);
    talk.piece(RESPONSES, b"x", 1, false, false);
    assert_eq!(talk.connection.pause(), None);
}

#[test]
fn a_connection_with_a_loss_behind_it_pauses_only_when_its_order_is_sure() {
    let mut talk = Talk::new();
    talk.request(GET);
    talk.response(OK);
    // Requests may have been lost here whose responses are still to come, so the connection does not pause.
    talk.miss(REQUESTS, 100);
    talk.after_loss(REQUESTS, "");
    assert_eq!(talk.connection.pause(), None);
}
