//! Tests of the lines for people.

use traffictrace_http::{Exchange, Protocol};

use super::*;
use crate::{
    host::Names,
    http_log::testing::{exchange, of_nginx, unknown},
};

/// Returns the heading and the lines of these requests, without the column of the time.
fn lines(colours: bool, requests: &[HttpExchange]) -> Vec<String> {
    let (mut lines, mut text, clock) = (Lines::new(colours, false, TimeZone::UTC), Vec::new(), Clock::new());
    lines.heading(&mut text).unwrap();
    for request in requests {
        lines.request(request, &Containers::new(), &clock, &mut text).unwrap();
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| line.chars().skip(14).collect()).collect()
}

#[test]
fn a_request_is_one_line_below_its_heading() {
    assert_eq!(
        lines(false, &[of_nginx(exchange())]),
        [
            "SIDE    PROCESS           PEER                TLS  METHOD  STATUS          FIRST     TOTAL   REQUEST  RESPONSE  HOST                PATH",
            "Server  nginx(4711)       10.0.0.2:50000      -    GET     200            1.2 ms    1.5 ms      80 B   2.0 KiB  shop.example:8080   /carts/7",
        ]
    );
}

#[test]
fn time_is_of_the_day_to_the_millisecond() {
    let (mut lines, mut text) = (Lines::new(false, false, TimeZone::UTC), Vec::new());
    lines.request(&of_nginx(exchange()), &Containers::new(), &Clock::new(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let shape: String = text.chars().take(12).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00:00:00.000", "{text}");
}

#[test]
fn what_is_not_known_is_a_dash_and_a_missing_response_has_words() {
    let line = &lines(false, &[HttpExchange { pid: 0, ..of_nginx(unknown()) }])[1];
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "Server",
            "-",
            "10.0.0.2:50000",
            "-",
            "-",
            "no",
            "response",
            "-",
            "1.5",
            "ms",
            "80",
            "B",
            "2.0",
            "KiB",
            "-",
            "-"
        ]
    );
}

#[test]
fn grpc_has_both_statuses() {
    let grpc = Exchange { protocol: Protocol::Grpc, grpc_status: Some(14), ..exchange() };
    assert!(lines(false, &[of_nginx(grpc.clone())])[1].contains(" 200/14 "));
    assert!(lines(true, &[of_nginx(grpc)])[1].contains("\x1b[31m200/14\x1b[0m"), "a failure");
}

#[test]
fn colours_are_by_class_and_change_no_column() {
    let statuses = [101, 200, 304, 404, 503].map(Status::Code).into_iter().chain([Status::NoResponse]);
    let requests: Vec<_> = statuses.map(|status| of_nginx(Exchange { status, ..exchange() })).collect();
    let (plain, coloured) = (lines(false, &requests), lines(true, &requests));
    assert!(plain.iter().all(|line| !line.contains('\x1b')));
    for (plain, coloured) in plain.iter().zip(&coloured) {
        let mut without = coloured.replace("\x1b[0m", "");
        for code in 31..=36 {
            without = without.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(&without, plain);
    }
    assert!(coloured[5].contains("\x1b[31m503"));
}

#[test]
fn long_values_keep_the_columns_of_the_next_line() {
    let long = Exchange { host: "h".repeat(255), method: "M".repeat(32), ..exchange() };
    let lines = lines(false, &[of_nginx(exchange()), of_nginx(long), of_nginx(exchange())]);
    let path = |line: &str| line.find("/carts").unwrap_or_default();
    assert_eq!(path(&lines[3]), path(&lines[1]) + 2 + 14, "METHOD and HOST grew to their limits");
}

#[test]
fn nothing_from_traffic_moves_the_cursor() {
    let evil = "\x1b]0;x\x07\u{9b}2J\u{202e}\r\n\t";
    let mut request =
        of_nginx(Exchange { method: evil.into(), host: evil.into(), path: format!("/{evil}"), ..exchange() });
    request.owner.command[..4].copy_from_slice(b"\x1b[2J");
    let lines = lines(false, &[request]);
    assert_eq!(lines.len(), 2);
    assert!(!lines[1].chars().any(|c| c.is_control() || c == '\u{202e}'), "{}", lines[1]);
}

#[test]
fn secrets_in_paths_are_masked() {
    let path = "/reset/token=abc?user=me".to_owned();
    let line = &lines(false, &[of_nginx(Exchange { path, ..exchange() })])[1];
    assert!(line.ends_with("/reset/token={token}"), "{line}");
}

#[test]
fn durations_have_units() {
    for (value, text) in [
        (0, "0 µs"),
        (999, "999 µs"),
        (1_000, "1.0 ms"),
        (12_345, "12.3 ms"),
        (999_949, "999.9 ms"),
        (1_000_000, "1.00 s"),
        (65_432_100, "65.43 s"),
    ] {
        assert_eq!(microseconds(value), text);
    }
}

#[test]
fn where_several_are_traced_each_request_names_its_container() {
    let (mut lines, mut text, clock) = (Lines::new(false, true, TimeZone::UTC), Vec::new(), Clock::new());
    let names = Names { pod: Some("web\u{1b}".into()), container: Some("nginx".into()), ..Names::default() };
    lines.heading(&mut text).unwrap();
    for containers in [Containers::from([(9, names)]), Containers::new()] {
        lines.request(&of_nginx(exchange()), &containers, &clock, &mut text).unwrap();
    }
    let text = String::from_utf8(text).unwrap();
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][1..5], ["SIDE", "CONTAINER", "PROCESS", "PEER"]);
    assert_eq!(words[1][1..4], ["Server", "web?/nginx", "nginx(4711)"]);
    assert_eq!(words[2][1..4], ["Server", "-", "nginx(4711)"]);
}
