//! TCP Fast Open: bytes that are sent with the first segment, before the connection exists.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, connect, recv, send, sendto},
};

use super::{
    Case, network,
    streams::{recv_plain, send_plain},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{FAMILIES, Family, Stream, VERSIONS, listen},
    stage::Stage,
    sys::{
        sockets::{set_option, socket},
        tcp,
    },
    tally::Direction::Outbound,
};

/// The call by which a client uses Fast Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// MSG_FASTOPEN: the first call that sends also connects.
    Message,
    /// TCP_FASTOPEN_CONNECT: connect() is deferred to the first call that sends.
    Deferred,
}

/// Blocking mode of the client's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    Blocking,
    NonBlocking,
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (way, way_name) in [(Way::Message, "message"), (Way::Deferred, "connect")] {
        for (calls, calls_name) in [(Calls::Blocking, "blocking"), (Calls::NonBlocking, "nonblocking")] {
            for family in FAMILIES {
                let name = |what: &str| format!("fastopen/{what}-{way_name}-{calls_name}/{}", family.name());
                cases.push(Case::new(name("known"), move |stage| known(stage, family, way, calls)));
                cases.push(Case::new(name("unknown"), move |stage| unknown(stage, family, way, calls)));
            }
            for family in VERSIONS {
                let name = |what: &str| format!("fastopen/{what}-{way_name}-{calls_name}/{}", family.name());
                cases.extend([
                    Case::new(name("refused"), move |stage| refused(stage, family, way, calls)),
                    Case::waiting(name("ignored"), move |stage| ignored(stage, family, way, calls)),
                    Case::waiting(name("answered-early"), move |stage| {
                        early(stage, family, way, calls, false)
                    }),
                    Case::waiting(name("closed-early"), move |stage| early(stage, family, way, calls, true)),
                ]);
            }
        }
    }
    cases
}

/// Opens a listener that accepts bytes with the first segment.
fn fast_listener(family: Family) -> Done<(TcpListener, SocketAddr)> {
    // The value 3 enables Fast Open for clients and servers.
    network::enter_with("ipv4/tcp_fastopen", "3")?;
    let (listener, at) = listen(family)?;
    set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16)?;
    Ok((listener, at))
}

fn client_socket(family: Family, way: Way, calls: Calls) -> Done<OwnedFd> {
    let kind = if calls == Calls::NonBlocking { libc::SOCK_NONBLOCK } else { 0 };
    let client = socket(family.number(), libc::SOCK_STREAM | kind, 0)?;
    if way == Way::Deferred {
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
        set_option(&client, level, name, 1)
            .map_err(|error| CaseError::unsupported(format!("no TCP_FASTOPEN_CONNECT here: {error}")))?;
    }
    Ok(client)
}

/// Opens a connection and sends; returns the number of bytes that the call accepted.
fn open(client: &OwnedFd, at: SocketAddr, way: Way, bytes: &[u8]) -> Result<usize, Errno> {
    match way {
        Way::Message => sendto(client, bytes, SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32), &at),
        Way::Deferred => {
            connect(client, &at)?;
            send(client, bytes, SendFlags::NOSIGNAL)
        }
    }
}

/// Wraps the client's socket after [`open`], in blocking mode.
fn opened(stage: &Stage, client: OwnedFd, at: SocketAddr, sent: usize) -> Done<Stream> {
    let client = TcpStream::from(client);
    client.set_nonblocking(false)?;
    let client = Stream::to(stage, client, at, Some(Outbound))?;
    client.sent(sent);
    Ok(client)
}

/// Opens a first connection, by which the client learns the server's cookie.
fn learn_cookie(stage: &Stage, family: Family, listener: &TcpListener, at: SocketAddr) -> Done {
    let client = client_socket(family, Way::Message, Calls::Blocking)?;
    let sent = open(&client, at, Way::Message, &[1; 700])?;
    let client = opened(stage, client, at, sent)?;
    let server = Stream::accept(stage, listener)?;
    recv_plain(&server, sent)?;
    send_plain(&server, &[1; 70])?;
    recv_plain(&client, 70)
}

/// Sends the bytes of `up` after the first `sent`, which [`open`] has sent, and an answer.
fn exchange_rest(stage: &mut Stage, client: &Stream, server: &Stream, up: &[u8], sent: usize) -> Done {
    send_plain(client, &up[sent..])?;
    recv_plain(server, up.len())?;
    let down = vec![2; stage.amount()];
    send_plain(server, &down)?;
    recv_plain(client, down.len())
}

/// Sends with a known cookie: the first bytes are in the first segment.
fn known(stage: &mut Stage, family: Family, way: Way, calls: Calls) -> Done {
    let (listener, at) = fast_listener(family)?;
    learn_cookie(stage, family, &listener, at)?;
    let up = vec![1; stage.amount()];
    for _ in 0..3 {
        let client = client_socket(family, way, calls)?;
        let sent = open(&client, at, way, &up)?;
        let client = opened(stage, client, at, sent)?;
        let server = Stream::accept(stage, &listener)?;
        exchange_rest(stage, &client, &server, &up, sent)?;
        if !tcp::has_fast_opened(&client.socket)? || !tcp::has_fast_opened(&server.socket)? {
            return Err(CaseError::unexpected("no bytes went with the first segment"));
        }
    }
    Ok(())
}

/// Sends without a cookie: the client requests one, and the bytes follow after the handshake.
fn unknown(stage: &mut Stage, family: Family, way: Way, calls: Calls) -> Done {
    let (listener, at) = fast_listener(family)?;
    let up = vec![1; stage.amount()];
    let client = client_socket(family, way, calls)?;
    let sent = match open(&client, at, way, &up) {
        Err(Errno::INPROGRESS) if calls == Calls::NonBlocking => 0,
        sent => sent?,
    };
    let client = opened(stage, client, at, sent)?;
    let server = Stream::accept(stage, &listener)?;
    exchange_rest(stage, &client, &server, &up, sent)
}

/// Sends to a listener without TCP_FASTOPEN, which ignores the bytes in the SYN: the kernel sends them again after the
/// handshake.
fn ignored(stage: &mut Stage, family: Family, way: Way, calls: Calls) -> Done {
    let (listener, at) = fast_listener(family)?;
    learn_cookie(stage, family, &listener, at)?;
    let (slow_listener, at) = listen(family)?;
    let up = vec![1; stage.amount()];
    let client = client_socket(family, way, calls)?;
    let sent = open(&client, at, way, &up)?;
    let client = opened(stage, client, at, sent)?;
    let server = Stream::accept(stage, &slow_listener)?;
    exchange_rest(stage, &client, &server, &up, sent)?;
    if tcp::has_fast_opened(&client.socket)? {
        return Err(CaseError::unexpected("a server that does not know Fast Open has taken bytes by it"));
    }
    stage.compare(&mut [])
}

/// Sends to a closed port. Bytes that a non-blocking call accepted count as sent; a blocking call fails and has sent
/// nothing.
fn refused(stage: &mut Stage, family: Family, way: Way, calls: Calls) -> Done {
    let (listener, at) = fast_listener(family)?;
    learn_cookie(stage, family, &listener, at)?;
    drop(listener);
    let client = client_socket(family, way, calls)?;
    match open(&client, at, way, &[1; 900]) {
        Err(Errno::CONNREFUSED) if calls == Calls::Blocking => Ok(()),
        Ok(sent) if calls == Calls::NonBlocking => {
            let client = opened(stage, client, at, sent)?;
            poll(&mut [PollFd::new(&client.socket, PollFlags::ERR)], None)?;
            match recv(&client.socket, &mut [0; 10], RecvFlags::empty()) {
                Err(Errno::CONNREFUSED) => Ok(()),
                other => Err(CaseError::unexpected(format!("{other:?} where ECONNREFUSED was due"))),
            }
        }
        other => Err(CaseError::unexpected(format!("{other:?} where nobody listens"))),
    }
}

/// Drops the server's segments at the client, so that the handshake cannot end. Meanwhile the server, in SYN_RECV,
/// reads and answers, and closes if `closes` is set.
fn early(stage: &mut Stage, family: Family, way: Way, calls: Calls, closes: bool) -> Done {
    let (listener, at) = fast_listener(family)?;
    learn_cookie(stage, family, &listener, at)?;
    let (up, down) = ([1; 1_234], [1; 4_321]);
    let client = client_socket(family, way, calls)?;
    tcp::let_nothing_in(&client)?;
    let (sent, server) = thread::scope(|scope| {
        let opening = scope.spawn(|| open(&client, at, way, &up));
        let server = Stream::accept(stage, &listener)?;
        recv_plain(&server, up.len())?;
        send_plain(&server, &down)?;
        match tcp::state(&server.socket)? {
            tcp::SYN_RECV => {}
            state => return Err(CaseError::unexpected(format!("state {state} where SYN_RECV was due"))),
        }
        let server = (!closes).then_some(server);
        tcp::let_everything_in(&client)?;
        let sent = opening.join().map_err(|_| CaseError::unexpected("a thread panicked"))??;
        Ok((sent, server))
    })?;
    let client = opened(stage, client, at, sent)?;
    recv_plain(&client, down.len())?;
    match server {
        Some(server) => {
            exchange_rest(stage, &client, &server, &up, 0)?;
            stage.compare(&mut [])
        }
        None => client.finish(),
    }
}
