//! HTTP/2 frames, encoded by hand.

use super::{
    dialogue::{
        Dialogue,
        End::{Client, Server},
        HOST,
    },
    known::Known,
};

/// The bytes with which a client begins a connection.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// Encodes a frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Encodes a string without Huffman coding (RFC 7541, section 5.2).
fn text(text: &str) -> Vec<u8> {
    let length = text.len();
    let mut bytes = Vec::new();
    if length < 127 {
        bytes.push(length as u8);
    } else {
        bytes.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            bytes.push((rest % 128 + 128) as u8);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// Encodes fields that do not enter the header table.
pub(super) fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    list.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Encodes fields that enter the header table.
pub(super) fn kept_fields(list: &[(&str, &str)]) -> Vec<u8> {
    list.iter().flat_map(|(name, value)| [vec![0x40], text(name), text(value)].concat()).collect()
}

/// Returns the fields of a request.
pub(super) fn asks<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", HOST), (":path", path)]
}

/// Returns the expectation of an HTTP/2 exchange.
pub(super) fn known(method: &str, path: &str, status: Option<u16>, request: usize, response: usize) -> Known {
    Known {
        protocol: "HTTP/2".to_owned(),
        status,
        response_bytes: Some(response as u64),
        ..Known::asked(method, HOST, path, request as u64)
    }
}

/// Adds the beginning of an HTTP/2 connection at both ends.
pub(super) fn begin(d: &mut Dialogue) {
    d.say(Client, [PREFACE, &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])].concat());
    d.say(Server, frame(SETTINGS, 0, 0, b"")).say(Client, frame(SETTINGS, 1, 0, b""));
    d.say(Server, frame(SETTINGS, 1, 0, b""));
}

/// Adds one exchange whose response has a body.
pub(super) fn exchange(d: &mut Dialogue, stream: u32, method: &str, path: &str, status: u16, body: &[u8]) {
    let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&asks(method, path)));
    let code = status.to_string();
    let mut response = frame(HEADERS, END_HEADERS, stream, &fields(&[(":status", &code)]));
    response.extend(frame(DATA, END_STREAM, stream, body));
    d.know(known(method, path, Some(status), request.len(), response.len()));
    d.say(Client, request).say(Server, response);
}
