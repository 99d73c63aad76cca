//! What a connection reports: exchanges, and what could not be observed.

/// Which end of the connection the traced socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The traced socket receives requests.
    Server,
    /// The traced socket sends requests.
    Client,
}

/// The protocol of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, as long as it is not gRPC.
    Http2,
    /// gRPC: HTTP/2 with a content type of `application/grpc`.
    Grpc,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// The final response's status code, 100 to 999. Interim responses (1xx but 101) are not final.
    Code(u16),
    /// The connection closed, or the stream was reset, before a final response.
    NoResponse,
    /// There was a response, but its status could not be read: on a joined HTTP/2 connection it stood in a header table
    /// that was filled before the trace began.
    Unknown,
}

/// A request with its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Which end the traced socket is.
    pub side: Side,
    /// The protocol.
    pub protocol: Protocol,
    /// The method as it was sent, cut to 32 bytes; empty if unknown (joined HTTP/2 connection).
    pub method: String,
    /// The host by the target's authority, `:authority` or `Host`, lower case, without userinfo, cut to 255 bytes; empty if
    /// there was none or it is unknown.
    pub host: String,
    /// The path as it was sent, but without query and fragment, cut to 1,024 bytes. `*` and, of CONNECT, empty are
    /// possible. Empty if unknown.
    pub path: String,
    /// How it ended.
    pub status: Status,
    /// The gRPC status (`grpc-status`), if one came.
    pub grpc_status: Option<u32>,
    /// Bytes of the request on the connection: head and body as sent, of HTTP/2 with the frames' headers.
    pub request_bytes: u64,
    /// Bytes of the response likewise, interim responses included.
    pub response_bytes: u64,
    /// Time of the request's first byte, in nanoseconds of the monotonic clock.
    pub began: u64,
    /// Time of the first byte of the final response.
    pub first_byte: Option<u64>,
    /// Time of the exchange's last byte: of the response's, or of the request's if that ended later, or of the close.
    pub ended: u64,
}

/// Why exchanges, or bytes that may have held some, were not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The response was lost between kernel and user space; its request was seen.
    LostResponse,
    /// A head was larger than what is kept of one.
    HeadTooLarge,
    /// Bytes that are no HTTP where a message should begin, on a connection that had spoken HTTP.
    Malformed,
    /// The bound on memory, of a connection or of all, was reached.
    NoMemory,
    /// Packets passed out of order and what was missing between them did not come.
    MissingBytes,
}

/// Where a connection reports to.
pub trait Sink {
    /// One exchange is complete.
    fn exchange(&mut self, exchange: Exchange);

    /// So many exchanges were there and could not be observed. A connection counts an exchange here only if its request
    /// was seen and not counted otherwise: requests that were lost whole are counted by the kernel.
    fn unobserved(&mut self, side: Side, reason: Reason, count: u64);
}
