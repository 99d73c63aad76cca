//! Heads of HTTP/1: their lines, their order, and their division into writes.

use super::script;
use crate::exactness::http::dialogue::{Dialogue, HOST, request, response};

pub(super) fn all() -> Vec<Dialogue> {
    vec![
        script("keep-alive", |d| {
            for number in 0..20 {
                d.ask(&format!("GET /{number}"), request(&format!("GET /{number}?q={number}")));
                d.answer(200, response(200, number * 100));
            }
        }),
        script("pipelined-in-one-packet", |d| {
            pipeline(d);
            d.in_one_write(3);
            answers(d);
            d.in_one_write(3);
        }),
        script("pipelined-in-packets", |d| {
            pipeline(d);
            answers(d);
        }),
        script("request-byte-by-byte", |d| {
            d.ask("GET /slow", request("GET /slow")).in_pieces(1).answer(200, response(200, 3));
            d.ask("GET /next", request("GET /next")).answer(404, response(404, 3));
        }),
        script("response-byte-by-byte", |d| {
            d.ask("GET /slow", request("GET /slow")).answer(200, response(200, 30)).in_pieces(1);
            d.ask("GET /next", request("GET /next")).answer(404, response(404, 3));
        }),
        script("head-over-many-packets", |d| {
            let cookie = "c".repeat(50_000);
            d.ask("GET /cookie", format!("GET /cookie HTTP/1.1\r\nCookie: {cookie}\r\nHost: {HOST}\r\n\r\n"));
            d.in_pieces(1_000);
            d.answer(200, format!("HTTP/1.1 200 OK\r\nSet-Cookie: {cookie}\r\nContent-Length: 2\r\n\r\nok"));
            d.in_pieces(777);
            d.ask("GET /next", request("GET /next")).answer(204, "HTTP/1.1 204 None\r\n\r\n");
        }),
        script("head-too-large", |d| {
            // In these exchanges the product sees that the client waits for each answer, so it can match the requests
            // after the large one.
            for path in ["/1", "/2"] {
                d.ask(&format!("GET {path}"), request(&format!("GET {path}"))).answer(200, response(200, 1));
            }
            let line = format!("X-Large: {}\r\n", "l".repeat(8_000));
            d.ask("GET /large", format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", line.repeat(12)));
            d.answer(431, response(431, 4));
            d.unobserved("headTooLarge");
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 1));
        }),
        script("line-feeds-alone", |d| {
            d.ask("GET /lf", format!("GET /lf HTTP/1.1\nHost: {HOST}\n\n"));
            d.answer(200, "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc");
            d.ask("POST /lf/2", format!("POST /lf/2 HTTP/1.1\nContent-Length: 5\nHost: {HOST}\n\nhello"));
            d.answer(201, "HTTP/1.1 201 Made\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n");
        }),
        script("folded-lines", |d| {
            let folded =
                format!("GET /fold HTTP/1.1\r\nX-Folded: one\r\n two\r\n\tthree\r\nHost: {HOST}\r\n\r\n");
            d.ask("GET /fold", folded);
            d.answer(
                200,
                "HTTP/1.1 200 OK\r\nX-Folded: a\r\n  Content-Length: 9\r\nContent-Length: 1\r\n\r\nx",
            );
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 0));
        }),
        script("absolute-form", |d| {
            let line = "GET http://User:Secret@Far.Example:8080/proxied?token=1 HTTP/1.1\r\nHost: near.example\r\n\r\n";
            d.ask("GET /proxied", line).but(|known| known.host = "far.example:8080".to_owned());
            d.answer(200, response(200, 1));
            d.ask("OPTIONS *", "OPTIONS http://far.example HTTP/1.1\r\nHost: far.example\r\n\r\n");
            d.but(|known| known.host = "far.example".to_owned()).answer(204, "HTTP/1.1 204 None\r\n\r\n");
        }),
        script("asterisk-form", |d| {
            d.ask("OPTIONS *", request("OPTIONS *")).answer(200, response(200, 0));
        }),
        script("http-1.0", |d| {
            d.ask("GET /old", "GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").but(|known| {
                known.protocol = "HTTP/1.0".to_owned();
                known.host.clear();
            });
            d.answer(200, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
            d.ask("GET /new", request("GET /new")).answer(200, response(200, 2));
        }),
        script("empty-lines-before-requests", |d| {
            d.ask("GET /1", request("GET /1")).answer(200, response(200, 2));
            d.ask("GET /2", format!("\r\n\r\n{}", request("GET /2"))).but(|known| known.request_bytes = None);
            d.answer(200, response(200, 2));
        }),
        script("methods-of-all-kinds", |d| {
            for method in ["PROPFIND", "M-SEARCH", "BASELINE-CONTROL", "PATCH", "TRACE", "X"] {
                let path = format!("/{}", method.to_lowercase());
                d.ask(&format!("{method} {path}"), request(&format!("{method} {path}")));
                d.answer(207, response(207, 6));
            }
        }),
        script("statuses-of-all-kinds", |d| {
            for status in [200, 206, 299, 300, 302, 400, 418, 451, 500, 511, 599, 999] {
                d.ask(&format!("GET /{status}"), request(&format!("GET /{status}")));
                d.answer(status, response(status, 6));
            }
        }),
    ]
}

fn pipeline(d: &mut Dialogue) {
    d.ask("GET /1", request("GET /1"));
    d.ask("HEAD /2", request("HEAD /2"));
    d.ask("POST /3", format!("POST /3 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nGET /"));
}

fn answers(d: &mut Dialogue) {
    d.answer(200, response(200, 5));
    d.answer(200, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    d.answer(503, response(503, 70_000));
}
