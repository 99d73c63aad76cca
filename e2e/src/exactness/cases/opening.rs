//! Connections without a listener: two sockets open one at the same time, or a socket connects to itself.

use std::{
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{bind, connect, getsockname, listen as start_listening, sockopt},
};

use super::{
    Case,
    streams::{Receive, Send, exchange_between, recv_plain, send_plain, splice_in, splice_out},
};
use crate::{
    exactness::{
        error::{CaseError, Done},
        sockets::{FAMILIES, Family, Stream},
        stage::Stage,
        sys::{sockets::socket, tcp},
        tally::Direction::Outbound,
    },
    support::wait::POLL,
};

const WAYS: [(&str, Send, Receive); 2] =
    [("send-recv", send_plain, recv_plain), ("splice", splice_in, splice_out)];

pub(super) fn cases() -> Vec<Case> {
    let of = |(way, send, receive): (&'static str, Send, Receive)| {
        FAMILIES.into_iter().flat_map(move |family| {
            let name = |what: &str| format!("opening/{what}-{way}/{}", family.name());
            [
                Case::new(name("by-both"), move |stage| by_both(stage, family, send, receive)),
                Case::new(name("with-itself"), move |stage| with_itself(stage, family, send, receive)),
            ]
        })
    };
    WAYS.into_iter().flat_map(of).collect()
}

fn bound(family: Family, port: u16) -> Done<(OwnedFd, SocketAddr)> {
    let socket = socket(family.number(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &family.at(port))?;
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    Ok((socket, family.at(port)))
}

fn begin(socket: &OwnedFd, to: SocketAddr) -> Done {
    match connect(socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn connected(stage: &Stage, socket: OwnedFd) -> Done<Stream> {
    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None)?;
    sockopt::socket_error(&socket)??;
    let socket = TcpStream::from(socket);
    socket.set_nonblocking(false)?;
    Stream::new(stage, socket, Some(Outbound))
}

/// Opens a connection from both ends. Nobody answers the first end's SYN, because a listener whose filter drops every
/// packet holds the second end's port at that moment; then the second end connects too.
fn by_both(stage: &mut Stage, family: Family, send: Send, receive: Receive) -> Done {
    let (first, first_at) = bound(family, 0)?;
    let (deaf, second_at) = bound(family, 0)?;
    tcp::let_nothing_in(&deaf)?;
    start_listening(&deaf, 1)?;
    begin(&first, second_at)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while tcp::dropped(&deaf)? == 0 {
        if Instant::now() > deadline {
            return Err(CaseError::unexpected("the first segment did not come"));
        }
        thread::sleep(POLL);
    }
    drop(deaf);
    let (second, _) = bound(family, second_at.port())?;
    begin(&second, first_at)?;
    let (first, second) = (connected(stage, first)?, connected(stage, second)?);
    if first.socket.peer_addr()? != second.socket.local_addr()? {
        return Err(CaseError::unexpected("the two ends are not of one connection"));
    }
    exchange_between(stage, &first, &second, send, receive)?;
    exchange_between(stage, &second, &first, send, receive)?;
    first.socket.shutdown(Shutdown::Write)?;
    second.finish()
}

/// Connects a socket to itself: it receives what it sends.
fn with_itself(stage: &mut Stage, family: Family, send: Send, receive: Receive) -> Done {
    let (socket, at) = bound(family, 0)?;
    begin(&socket, at)?;
    let stream = connected(stage, socket)?;
    exchange_between(stage, &stream, &stream, send, receive)?;
    stream.finish()
}
