//! Request targets (RFC 9112, section 3.2), without the parts that can contain private data: query, fragment and
//! userinfo.

/// Maximum number of bytes that are kept of a host.
const MAX_HOST: usize = 255;
/// Maximum number of bytes that are kept of a path.
const MAX_PATH: usize = 1_024;
/// Maximum number of bytes that are kept of a method.
const MAX_METHOD: usize = 32;

/// Cuts a method to the length that is kept.
pub(super) fn method(method: &str) -> String {
    cut(method, MAX_METHOD).to_owned()
}

/// Returns host and path of a request, without query, fragment and userinfo. If the target has an authority, it takes
/// precedence over `Host`.
pub(super) fn host_and_path(method: &str, target: &str, host: Option<&[u8]>) -> (String, String) {
    if method == "CONNECT" {
        return (authority(target), String::new());
    }
    if !target.starts_with('/')
        && let Some((before, rest)) = target.split_once("://")
        && is_scheme(before)
    {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let path = match without_query(&rest[end..]) {
            "" if method == "OPTIONS" => "*",
            "" => "/",
            path => path,
        };
        return (authority(&rest[..end]), cut(path, MAX_PATH).to_owned());
    }
    let host = host.map(|host| authority(&String::from_utf8_lossy(host))).unwrap_or_default();
    (host, cut(without_query(target), MAX_PATH).to_owned())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// Returns the authority at the beginning of a text, in lower case and without userinfo.
fn authority(text: &str) -> String {
    let text = text.split(['/', '?', '#']).next().unwrap_or_default();
    let host = text.rsplit('@').next().unwrap_or_default().trim();
    cut(host, MAX_HOST).to_ascii_lowercase()
}

/// Returns the longest prefix of a text that has at most `length` bytes.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}
