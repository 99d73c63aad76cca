//! Several connections of one socket, one after the other: after a disconnect by connect(AF_UNSPEC), or after an
//! attempt that failed.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{SendFlags, bind, connect, connect_unspec, listen as start_listening, send, sockopt},
};

use super::{
    Case,
    streams::{Receive, recv_plain, send_plain, splice_out},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{FAMILIES, Family, Stream, listen},
    stage::Stage,
    sys::sockets::socket,
    tally::Direction::{Inbound, Outbound},
};

const RECEIVES: [(&str, Receive); 2] = [("recv", recv_plain), ("splice", splice_out)];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        for (way, receive) in RECEIVES {
            let name = |what: &str| format!("again/{what}-{way}/{}", family.name());
            cases.extend([
                Case::new(name("unread"), move |stage| unread(stage, family, receive)),
                Case::new(name("same-ports"), move |stage| same_ports(stage, family, receive)),
                Case::new(name("then-listens"), move |stage| then_listens(stage, family, receive)),
            ]);
        }
        let name = |what: &str| format!("again/{what}/{}", family.name());
        cases.extend([
            Case::new(name("unsent"), move |stage| unsent(stage, family)),
            Case::new(name("after-refusal"), move |stage| after_refusal(stage, family)),
            Case::new(name("after-reset"), move |stage| after_reset(stage, family)),
            Case::new(name("accepted-end"), move |stage| accepted_end(stage, family)),
        ]);
    }
    cases
}

/// Connects the socket to a listener; returns both ends of the connection, on which nothing has moved yet.
fn connect_again(
    stage: &Stage,
    socket: impl AsFd,
    listener: &TcpListener,
    at: SocketAddr,
) -> Done<(Stream, Stream)> {
    connect(&socket, &at)?;
    let client = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
    Ok((Stream::new(stage, client, Some(Outbound))?, Stream::accept(stage, listener)?))
}

/// Moves bytes in both directions and leaves some unread at both ends.
fn exchange_partly(stage: &mut Stage, client: &Stream, server: &Stream, receive: Receive) -> Done {
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    send_plain(client, &up)?;
    receive(server, up.len() - 1_000)?;
    send_plain(server, &down)?;
    receive(client, down.len() / 2)
}

fn exchange(stage: &mut Stage, client: &Stream, server: &Stream, receive: Receive) -> Done {
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    send_plain(client, &up)?;
    receive(server, up.len())?;
    send_plain(server, &down)?;
    receive(client, down.len())
}

fn new_socket(family: Family) -> Done<OwnedFd> {
    Ok(socket(family.number(), libc::SOCK_STREAM, 0)?)
}

/// Disconnects, by connect(AF_UNSPEC), while bytes that have arrived are unread.
fn unread(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let socket = new_socket(family)?;
    for _ in 0..3 {
        let (listener, at) = listen(family)?;
        let (client, server) = connect_again(stage, &socket, &listener, at)?;
        exchange_partly(stage, &client, &server, receive)?;
        connect_unspec(&socket)?;
    }
    let (listener, at) = listen(family)?;
    let (client, server) = connect_again(stage, &socket, &listener, at)?;
    exchange(stage, &client, &server, receive)?;
    drop(socket);
    client.socket.shutdown(Shutdown::Write)?;
    server.finish()
}

/// Opens connections that all have the same addresses and ports, so that the product shows one row for them.
fn same_ports(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let (listener, at) = listen(family)?;
    let socket = new_socket(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &family.at(0))?;
    for _ in 0..4 {
        let (client, server) = connect_again(stage, &socket, &listener, at)?;
        exchange_partly(stage, &client, &server, receive)?;
        // The disconnect resets the connection, so that the server's end does not keep the ports busy.
        connect_unspec(&socket)?;
    }
    Ok(())
}

/// Turns a socket that was connected into a listening one, by a disconnect in between.
fn then_listens(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let (listener, at) = listen(family)?;
    let socket = new_socket(family)?;
    let (client, server) = connect_again(stage, &socket, &listener, at)?;
    exchange_partly(stage, &client, &server, receive)?;
    drop(client);
    connect_unspec(&socket)?;
    bind(&socket, &family.at(0))?;
    start_listening(&socket, 16)?;
    let listener = TcpListener::from(socket);
    let client = Stream::connect(stage, family.at(listener.local_addr()?.port()))?;
    let server = Stream::accept(stage, &listener)?;
    exchange(stage, &client, &server, receive)
}

/// Disconnects with unsent bytes: the kernel discards them, but they count as sent, since send(2) returned them.
fn unsent(stage: &mut Stage, family: Family) -> Done {
    let socket = new_socket(family)?;
    for _ in 0..2 {
        let (listener, at) = listen(family)?;
        let (client, _server) = connect_again(stage, &socket, &listener, at)?;
        fill(&client)?;
        connect_unspec(&socket)?;
    }
    let (listener, at) = listen(family)?;
    let (client, server) = connect_again(stage, &socket, &listener, at)?;
    exchange(stage, &client, &server, recv_plain)
}

/// Sends until the kernel accepts no more.
pub(super) fn fill(stream: &Stream) -> Done {
    loop {
        match send(&stream.socket, &[1; 50_021], SendFlags::DONTWAIT) {
            Ok(sent) => stream.sent(sent),
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn after_refusal(stage: &mut Stage, family: Family) -> Done {
    let (listener, nobody) = listen(family)?;
    drop(listener);
    let socket = new_socket(family)?;
    for _ in 0..2 {
        match connect(&socket, &nobody) {
            Err(Errno::CONNREFUSED) => {}
            other => return Err(CaseError::unexpected(format!("{other:?} where nobody listens"))),
        }
    }
    let (listener, at) = listen(family)?;
    let (client, server) = connect_again(stage, &socket, &listener, at)?;
    exchange(stage, &client, &server, recv_plain)
}

/// Connects the socket again after the peer has reset the connection.
fn after_reset(stage: &mut Stage, family: Family) -> Done {
    let socket = new_socket(family)?;
    for _ in 0..3 {
        let (listener, at) = listen(family)?;
        let (client, server) = connect_again(stage, &socket, &listener, at)?;
        exchange_partly(stage, &client, &server, recv_plain)?;
        // The server's end closes with unread bytes, which resets the connection.
        drop(server);
        connect_unspec(&socket)?;
    }
    Ok(())
}

/// Disconnects an accepted socket, which then opens a connection itself, and after that listens.
fn accepted_end(stage: &mut Stage, family: Family) -> Done {
    let (listener, at) = listen(family)?;
    let peer = Stream::connect(stage, at)?;
    let accepted = Stream::accept(stage, &listener)?;
    exchange_partly(stage, &peer, &accepted, splice_out)?;
    connect_unspec(&accepted.socket)?;
    let (listener, at) = listen(family)?;
    let (client, server) = connect_again(stage, &accepted.socket, &listener, at)?;
    exchange(stage, &client, &server, splice_out)?;
    connect_unspec(&accepted.socket)?;
    // Then the same socket listens, and accepts a connection.
    bind(&accepted.socket, &family.at(0))?;
    start_listening(&accepted.socket, 16)?;
    let listener = TcpListener::from(OwnedFd::from(accepted.socket));
    let client = Stream::connect(stage, family.at(listener.local_addr()?.port()))?;
    let server = Stream::new(stage, listener.accept()?.0, Some(Inbound))?;
    exchange(stage, &client, &server, recv_plain)
}
