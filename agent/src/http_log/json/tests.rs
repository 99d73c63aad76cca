//! Tests of the JSON fields, which scripts of users read.

use serde_json::{Value, json};
use traffictrace_http::{Exchange, Protocol};

use super::*;
use crate::http_log::testing::{exchange, of_nginx, unknown};

fn line(of: &HttpExchange) -> Value {
    let mut text = Vec::new();
    request(of, &Containers::new(), &Clock::new(), &mut text).unwrap();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_request_has_every_field_and_its_time_in_microseconds() {
    let mut value = line(&of_nginx(exchange()));
    let time = value["time"].take();
    let time = time.as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000000Z".len(), "{time}");
    assert_eq!(
        value,
        json!({
            "time": null, "side": "Server", "pid": 4711, "containerPid": 7, "command": "nginx",
            "protocol": "HTTP/1.1", "tls": false, "method": "GET", "host": "shop.example:8080",
            "path": "/carts/7", "status": 200, "outcome": "Complete", "firstByteMicroseconds": 1200,
            "durationMicroseconds": 1500, "requestBytes": 80, "responseBytes": 2048,
            "localAddress": "10.0.0.1", "localPort": 8080, "remoteAddress": "10.0.0.2", "remotePort": 50000,
        })
    );
}

#[test]
fn what_is_not_known_is_null() {
    let mut request = HttpExchange { pid: 0, ..of_nginx(unknown()) };
    request.owner.command = [0; 16];
    let value = line(&request);
    for field in
        ["pid", "containerPid", "command", "method", "host", "path", "status", "firstByteMicroseconds"]
    {
        assert_eq!(value.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(value["outcome"], "NoResponse");
    assert_eq!(value.get("grpcStatus"), None);
}

#[test]
fn grpc_has_its_status() {
    let grpc =
        Exchange { protocol: Protocol::Grpc, grpc_status: Some(0), status: Status::Unknown, ..exchange() };
    let value = line(&of_nginx(grpc));
    assert_eq!((&value["protocol"], &value["grpcStatus"]), (&json!("gRPC"), &json!(0)));
    assert_eq!((&value["status"], &value["outcome"]), (&Value::Null, &json!("Unknown")));
}

#[test]
fn control_characters_and_secrets_stay_out() {
    let evil = "\x1b[2J\u{9b}2J\u{202e}";
    let request = of_nginx(Exchange {
        host: evil.into(),
        method: evil.into(),
        path: format!("/{evil}/password=1?q"),
        ..exchange()
    });
    let value = line(&request);
    let text = |field: &str| value[field].as_str().unwrap().to_owned();
    for field in ["host", "method", "path"] {
        assert!(!text(field).chars().any(|c| c.is_control() || c == '\u{202e}'), "{field}: {}", text(field));
    }
    assert!(text("path").ends_with("/password={token}"), "{}", text("path"));
}

#[test]
fn the_last_line_has_totals_and_what_is_missing() {
    let mut tally = Tally::default();
    tally.totals.sums.record(&exchange());
    tally.totals.unobserved.record(Reason::Malformed, 2);
    tally.missing.connections = 3;
    tally.missing.lost.records = 4;
    tally.missing.not_listed = 5;
    tally.missing.without_flow = 6;
    tally.missing.under_way = 7;
    tally.tls.push(TlsProcess {
        owner: of_nginx(exchange()).owner,
        pid: 4711,
        library: "OpenSSL 3.0.19".to_owned(),
        readable: true,
        reason: String::new(),
    });
    let mut text = Vec::new();
    ending(None, &tally, &mut text).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&text).unwrap(),
        json!({
            "totals": {
                "requests": 1,
                "byClass": {
                    "1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0, "noResponse": 0, "unknown": 0,
                },
                "grpcFailed": 0, "requestBytes": 80, "responseBytes": 2048,
            },
            "unobserved": {
                "lostResponse": 0, "headTooLarge": 0, "malformed": 2, "noMemory": 0, "missingBytes": 0,
                "connectionsNotFollowed": 3, "flowNotKnown": 6,
            },
            "lost": {
                "records": 4, "requests": 0, "responses": 0, "unknownRecords": 0, "notListed": 5,
                "tableFullEvents": 0,
            },
            "underWay": 7,
            "tls": [{
                "pid": 4711, "command": "nginx", "library": "OpenSSL 3.0.19", "readable": true, "reason": null,
            }],
        })
    );
}
