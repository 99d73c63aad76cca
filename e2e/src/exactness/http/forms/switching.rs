//! Connections that leave HTTP/1.

use super::script;
use crate::exactness::http::{
    dialogue::{
        Dialogue,
        End::{Client, Server},
        HOST, request, response,
    },
    frames::{self, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, fields, frame},
};

pub(super) fn all() -> Vec<Dialogue> {
    vec![
        script("websocket", |d| {
            d.ask("GET /first", request("GET /first")).answer(200, response(200, 2));
            let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            d.ask("GET /chat", format!("GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n"));
            d.answer(101, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
            d.say(Client, b"\x81\x85abcdGET / HTTP/1.1\r\n\r\n").say(Server, request("GET /no"));
            d.say(Server, vec![0x82; 200_000]);
        }),
        script("upgrade-refused", |d| {
            let head = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
            d.ask("GET /chat", format!("GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n"));
            d.answer(200, response(200, 9));
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("connect-granted", |d| {
            d.ask("CONNECT ", "CONNECT far.example:443 HTTP/1.1\r\nHost: near.example\r\n\r\n");
            d.but(|known| known.host = "far.example:443".to_owned());
            d.answer(200, "HTTP/1.1 200 Established\r\n\r\n");
            d.say(Client, b"\x16\x03\x01").say(Server, request("GET /no")).say(Client, response(200, 2));
        }),
        script("connect-refused", |d| {
            d.ask("CONNECT ", "CONNECT far.example:443 HTTP/1.1\r\nHost: near.example\r\n\r\n");
            d.but(|known| known.host = "far.example:443".to_owned());
            d.answer(403, response(403, 7));
            d.ask("GET /next", request("GET /next")).answer(200, response(200, 2));
        }),
        script("upgrade-to-http2", |d| {
            let head = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
            d.ask("GET /h2c", format!("GET /h2c HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n"));
            d.but(|known| {
                known.protocol = "HTTP/2".to_owned();
                (known.request_bytes, known.response_bytes) = (None, None);
            });
            d.interim("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
            d.interim(frame(SETTINGS, 0, 0, b""))
                .say(Client, PREFACE)
                .say(Client, frame(SETTINGS, 0, 0, b""));
            d.answer(404, frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[(":status", "404")])));
            frames::exchange(d, 3, "GET", "/next", 200, b"hello");
        }),
    ]
}
