//! The heads of messages, parsed by the crate httparse.

use std::{borrow::Cow, mem::MaybeUninit};

use httparse::{Header, ParserConfig, Request, Response};
use memchr::{memchr, memchr_iter};

use super::fields::{Fields, Framing};
use super::{Malformed, target};
use crate::Protocol;

/// The head of a request.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) protocol: Protocol,
    /// Framing of the body. A request whose framing is malformed still counts as a request, which is unobserved.
    pub(super) framing: Result<Framing, Malformed>,
    /// True if the request offers an upgrade to HTTP/2 (`Upgrade: h2c`).
    pub(super) h2c: bool,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) code: u16,
    /// Framing of the body, if the method and the code allow a body.
    pub(super) framing: Result<Framing, Malformed>,
    /// True if the response accepts an upgrade to HTTP/2 (`Upgrade: h2c`).
    pub(super) h2c: bool,
}

/// Memory into which httparse writes the fields of a head.
type Room<'a> = [MaybeUninit<Header<'a>>];

/// Number of lines up to which the fields of a head are stored on the stack.
const FEW_LINES: usize = 32;

/// Parses a complete request head.
pub(super) fn request(head: &[u8]) -> Result<RequestHead, Malformed> {
    let (head, lines) = one_line_each(head);
    let (mut few, mut many) = ([MaybeUninit::uninit(); FEW_LINES], Vec::new());
    let mut request = Request::new(&mut []);
    let room = room(lines, &mut few, &mut many);
    let parsed = config().parse_request_with_uninit_headers(&mut request, &head, room);
    if matches!(parsed, Ok(httparse::Status::Complete(_))) {
        return request_head(&request);
    }
    // A head with a valid request line is a request, even if its fields are not valid.
    let line = [first_line(&head), b"\r\n\r\n"].concat();
    let mut request = Request::new(&mut []);
    config().parse_request(&mut request, &line).map_err(|_| Malformed)?;
    Ok(RequestHead { framing: Err(Malformed), ..request_head(&request)? })
}

/// Parses a complete response head.
pub(super) fn response(head: &[u8]) -> Result<ResponseHead, Malformed> {
    let (head, lines) = one_line_each(head);
    let (mut few, mut many) = ([MaybeUninit::uninit(); FEW_LINES], Vec::new());
    let mut response = Response::new(&mut []);
    let room = room(lines, &mut few, &mut many);
    config().parse_response_with_uninit_headers(&mut response, &head, room).map_err(|_| Malformed)?;
    let code = response.code.filter(|&code| code >= 100).ok_or(Malformed)?;
    let fields = fields(response.headers);
    Ok(ResponseHead { code, framing: fields.of_response(), h2c: fields.h2c })
}

/// Returns whether a line, including its end, is a request line of HTTP/1.
pub(super) fn is_request_line(line: &[u8]) -> bool {
    let line = [&*one_line_each(first_line(line)).0, b"\r\n\r\n"].concat();
    config().parse_request(&mut Request::new(&mut []), &line).is_ok_and(|parsed| parsed.is_complete())
}

/// Returns whether a line, including its end, is a status line of HTTP/1.
pub(super) fn is_status_line(line: &[u8]) -> bool {
    let line = [first_line(line), b"\r\n\r\n"].concat();
    config().parse_response(&mut Response::new(&mut []), &line).is_ok_and(|parsed| parsed.is_complete())
}

fn request_head(request: &Request<'_, '_>) -> Result<RequestHead, Malformed> {
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Malformed);
    };
    let fields = fields(request.headers);
    let (host, path) = target::host_and_path(method, path, fields.host);
    let protocol = if version == 0 { Protocol::Http10 } else { Protocol::Http11 };
    let method = target::method(method);
    Ok(RequestHead { method, host, path, protocol, framing: fields.of_request(), h2c: fields.h2c })
}

fn fields<'a>(headers: &[Header<'a>]) -> Fields<'a> {
    let mut fields = Fields::default();
    for header in headers {
        fields.add(header.name, header.value);
    }
    fields
}

/// Returns a parser as lenient as servers and clients are: it accepts several spaces in the first line, and skips
/// invalid fields.
fn config() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true);
    config
}

/// Returns memory for the fields of a head with `lines` lines: `few`, which is on the stack, or else `many`.
fn room<'a, 'b>(
    lines: usize,
    few: &'a mut Room<'b>,
    many: &'a mut Vec<MaybeUninit<Header<'b>>>,
) -> &'a mut Room<'b> {
    if lines <= few.len() {
        return few;
    }
    many.resize(lines, MaybeUninit::uninit());
    many
}

/// Returns the first line without its line ending.
fn first_line(head: &[u8]) -> &[u8] {
    let line = memchr(b'\n', head).map_or(head, |end| &head[..end]);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns the head in the form that httparse requires, and the number of its lines. Folded lines are unfolded (RFC
/// 9112, section 5.2), and invalid UTF-8 in the first line is replaced.
fn one_line_each(head: &[u8]) -> (Cow<'_, [u8]>, usize) {
    let mut head = Cow::Borrowed(head);
    let line = first_line(&head).len();
    if let Err(_invalid) = str::from_utf8(&head[..line]) {
        let mut valid = String::from_utf8_lossy(&head[..line]).into_owned().into_bytes();
        valid.extend_from_slice(&head[line..]);
        head = Cow::Owned(valid);
    }
    let (mut lines, mut folds) = (0, Vec::new());
    for feed in memchr_iter(b'\n', &head) {
        lines += 1;
        if matches!(head.get(feed + 1), Some(b' ' | b'\t')) {
            folds.push(feed);
        }
    }
    if !folds.is_empty() {
        let head = head.to_mut();
        for fold in folds {
            head[fold] = b' ';
            if fold > 0 && head[fold - 1] == b'\r' {
                head[fold - 1] = b' ';
            }
        }
    }
    (head, lines)
}
