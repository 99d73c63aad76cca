//! Bodies of HTTP/1 and the ways in which they end.

use super::script;
use crate::exactness::http::dialogue::{Dialogue, HOST, request, response};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

pub(super) fn all() -> Vec<Dialogue> {
    vec![
        script("chunked-with-extensions-and-trailers", |d| {
            let head = format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\n{CHUNKED}");
            d.ask("POST /up", head).ask_on("5;name=\"a;b\"\r\nhello\r\n").ask_on("00A ; x\r\n0123456789\r\n");
            d.ask_on("0;last\r\nX-Trailer: Content-Length: 77\r\n\r\n");
            d.answer(200, format!("HTTP/1.1 200 OK\r\n{CHUNKED}"));
            d.answer_on(format!("{:X}\r\n{}\r\n", 100_000, "y".repeat(100_000)))
                .answer_on("0\r\nETag: \"1\"\r\n\r\n");
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("chunked-byte-by-byte", |d| {
            let body = format!(
                "HTTP/1.1 200 OK\r\n{CHUNKED}1\r\na\r\n1f\r\n{}\r\n0\r\n\r\n",
                "0\r\n\r\n".repeat(6) + "z"
            );
            d.ask("GET /chunks", request("GET /chunks")).answer(200, body).in_pieces(1);
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("a-thousand-chunks", |d| {
            let body = "3\r\nabc\r\n".repeat(1_000);
            d.ask("GET /chunks", request("GET /chunks"));
            d.answer(200, format!("HTTP/1.1 200 OK\r\n{CHUNKED}{body}0\r\n\r\n"));
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("bodies-that-look-like-messages", |d| {
            let body = format!("{}{}0\r\n\r\n", response(500, 9), request("GET /false")).repeat(400);
            up_and_down(d, &body);
        }),
        script("megabytes", |d| {
            let body = "m".repeat(3 << 20);
            up_and_down(d, &body);
        }),
        script("responses-without-bodies", |d| {
            for (path, status) in [("/304", 304), ("/204", 204)] {
                d.ask(&format!("GET {path}"), request(&format!("GET {path}")));
                d.answer(status, format!("HTTP/1.1 {status} Words\r\nX: y\r\n\r\n"));
            }
            d.ask("GET /304/length", request("GET /304/length"));
            d.answer(304, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n");
            d.ask("HEAD /head", request("HEAD /head"));
            d.answer(200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            d.ask("HEAD /head/404", request("HEAD /head/404"));
            d.answer(404, "HTTP/1.1 404 Not Found\r\nContent-Length: 77\r\n\r\n");
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("interim-responses", |d| {
            d.ask("GET /hints", request("GET /hints"));
            d.interim("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            d.interim("HTTP/1.1 102 Processing\r\n\r\n").answer(200, response(200, 4));
            d.ask("GET /both", request("GET /both"));
            d.answer(200, format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", response(200, 4)));
        }),
        script("continue-granted", |d| {
            d.ask("PUT /up", put("/up", 100_000)).interim("HTTP/1.1 100 Continue\r\n\r\n");
            d.ask_on("u".repeat(100_000)).answer(201, response(201, 0));
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("continue-refused", |d| {
            d.ask("PUT /up", put("/up", 100_000)).answer(417, response(417, 0));
            // The client does not send the announced body, so this connection can carry no further request.
        }),
        script("answered-before-the-end-of-the-request", |d| {
            let head = format!("PUT /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 30000\r\n\r\n");
            d.ask("PUT /up", head).ask_on("u".repeat(10_000)).answer(413, response(413, 10));
            d.ask_on("u".repeat(20_000));
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("two-equal-lengths", |d| {
            d.ask(
                "POST /up",
                format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3, 3\r\n\r\nabc"),
            );
            d.answer(200, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd");
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("chunked-beats-a-length", |d| {
            let head = format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 999\r\n{CHUNKED}");
            d.ask("POST /up", head + "3\r\nabc\r\n0\r\n\r\n");
            d.answer(
                200,
                format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n{CHUNKED}3\r\nabc\r\n0\r\n\r\n"),
            );
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
    ]
}

fn put(path: &str, length: usize) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

/// Sends this body in both directions, and then one more request.
fn up_and_down(d: &mut Dialogue, body: &str) {
    let length = body.len();
    d.ask("PUT /up", format!("PUT /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}"));
    d.answer(200, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"));
    d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
}
