//! Sockets that record the results of their calls.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    panic::Location,
    time::Duration,
};

use rustix::net::{RecvFlags, recv};

use super::{
    error::{CaseError, Done},
    stage::Stage,
    tally::{Direction, Flow, Protocol, Tally},
};

/// Socket timeout, shorter than the time limit of a case, so that a stuck call reports an error.
const CALL_LIMIT: Duration = Duration::from_secs(100);

/// The kind of addresses that both ends of a connection use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// IPv4 addresses on IPv6 sockets, at both ends.
    Mapped,
}

/// All families.
pub const FAMILIES: [Family; 3] = [Family::V4, Family::V6, Family::Mapped];
/// The families without mapped addresses.
pub const VERSIONS: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// Returns the last part of the name of a case that uses this family.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
            Self::Mapped => "mapped",
        }
    }

    /// The address family (`AF_*`) of the sockets.
    pub fn number(self) -> i32 {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 | Self::Mapped => libc::AF_INET6,
        }
    }

    /// The loopback address with a port, as a socket of this family names it.
    pub fn at(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::LOCALHOST, port).into(),
            Self::V6 => (Ipv6Addr::LOCALHOST, port).into(),
            Self::Mapped => (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port).into(),
        }
    }

    /// Returns the address to bind a socket to: the kernel chooses a free port, and [`Family::at`] with that port
    /// reaches the socket.
    fn bound(self) -> SocketAddr {
        match self {
            Self::V4 | Self::V6 => self.at(0),
            Self::Mapped => (Ipv6Addr::UNSPECIFIED, 0).into(),
        }
    }
}

/// Opens a listener; returns it with its address.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn listen(family: Family) -> Done<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(family.bound())?;
    let port = listener.local_addr()?.port();
    Ok((listener, family.at(port)))
}

/// Opens a connection; returns the end that opened it, and the end that accepted it.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn connected(stage: &Stage, family: Family) -> Done<(Stream, Stream)> {
    let (listener, at) = listen(family)?;
    let client = Stream::connect(stage, at)?;
    Ok((client, Stream::accept(stage, &listener)?))
}

/// One end of a TCP connection.
#[derive(Debug)]
pub struct Stream {
    /// The socket, for calls whose results are not recorded.
    pub socket: TcpStream,
    flow: Flow,
    direction: Option<Direction>,
    tally: Tally,
}

impl Stream {
    /// Wraps a connected socket, whose calls this process records from now on.
    ///
    /// # Errors
    ///
    /// Fails when the socket is not connected.
    pub fn new(stage: &Stage, socket: TcpStream, direction: Option<Direction>) -> Done<Self> {
        let peer = socket.peer_addr()?;
        Self::to(stage, socket, peer, direction)
    }

    /// Wraps a socket as [`Stream::new`] does, if getpeername(2) cannot tell its peer because it is not connected now.
    ///
    /// # Errors
    ///
    /// Fails when the socket has no address.
    pub fn to(
        stage: &Stage,
        socket: TcpStream,
        peer: SocketAddr,
        direction: Option<Direction>,
    ) -> Done<Self> {
        socket.set_read_timeout(Some(CALL_LIMIT))?;
        socket.set_write_timeout(Some(CALL_LIMIT))?;
        let flow = Flow::new(Protocol::Tcp, socket.local_addr()?, peer);
        Ok(Self { socket, flow, direction, tally: stage.tally.clone() })
    }

    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// Fails when the peer refuses.
    pub fn connect(stage: &Stage, to: SocketAddr) -> Done<Self> {
        Self::new(stage, TcpStream::connect(to)?, Some(Direction::Outbound))
    }

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn accept(stage: &Stage, listener: &TcpListener) -> Done<Self> {
        Self::new(stage, listener.accept()?.0, Some(Direction::Inbound))
    }

    /// The flow that the product must show the bytes in.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Records the result of a send call.
    pub fn sent(&self, bytes: usize) {
        self.tally.book(self.flow, self.direction, 0, bytes);
    }

    /// Records the result of a receive call.
    pub fn received(&self, bytes: usize) {
        self.tally.book(self.flow, self.direction, bytes, 0);
    }

    /// Receives until the peer closes; returns the number of bytes.
    ///
    /// # Errors
    ///
    /// Fails with the error of the call.
    #[track_caller]
    pub fn receive_to_end(&self) -> Done<usize> {
        match self.receive_to_any_end()? {
            (count, false) => Ok(count),
            (_, true) => Err(CaseError::unexpected("a reset where an orderly end was due")),
        }
    }

    /// Receives until the peer closes or resets the connection; returns the number of bytes, and true if it was a
    /// reset.
    ///
    /// # Errors
    ///
    /// Fails with the error of the call.
    #[track_caller]
    pub fn receive_to_any_end(&self) -> Done<(usize, bool)> {
        let (mut buffer, mut sum) = ([0; 9_001], 0);
        loop {
            match unless_interrupted(|| recv(&self.socket, &mut buffer, RecvFlags::empty())) {
                Ok((0, _)) => return Ok((sum, false)),
                Ok((count, _)) => {
                    self.received(count);
                    sum += count;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok((sum, true)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends `bytes` in pieces of at most `piece`, each by `call`.
    ///
    /// # Errors
    ///
    /// Fails with the error of the call.
    #[track_caller]
    pub fn send_by<E: Into<io::Error>>(
        &self,
        bytes: &[u8],
        piece: usize,
        mut call: impl FnMut(&[u8]) -> Result<usize, E>,
    ) -> Done {
        let at = Location::caller();
        let failed = |source| CaseError::Call { at, source };
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = unless_interrupted(|| call(&rest[..rest.len().min(piece)])).map_err(failed)?;
            self.sent(sent);
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Receives `count` bytes in pieces of at most `piece`, each by `call`.
    ///
    /// # Errors
    ///
    /// Fails with the error of the call, or when the peer closes too early.
    #[track_caller]
    pub fn receive_by<E: Into<io::Error>>(
        &self,
        count: usize,
        piece: usize,
        mut call: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Done {
        let at = Location::caller();
        let failed = |source| CaseError::Call { at, source };
        let mut buffer = vec![0; piece.min(count)];
        let mut rest = count;
        while rest > 0 {
            let most = rest.min(piece);
            match unless_interrupted(|| call(&mut buffer[..most])).map_err(failed)? {
                0 => return Err(failed(ErrorKind::UnexpectedEof.into())),
                received => {
                    self.received(received);
                    rest -= received;
                }
            }
        }
        Ok(())
    }

    /// Shuts the sending direction down, and waits until the peer closes.
    ///
    /// # Errors
    ///
    /// Fails when the peer still sends.
    pub fn finish(&self) -> Done {
        self.socket.shutdown(Shutdown::Write)?;
        match unless_interrupted(|| recv(&self.socket, &mut [0; 1], RecvFlags::empty()))?.0 {
            0 => Ok(()),
            _ => Err(CaseError::unexpected("the peer sent more than it was asked for")),
        }
    }
}

/// Repeats a call that was interrupted (EINTR). Closing an io_uring of this process can interrupt its calls.
///
/// # Errors
///
/// Fails with the error of the call.
pub fn unless_interrupted<T, E: Into<io::Error>>(mut call: impl FnMut() -> Result<T, E>) -> io::Result<T> {
    loop {
        match call().map_err(Into::into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A UDP socket.
#[derive(Debug)]
pub struct Datagrams {
    /// The socket, for calls whose results are not recorded.
    pub socket: UdpSocket,
    direction: Option<Direction>,
    tally: Tally,
}

impl Datagrams {
    /// Wraps a socket, whose calls this process records from now on.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn new(stage: &Stage, socket: UdpSocket, direction: Option<Direction>) -> Done<Self> {
        socket.set_read_timeout(Some(CALL_LIMIT))?;
        socket.set_write_timeout(Some(CALL_LIMIT))?;
        Ok(Self { socket, direction, tally: stage.tally.clone() })
    }

    /// Records the result of a send call.
    ///
    /// # Errors
    ///
    /// Fails when the socket has no address.
    pub fn sent(&self, to: SocketAddr, bytes: usize) -> Done {
        let flow = Flow::new(Protocol::Udp, self.socket.local_addr()?, to);
        self.tally.book(flow, self.direction, 0, bytes);
        Ok(())
    }

    /// Records the result of a receive call; `from` is `None` if the sender is not known.
    ///
    /// # Errors
    ///
    /// Fails when the socket has no address.
    pub fn received(&self, from: Option<SocketAddr>, bytes: usize) -> Done {
        let local = self.socket.local_addr()?;
        let flow = match from {
            Some(from) => Flow::new(Protocol::Udp, local, from),
            None => Flow { protocol: Protocol::Udp, local_port: local.port(), remote: None },
        };
        self.tally.book(flow, self.direction, bytes, 0);
        Ok(())
    }
}

/// Binds a UDP socket; returns it with its address.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn bind(family: Family) -> Done<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind(family.bound())?;
    let port = socket.local_addr()?.port();
    Ok((socket, family.at(port)))
}
