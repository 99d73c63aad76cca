//! The ways in which HTTP/1 connections end.

use super::script;
use crate::exactness::http::dialogue::{
    Dialogue,
    End::{Client, Server},
    request, response,
};

pub(super) fn all() -> Vec<Dialogue> {
    vec![
        script("body-until-the-end", |d| {
            d.ask("GET /old", "GET /old HTTP/1.0\r\n\r\n").but(|known| {
                known.protocol = "HTTP/1.0".to_owned();
                known.host.clear();
            });
            d.answer(200, "HTTP/1.0 200 OK\r\n\r\n").answer_on("x".repeat(70_000)).shut(Server);
        }),
        script("body-until-a-reset", |d| {
            d.ask("GET /cut", request("GET /cut")).answer(200, "HTTP/1.1 200 OK\r\n\r\nsome");
            d.reset(Server);
        }),
        script("half-closed-by-the-client", |d| {
            d.ask("GET /half", request("GET /half")).shut(Client).answer(200, response(200, 50_000));
        }),
        script("closed-instead-of-an-answer", |d| {
            d.ask("GET /fine", request("GET /fine")).answer(200, response(200, 5));
            d.ask("GET /silence", request("GET /silence")).shut(Server);
        }),
        script("reset-instead-of-an-answer", |d| {
            d.ask("GET /reset", request("GET /reset")).reset(Server);
        }),
        script("reset-by-the-client", |d| {
            d.ask("GET /gone", request("GET /gone")).reset(Client);
        }),
        script("reset-in-a-body", |d| {
            d.ask("GET /cut", request("GET /cut"));
            d.answer(200, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nsome").reset(Client);
        }),
        script("closed-with-requests-waiting", |d| {
            for path in ["/1", "/2", "/3"] {
                d.ask(&format!("GET {path}"), request(&format!("GET {path}")));
            }
            d.answer(200, response(200, 5)).shut(Server);
        }),
        script("closed-in-an-upload", |d| {
            d.ask("PUT /up", "PUT /up HTTP/1.1\r\nHost: odd.example\r\nContent-Length: 5000\r\n\r\nsome")
                .shut(Client);
        }),
    ]
}
