//! Frame headers (RFC 9113, section 4.1).

/// Size of a frame header in bytes.
pub(super) const HEADER: usize = 9;

/// Flag of DATA and HEADERS: the sender sends nothing more on this stream after this frame.
pub(super) const END_STREAM: u8 = 0x1;
/// Flag of HEADERS, PUSH_PROMISE and CONTINUATION: the header block ends with this frame.
pub(super) const END_HEADERS: u8 = 0x4;
/// Flag of DATA, HEADERS and PUSH_PROMISE: the first byte of the payload is the length of the padding at its end.
pub(super) const PADDED: u8 = 0x8;
/// Flag of HEADERS: the payload has priority fields before the header block.
pub(super) const PRIORITY: u8 = 0x20;
/// Flag of SETTINGS and PING: the frame acknowledges the peer's frame.
const ACK: u8 = 0x1;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// A frame of an extension, which receivers ignore if they do not know it.
    Other,
}

impl From<u8> for Kind {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Length of the payload in bytes, at most 2^24 - 1.
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// Identifier of the stream; 0 stands for the connection.
    pub(super) stream: u32,
    /// The bit before the stream's identifier, which is always 0.
    reserved: bool,
}

impl Frame {
    /// Parses a frame header.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = bytes;
        let stream = u32::from_be_bytes([d, e, f, g]);
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: kind.into(),
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 == 1,
        }
    }

    /// Returns whether a flag is set. The caller knows that the frame's type defines it.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns false if the frame is a connection error for every receiver (RFC 9113, section 6): its length or its
    /// stream is wrong for its type.
    pub(super) fn is_valid(&self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Priority | Kind::Continuation => on_stream,
            Kind::PushPromise => on_stream && self.length >= 4,
            Kind::RstStream => on_stream && self.length == 4,
            Kind::Settings => !on_stream && self.length.is_multiple_of(6),
            Kind::Ping => !on_stream && self.length == 8,
            Kind::GoAway => !on_stream && self.length >= 8,
            Kind::WindowUpdate => self.length == 4,
            Kind::Other => true,
        }
    }

    /// Returns whether bytes at an unknown position are probably a frame header: a valid one of a known type, with no
    /// flag that its type does not define. Printable text is never plausible, because types are below 10: control
    /// characters.
    pub(super) fn is_plausible(&self) -> bool {
        let defined = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Other => return false,
        };
        self.is_valid() && !self.reserved && self.flags & !defined == 0
    }
}
