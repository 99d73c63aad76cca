//! Rust mirror of `src/bpf/http_shared.h`: the records of the HTTP programs.

use std::net::IpAddr;

use super::{
    address,
    tls::{ORIGIN_SIZE, Origin, PLAIN},
    word16, word32, word64,
};

/// Flag of [`Record::flags`]: the traced socket sent the bytes; otherwise it received them.
pub const SENT: u32 = 1;
/// The first byte begins a message or a frame, as far as the programs can tell.
pub const STARTS: u32 = 1 << 1;
/// The ring buffer refused records of this direction after the previous one that it accepted.
pub const LOST_BEFORE: u32 = 1 << 2;
/// The direction has ended: no byte comes at or after the record's sequence number.
pub const FIN: u32 = 1 << 3;
/// The connection was reset.
pub const RESET: u32 = 1 << 4;
/// The connection's first record: a [`Connection`] follows instead of bytes.
pub const BEGIN: u32 = 1 << 5;
/// With [`BEGIN`]: bytes had passed before the programs saw the connection.
pub const JOINED: u32 = 1 << 6;
/// With [`BEGIN`]: [`Connection::first_received`] is known.
pub const RECEIVES: u32 = 1 << 7;
/// With [`BEGIN`]: [`Connection::first_sent`] is known.
pub const SENDS: u32 = 1 << 8;
/// The connection speaks TLS; no bytes of it follow.
pub const TLS: u32 = 1 << 9;
/// Bytes that a listening socket received, of a connection that it has not accepted yet: a [`Connection`] and the bytes
/// follow, and the cookie is 0.
pub const EARLY: u32 = 1 << 10;
/// All bytes of this direction are handed over, since the programs no longer know where messages begin, until user
/// space reports a [`Pause`].
pub const RAW: u32 = 1 << 12;

/// Size of `struct tt_http_record`, without what follows it.
pub const RECORD_SIZE: usize = 32;
/// Size of `struct tt_http_connection`.
pub const CONNECTION_SIZE: usize = 56;

/// Losses of a cgroup, because the ring buffer was full: records; heads of requests of which a part was refused; heads
/// of responses of which a part was refused; refused records that may have held any number of messages.
pub type Lost = [u64; 4];

/// Sequence numbers at which the next message or frame will begin, at a moment when none is under way: of the bytes
/// that the socket receives, and of those that it sends.
pub type Pause = [u32; 2];

/// A record of the ring buffer.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Cookie of the socket.
    pub cookie: u64,
    /// Time at which the packet passed, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// TCP sequence number of the first byte.
    pub sequence: u32,
    /// Number of bytes that passed from `sequence` on, copied or not.
    pub length: u32,
    /// [`SENT`] and the other flags, ored.
    pub flags: u32,
    /// The bytes that were copied.
    pub bytes: &'a [u8],
    /// Owner and addresses of the connection, with [`BEGIN`] and [`EARLY`].
    pub connection: Option<Connection>,
    /// Origin of plain text, with [`PLAIN`].
    pub origin: Option<Origin>,
}

/// The cgroup of a connection's socket, and the two ends of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Id of the socket's cgroup.
    pub cgroup: u64,
    /// Sequence number of the first byte that the socket receives.
    pub first_received: u32,
    /// Sequence number of the first byte that the socket sends.
    pub first_sent: u32,
    /// Address and port of the socket.
    pub local: (IpAddr, u16),
    /// Address and port of its peer.
    pub remote: (IpAddr, u16),
}

impl<'a> Record<'a> {
    /// Parses a record; `None` if it is shorter than its fields say.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<RECORD_SIZE>()?;
        let flags = word32(head, 28)?;
        let (connection, rest) = if flags & (BEGIN | EARLY) == 0 {
            (None, rest)
        } else {
            let (connection, rest) = rest.split_first_chunk::<CONNECTION_SIZE>()?;
            (Some(Connection::from_bytes(connection)?), rest)
        };
        let (origin, rest) = if flags & PLAIN == 0 {
            (None, rest)
        } else {
            let (origin, rest) = rest.split_first_chunk::<ORIGIN_SIZE>()?;
            (Some(Origin::from_bytes(origin)?), rest)
        };
        let (copied, skip) = (usize::from(word16(head, 24)?), usize::from(word16(head, 26)?));
        Some(Self {
            cookie: word64(head, 0)?,
            time: word64(head, 8)?,
            sequence: word32(head, 16)?,
            length: word32(head, 20)?,
            flags,
            bytes: rest.get(skip..skip + copied)?,
            connection,
            origin,
        })
    }
}

impl Connection {
    fn from_bytes(bytes: &[u8; CONNECTION_SIZE]) -> Option<Self> {
        let address_at = |at: usize| bytes[at..].first_chunk::<16>().map(|bytes| address(*bytes));
        Some(Self {
            cgroup: word64(bytes, 0)?,
            first_received: word32(bytes, 8)?,
            first_sent: word32(bytes, 12)?,
            local: (address_at(16)?, word16(bytes, 48)?),
            remote: (address_at(32)?, word16(bytes, 50)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flags: u32, copied: u16, skip: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7u64.to_ne_bytes());
        bytes.extend(8u64.to_ne_bytes());
        bytes.extend(9u32.to_ne_bytes());
        bytes.extend(10u32.to_ne_bytes());
        bytes.extend(copied.to_ne_bytes());
        bytes.extend(skip.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn a_record_lies_where_the_kernel_writes_it() {
        let bytes = record(SENT | STARTS, 3, 2, b"..GETxxx");
        let record = Record::from_bytes(&bytes).unwrap();
        assert_eq!((record.cookie, record.time, record.sequence, record.length), (7, 8, 9, 10));
        assert_eq!((record.flags, record.bytes), (SENT | STARTS, b"GET".as_slice()));
        assert_eq!(record.connection, None);
    }

    #[test]
    fn a_first_record_tells_whose_connection_it_is() {
        let mut rest = Vec::new();
        rest.extend(5u64.to_ne_bytes());
        rest.extend(6u32.to_ne_bytes());
        rest.extend(7u32.to_ne_bytes());
        rest.extend("::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        rest.extend("fe80::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        rest.extend(80u16.to_ne_bytes());
        rest.extend(4000u16.to_ne_bytes());
        rest.extend([0; 4]);
        let bytes = record(BEGIN, 0, 0, &rest);
        let connection = Record::from_bytes(&bytes).unwrap().connection.unwrap();
        assert_eq!(connection.local, ("10.0.0.1".parse().unwrap(), 80));
        assert_eq!(connection.remote, ("fe80::2".parse().unwrap(), 4000));
        assert_eq!((connection.cgroup, connection.first_received, connection.first_sent), (5, 6, 7));
    }

    #[test]
    fn plain_text_tells_whose_it_is() {
        let mut rest = Vec::new();
        rest.extend(11u64.to_ne_bytes());
        rest.extend(12u32.to_ne_bytes());
        rest.extend([0; 4]);
        rest.extend(b"GET");
        let bytes = record(PLAIN | SENT, 3, 0, &rest);
        let record = Record::from_bytes(&bytes).unwrap();
        assert_eq!(record.origin, Some(Origin { channel: 11, pid: 12 }));
        assert_eq!(record.bytes, b"GET");
        assert!(Record::from_bytes(&bytes[..RECORD_SIZE + ORIGIN_SIZE - 1]).is_none());
    }

    #[test]
    fn a_record_that_is_too_short_is_none() {
        assert!(Record::from_bytes(&[0; RECORD_SIZE - 1]).is_none());
        assert!(Record::from_bytes(&record(0, 3, 0, b"GE")).is_none());
        assert!(Record::from_bytes(&record(BEGIN, 0, 0, &[0; CONNECTION_SIZE - 1])).is_none());
    }
}
