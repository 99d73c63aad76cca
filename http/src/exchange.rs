//! The reports of a connection: exchanges, and counts of exchanges that could not be observed.

/// The role of the traced socket in its connection.
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

/// The outcome of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Status code of the final response, 100 to 999. Interim responses (1xx except 101) are not final.
    Code(u16),
    /// The connection closed, or the stream was reset, before a final response.
    NoResponse,
    /// There was a response, but its status could not be read. In most cases the status is in an entry of the HTTP/2
    /// header table (HPACK) that was sent before the trace began, or in lost bytes.
    Unknown,
}

/// A request with its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Role of the traced socket.
    pub side: Side,
    /// The protocol.
    pub protocol: Protocol,
    /// The method as it was sent, cut to 32 bytes; empty if it could not be read (see [`Status::Unknown`]).
    pub method: String,
    /// The host from the target's authority, `:authority` or `Host`: in lower case, without userinfo, cut to 255 bytes;
    /// empty if there was none or it is unknown.
    pub host: String,
    /// The path as it was sent, but without query and fragment, cut to 1,024 bytes. The path can be `*`; it is empty
    /// for CONNECT, or if it could not be read.
    pub path: String,
    /// Status of the response.
    pub status: Status,
    /// The gRPC status (`grpc-status`), if one came.
    pub grpc_status: Option<u32>,
    /// Number of bytes of the request on the connection: head and body as they were sent, for HTTP/2 including frame
    /// headers.
    pub request_bytes: u64,
    /// Number of bytes of the response, counted as for the request, and including interim responses (1xx).
    pub response_bytes: u64,
    /// Time of the request's first byte, in nanoseconds of the monotonic clock.
    pub began: u64,
    /// Time of the first byte of the final response, on the same clock; `None` if there is none or it is unknown.
    pub first_byte: Option<u64>,
    /// Time of the last byte of the exchange, on the same clock: of the response, or of the request if that ended
    /// later. Without a complete response, the time at which the connection or stream ended.
    pub ended: u64,
}

/// The reason why exchanges, or bytes that may have contained some, were not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The response was lost between kernel and user space; its request was seen.
    LostResponse,
    /// A head was larger than the parser keeps (64 KiB), or had too many HTTP/2 frames.
    HeadTooLarge,
    /// Bytes where a message should begin, or within one, were not valid HTTP, on a connection that had spoken HTTP
    /// before.
    Malformed,
    /// The limit on the memory or on the open requests of a connection, or the limit for all connections, was reached.
    NoMemory,
    /// Packets arrived out of order, and the bytes missing between them did not come.
    MissingBytes,
}

/// The receiver of the exchanges and counts that a connection reports.
pub trait Sink {
    /// Receives one complete exchange.
    fn exchange(&mut self, exchange: Exchange);

    /// Receives a number of exchanges that existed and could not be observed. A connection counts an exchange here only
    /// if its request, or at least its response, was seen and the exchange is not reported to [`Self::exchange`].
    /// Requests that were lost completely are counted by the kernel program.
    fn unobserved(&mut self, side: Side, reason: Reason, count: u64);
}
