//! Header fields: the few that are evaluated, and the parts of them that are kept.

use crate::Status;

/// Maximum number of bytes that are kept of a method.
const METHOD: usize = 32;
/// Maximum number of bytes that are kept of a host.
const HOST: usize = 255;
/// Maximum number of bytes that are kept of a path.
const PATH: usize = 1024;
/// Maximum number of bytes that are kept of a value that is only compared with a constant or parsed as a number. A
/// longer value equals no such constant and is no valid number.
const SHORT: usize = 16;

/// The name of a field. Names that are not evaluated are not distinguished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Method,
    Authority,
    Path,
    Status,
    /// A pseudo-header that is not evaluated, such as `:scheme`.
    Pseudo,
    Host,
    ContentType,
    GrpcStatus,
    /// A field that is not evaluated.
    Other,
    /// A name in an entry of the header table that was inserted unseen.
    Unknown,
}

impl Name {
    /// Returns the variant for a field's name as it was sent.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":status" => Self::Status,
            [b':', ..] => Self::Pseudo,
            b"host" => Self::Host,
            b"content-type" => Self::ContentType,
            b"grpc-status" => Self::GrpcStatus,
            _ => Self::Other,
        }
    }

    /// Returns the part of a value that is kept for this field: none for most fields, and never a query, a fragment or
    /// userinfo.
    pub(super) fn keep(self, value: &[u8]) -> Option<Box<str>> {
        match self {
            Self::Method => Some(cut(value, METHOD)),
            Self::Authority | Self::Host => {
                let host = value.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
                Some(cut(host, HOST).to_ascii_lowercase().into())
            }
            Self::Path => Some(cut(path(value), PATH)),
            Self::Status | Self::GrpcStatus => Some(cut(value, SHORT)),
            // The type ends before a suffix such as `+proto`. gRPC-Web has another type, and does not count as gRPC,
            // because it sends its gRPC status in the body.
            Self::ContentType => {
                let essence =
                    value.split(|byte| matches!(byte, b';' | b'+' | b' ')).next().unwrap_or_default();
                Some(cut(essence, SHORT + 1).to_ascii_lowercase().into())
            }
            Self::Pseudo | Self::Other | Self::Unknown => None,
        }
    }
}

/// Returns the path of a target, without query and fragment, and without scheme and authority if the target has them.
fn path(target: &[u8]) -> &[u8] {
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if path.starts_with(b"/") {
        return path;
    }
    match path.windows(3).position(|window| window == b"://") {
        Some(scheme) => {
            let rest = &path[scheme + 3..];
            let authority = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            &rest[authority..]
        }
        None => path,
    }
}

/// Returns at most `limit` bytes of a value as text.
fn cut(value: &[u8], limit: usize) -> Box<str> {
    // Three more bytes complete a UTF-8 character that the limit cuts, so that the character is omitted as a whole and
    // not replaced by U+FFFD.
    let text = String::from_utf8_lossy(&value[..value.len().min(limit + 3)]);
    text[..text.floor_char_boundary(limit)].into()
}

/// The evaluated fields of a header block.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Name of the first field. In a valid head it is a pseudo-header, and in trailers it is not, which distinguishes
    /// them.
    first: Option<Name>,
    /// True if there is a pseudo-header that only requests have.
    request: bool,
    pub(super) method: Option<Box<str>>,
    authority: Option<Box<str>>,
    host: Option<Box<str>>,
    pub(super) path: Option<Box<str>>,
    pub(super) status: Option<Status>,
    /// True if the content type is `application/grpc`.
    pub(super) grpc: bool,
    pub(super) grpc_status: Option<u32>,
}

impl Fields {
    /// Returns the fields of a block that could not be decoded.
    pub(super) fn unknown() -> Self {
        Self { first: Some(Name::Unknown), ..Self::default() }
    }

    /// Adds the next field. Only the first field of a name counts: a repetition of these fields is malformed.
    pub(super) fn add(&mut self, name: Name, value: Option<&str>) {
        self.first.get_or_insert(name);
        let keep = |slot: &mut Option<Box<str>>| {
            if slot.is_none() {
                *slot = value.map(Into::into);
            }
        };
        match name {
            Name::Method => keep(&mut self.method),
            Name::Authority => keep(&mut self.authority),
            Name::Path => keep(&mut self.path),
            Name::Host => keep(&mut self.host),
            Name::Status => {
                self.status.get_or_insert(value.and_then(status).unwrap_or(Status::Unknown));
            }
            Name::ContentType => self.grpc |= value == Some("application/grpc"),
            Name::GrpcStatus => self.grpc_status = self.grpc_status.or(value.and_then(number)),
            Name::Pseudo | Name::Other | Name::Unknown => {}
        }
        self.request |= matches!(name, Name::Method | Name::Authority | Name::Path | Name::Pseudo);
    }

    /// Returns whether the block is certainly the head of a request.
    pub(super) fn is_request(&self) -> bool {
        self.request
    }

    /// Returns whether the block may be a head: its first field is a pseudo-header or unknown.
    pub(super) fn may_be_head(&self) -> bool {
        self.request || self.status.is_some() || self.first == Some(Name::Unknown)
    }

    /// Removes and returns the host: `:authority`, or else `Host`; empty if there is neither.
    pub(super) fn take_host(&mut self) -> Box<str> {
        self.authority.take().or(self.host.take()).unwrap_or_default()
    }
}

/// Parses a number that consists of decimal digits only.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Parses a status code of three digits, 100 to 999.
fn status(text: &str) -> Option<Status> {
    let code = if text.len() == 3 { number(text)? } else { return None };
    u16::try_from(code).ok().filter(|code| *code >= 100).map(Status::Code)
}
