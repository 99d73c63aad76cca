//! The ways to send and receive UDP datagrams.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    thread,
};

use io_uring::opcode;
use rustix::{
    io::{Errno, read, readv, write, writev},
    net::{
        MMsgHdr, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvfrom, recvmsg,
        send, sendmsg, sendmsg_addr, sendto,
    },
};

use super::Case;
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{Datagrams, FAMILIES, Family, bind},
    stage::Stage,
    sys::{
        sockets::{receive_many, set_option},
        uring::{Mode, Ring},
    },
    tally::Direction::{Inbound, Outbound},
};

const NO_SEND: SendFlags = SendFlags::empty();
const NO_RECV: RecvFlags = RecvFlags::empty();
const BUFFER: usize = 9_000;

/// Sends one datagram; returns the length that the call returned.
type Send = fn(&UdpSocket, SocketAddr, &[u8]) -> Done<usize>;
/// Receives one datagram; returns the length that the call returned and, if the call reports it, the sender.
type Receive = fn(&UdpSocket, &mut [u8]) -> Done<(usize, Option<SocketAddr>)>;

/// Calls with an address, on unconnected sockets.
const ADDRESSED: &[(&str, Send, Receive)] = &[
    ("sendto-recvfrom", send_to, receive_from),
    ("sendmsg-recvmsg", send_message_to, receive_message),
    ("peek", send_to, peek_and_receive_from),
];

/// Calls without an address, on connected sockets.
const CONNECTED: &[(&str, Send, Receive)] = &[
    (
        "send-recv",
        |socket, _, bytes| Ok(send(socket, bytes, NO_SEND)?),
        |socket, buffer| Ok((recv(socket, buffer, NO_RECV)?.0, None)),
    ),
    (
        "write-read",
        |socket, _, bytes| Ok(write(socket, bytes)?),
        |socket, buffer| Ok((read(socket, buffer)?, None)),
    ),
    ("writev-readv", write_vectored, read_vectored),
    ("sendmsg-recvmsg", send_message, receive_message),
    ("sendto-recvfrom", |socket, to, bytes| send_to(socket, to, bytes), receive_from),
    (
        "short-buffer",
        |socket, _, bytes| Ok(send(socket, bytes, NO_SEND)?),
        |socket, buffer| Ok((recv(socket, &mut buffer[..50], NO_RECV)?.0, None)),
    ),
    // MSG_TRUNC: the call copies only 50 bytes but returns the whole length, which is what the product must count.
    (
        "trunc",
        |socket, _, bytes| Ok(send(socket, bytes, NO_SEND)?),
        |socket, buffer| Ok((recv(socket, &mut buffer[..50], RecvFlags::TRUNC)?.1, None)),
    ),
    (
        "io-uring",
        |socket, _, bytes| uring_send(socket, bytes, Mode::Plain),
        |socket, buffer| uring_receive(socket, buffer, Mode::Plain),
    ),
    (
        "io-uring-async",
        |socket, _, bytes| uring_send(socket, bytes, Mode::Async),
        |socket, buffer| uring_receive(socket, buffer, Mode::Async),
    ),
    (
        "io-uring-sqpoll",
        |socket, _, bytes| uring_send(socket, bytes, Mode::Polled),
        |socket, buffer| uring_receive(socket, buffer, Mode::Polled),
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let of = |ways: &'static [(&'static str, Send, Receive)], kind: &'static str, connected: bool| {
        ways.iter().flat_map(move |(name, send, receive)| {
            FAMILIES.map(|family| {
                Case::new(format!("udp/{kind}/{name}/{}", family.name()), move |stage| {
                    exchange(stage, family, connected, *send, *receive)
                })
            })
        })
    };
    let mut cases: Vec<_> =
        of(ADDRESSED, "unconnected", false).chain(of(CONNECTED, "connected", true)).collect();
    for family in FAMILIES {
        let name = |what: &str| format!("udp/{what}/{}", family.name());
        cases.extend([
            Case::new(name("sendmmsg-recvmmsg"), move |stage| many_messages(stage, family)),
            Case::new(name("cork"), move |stage| corked(stage, family)),
            Case::new(name("gso-gro"), move |stage| segmented(stage, family)),
            Case::new(name("several-peers"), move |stage| several_peers(stage, family)),
            Case::new(name("reader-asks-no-address-one-peer"), move |stage| no_address(stage, family, 1)),
            Case::new(name("reader-asks-no-address-two-peers"), move |stage| no_address(stage, family, 2)),
            Case::new(name("reader-asks-no-address-after-sending"), move |stage| {
                after_sending(stage, family)
            }),
            Case::new(name("threads-on-one-socket"), move |stage| threads(stage, family)),
            Case::new(name("one-query-sockets"), move |stage| one_query(stage, family)),
        ]);
    }
    cases.push(Case::new("udp/reconnect", reconnect));
    cases
}

/// A client in a process of its own sends datagrams, and the server answers each. One datagram is empty; the lengths of
/// the two directions differ, so that they cannot be mixed up unnoticed.
fn exchange(stage: &mut Stage, family: Family, connected: bool, send: Send, receive: Receive) -> Done {
    let (server, server_at) = bind(family)?;
    let (client, client_at) = bind(family)?;
    let mut asked = stage.datagrams();
    asked.push(0);
    let answers = stage.datagrams();
    if connected {
        server.connect(client_at)?;
        client.connect(server_at)?;
    }
    let one_end = |end: &Datagrams, peer: SocketAddr, out: &[usize], back: usize, first: bool| -> Done {
        let sends =
            || out.iter().try_for_each(|length| end.sent(peer, send(&end.socket, peer, &vec![3; *length])?));
        if first {
            sends()?;
        }
        let mut buffer = [0; BUFFER];
        for _ in 0..back {
            let (length, from) = receive(&end.socket, &mut buffer)?;
            end.received(Some(from.unwrap_or(peer)), length)?;
        }
        if first { Ok(()) } else { sends() }
    };
    stage.with_child(
        |stage| {
            let client = Datagrams::new(stage, client.try_clone()?, Some(Outbound))?;
            one_end(&client, server_at, &asked, answers.len(), true)
        },
        |stage| {
            let server = Datagrams::new(stage, server.try_clone()?, Some(Inbound))?;
            one_end(&server, client_at, &answers, asked.len(), false)
        },
    )
}

fn send_to(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> Done<usize> {
    Ok(sendto(socket, bytes, NO_SEND, &to)?)
}

fn receive_from(socket: &UdpSocket, buffer: &mut [u8]) -> Done<(usize, Option<SocketAddr>)> {
    let (length, _, from) = recvfrom(socket, buffer, NO_RECV)?;
    Ok((length, from.map(SocketAddr::try_from).transpose()?))
}

fn peek_and_receive_from(socket: &UdpSocket, buffer: &mut [u8]) -> Done<(usize, Option<SocketAddr>)> {
    recvfrom(socket, &mut *buffer, RecvFlags::PEEK)?;
    receive_from(socket, buffer)
}

fn send_message_to(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> Done<usize> {
    let (a, b) = bytes.split_at(bytes.len() / 2);
    let control = &mut SendAncillaryBuffer::default();
    Ok(sendmsg_addr(socket, &to, &[IoSlice::new(a), IoSlice::new(b)], control, NO_SEND)?)
}

fn send_message(socket: &UdpSocket, _: SocketAddr, bytes: &[u8]) -> Done<usize> {
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut SendAncillaryBuffer::default(), NO_SEND)?)
}

fn receive_message(socket: &UdpSocket, buffer: &mut [u8]) -> Done<(usize, Option<SocketAddr>)> {
    let (a, b) = buffer.split_at_mut(100);
    let mut parts = [IoSliceMut::new(a), IoSliceMut::new(b)];
    let message = recvmsg(socket, &mut parts, &mut RecvAncillaryBuffer::default(), NO_RECV)?;
    Ok((message.bytes, message.address.map(SocketAddr::try_from).transpose()?))
}

fn write_vectored(socket: &UdpSocket, _: SocketAddr, bytes: &[u8]) -> Done<usize> {
    // For an empty list of buffers, the kernel would send no datagram (writev(2)).
    if bytes.is_empty() {
        return Ok(write(socket, bytes)?);
    }
    let (a, b) = bytes.split_at(bytes.len() / 2);
    Ok(writev(socket, &[IoSlice::new(a), IoSlice::new(b)])?)
}

fn read_vectored(socket: &UdpSocket, buffer: &mut [u8]) -> Done<(usize, Option<SocketAddr>)> {
    let (a, b) = buffer.split_at_mut(100);
    Ok((readv(socket, &mut [IoSliceMut::new(a), IoSliceMut::new(b)])?, None))
}

fn uring_send(socket: &UdpSocket, bytes: &[u8], mode: Mode) -> Done<usize> {
    Ok(Ring::new(mode, opcode::Send::CODE)?.send(socket, bytes)?)
}

fn uring_receive(socket: &UdpSocket, buffer: &mut [u8], mode: Mode) -> Done<(usize, Option<SocketAddr>)> {
    Ok((Ring::new(mode, opcode::Recv::CODE)?.receive(socket, buffer)?, None))
}

/// Sends several datagrams in one call (sendmmsg), from an unconnected socket to a connected one.
fn many_messages(stage: &mut Stage, family: Family) -> Done {
    let ((server, server_at), (client, client_at)) = (bind(family)?, bind(family)?);
    server.connect(client_at)?;
    let lengths = stage.datagrams();
    stage.with_child(
        |stage| {
            let client = Datagrams::new(stage, client.try_clone()?, Some(Outbound))?;
            let bytes: Vec<_> = lengths.iter().map(|length| vec![4; *length]).collect();
            let parts: Vec<_> = bytes.iter().map(|bytes| [IoSlice::new(bytes)]).collect();
            let mut controls: Vec<_> = parts.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let to = server_at.into();
            let mut messages: Vec<_> = parts
                .iter()
                .zip(&mut controls)
                .map(|(part, control)| MMsgHdr::new_with_addr(&to, part, control))
                .collect();
            let count = rustix::net::sendmmsg(&client.socket, &mut messages, NO_SEND)?;
            messages.iter().take(count).try_for_each(|message| client.sent(server_at, message.bytes_sent()))
        },
        |stage| {
            let server = Datagrams::new(stage, server.try_clone()?, Some(Inbound))?;
            let mut rest = lengths.len();
            while rest > 0 {
                let mut buffers = vec![[0; BUFFER]; rest];
                let mut parts: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                let received = receive_many(&server.socket, &mut parts, libc::MSG_WAITFORONE)?;
                rest -= received.len();
                received.into_iter().try_for_each(|length| server.received(Some(client_at), length))?;
            }
            Ok(())
        },
    )
}

/// UDP_CORK and MSG_MORE: several calls make one datagram; each call counts its own bytes.
fn corked(stage: &mut Stage, family: Family) -> Done {
    let ((server, server_at), (client, client_at)) = (bind(family)?, bind(family)?);
    client.connect(server_at)?;
    let lengths = stage.datagrams();
    let client = Datagrams::new(stage, client, Some(Outbound))?;
    for (length, more) in lengths.iter().zip((1..=lengths.len()).rev().map(|left| left > 1)) {
        let flags = if more { SendFlags::MORE } else { NO_SEND };
        client.sent(server_at, send(&client.socket, &vec![5; *length], flags)?)?;
    }
    let cork = |on| set_option(&client.socket, libc::IPPROTO_UDP, libc::UDP_CORK, on);
    cork(1)?;
    for length in &lengths {
        client.sent(server_at, send(&client.socket, &vec![5; *length], NO_SEND)?)?;
    }
    cork(0)?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    let mut buffer = [0; BUFFER];
    for _ in 0..2 {
        let (length, from) = receive_from(&server.socket, &mut buffer)?;
        server.received(from, length)?;
        if from.map(|from| from.port()) != Some(client_at.port()) || length != lengths.iter().sum::<usize>() {
            return Err(CaseError::unexpected(format!("{length} bytes of {lengths:?} from {from:?}")));
        }
    }
    Ok(())
}

/// UDP_SEGMENT: one call sends several datagrams. UDP_GRO: one call receives several.
fn segmented(stage: &mut Stage, family: Family) -> Done {
    const SEGMENT: i32 = 700;
    let ((server, _), (client, client_at)) = (bind(family)?, bind(family)?);
    let server_at = family.at(server.local_addr()?.port());
    let unsupported = |what: &str| format!("no {what} here");
    set_option(&client, libc::IPPROTO_UDP, libc::UDP_SEGMENT, SEGMENT)
        .map_err(|_| CaseError::unsupported(unsupported("UDP_SEGMENT")))?;
    set_option(&server, libc::IPPROTO_UDP, libc::UDP_GRO, 1)
        .map_err(|_| CaseError::unsupported(unsupported("UDP_GRO")))?;
    let client = Datagrams::new(stage, client, Some(Outbound))?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    let length = stage.random.usize(3_000..8_000);
    client.sent(server_at, sendto(&client.socket, &vec![6; length], NO_SEND, &server_at)?)?;
    let mut rest = length;
    while rest > 0 {
        let (length, _) = receive_from(&server.socket, &mut [0; BUFFER])?;
        server.received(Some(client_at), length)?;
        rest -= length;
    }
    Ok(())
}

/// Talks with four peers in turn on one socket: bytes count for the peer that they belong to.
fn several_peers(stage: &mut Stage, family: Family) -> Done {
    let (server, server_at) = bind(family)?;
    let peers = (0..4).map(|_| bind(family)).collect::<Done<Vec<_>>>()?;
    let lengths: Vec<_> = peers.iter().map(|_| stage.datagrams()).collect();
    stage.with_child(
        |stage| {
            for ((socket, _), lengths) in peers.iter().zip(&lengths) {
                let peer = Datagrams::new(stage, socket.try_clone()?, Some(Outbound))?;
                for length in lengths {
                    peer.sent(server_at, send_to(&peer.socket, server_at, &vec![7; *length])?)?;
                    let (length, from) = receive_from(&peer.socket, &mut [0; BUFFER])?;
                    peer.received(from, length)?;
                }
            }
            Ok(())
        },
        |stage| {
            let server = Datagrams::new(stage, server.try_clone()?, Some(Inbound))?;
            for _ in lengths.iter().flatten() {
                let (length, from) = receive_from(&server.socket, &mut [0; BUFFER])?;
                server.received(from, length)?;
                let to = from.ok_or_else(|| CaseError::unexpected("a datagram without a sender"))?;
                server.sent(to, send_to(&server.socket, to, &vec![8; length / 2])?)?;
            }
            Ok(())
        },
    )
}

/// Receives on an unconnected socket without asking for the address: no peer is known, so none may be shown.
fn no_address(stage: &mut Stage, family: Family, peers: usize) -> Done {
    let (server, server_at) = bind(family)?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    for _ in 0..peers {
        let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
        for length in stage.datagrams() {
            client.sent(server_at, send_to(&client.socket, server_at, &vec![9; length])?)?;
            server.received(None, recv(&server.socket, &mut [0; BUFFER], NO_RECV)?.0)?;
        }
    }
    Ok(())
}

/// Sends to one peer and then receives from another one without asking for its address: the received bytes must not be
/// shown for the first peer.
fn after_sending(stage: &mut Stage, family: Family) -> Done {
    let (server, server_at) = bind(family)?;
    let (first, first_at) = bind(family)?;
    let second = bind(family)?.0;
    let server = Datagrams::new(stage, server, None)?;
    let [to_first, to_server, ..] = stage.datagrams()[..] else {
        return Err(CaseError::unexpected("too few lengths"));
    };
    server.sent(first_at, send_to(&server.socket, first_at, &vec![1; to_first])?)?;
    let first = Datagrams::new(stage, first, Some(Inbound))?;
    let (length, from) = receive_from(&first.socket, &mut [0; BUFFER])?;
    first.received(from, length)?;
    let second = Datagrams::new(stage, second, Some(Outbound))?;
    second.sent(server_at, send_to(&second.socket, server_at, &vec![1; to_server])?)?;
    server.received(None, recv(&server.socket, &mut [0; BUFFER], NO_RECV)?.0)
}

/// Receives and sends on one socket in four threads, with a different peer for each datagram.
fn threads(stage: &mut Stage, family: Family) -> Done {
    const THREADS: usize = 4;
    const EACH: usize = 8;
    let (server, server_at) = bind(family)?;
    let seed = stage.random.u64(..);
    stage.with_child(
        |stage| {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..THREADS * EACH {
                let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
                let bytes = vec![1; random.usize(1..1400)];
                client.sent(server_at, send_to(&client.socket, server_at, &bytes)?)?;
                let (length, from) = receive_from(&client.socket, &mut [0; BUFFER])?;
                client.received(from, length)?;
            }
            Ok(())
        },
        |stage| {
            let server = Datagrams::new(stage, server.try_clone()?, Some(Inbound))?;
            let answer = || -> Done {
                for _ in 0..EACH {
                    let (length, from) = receive_from(&server.socket, &mut [0; BUFFER])?;
                    server.received(from, length)?;
                    let to = from.ok_or_else(|| CaseError::unexpected("a datagram without a sender"))?;
                    server.sent(to, send_to(&server.socket, to, &vec![2; length + 3])?)?;
                }
                Ok(())
            };
            thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(answer)).collect();
                threads.into_iter().try_for_each(|thread| {
                    thread.join().unwrap_or_else(|_| Err(CaseError::unexpected("a thread panicked")))
                })
            })
        },
    )
}

/// Opens a new socket for each query, as resolvers do.
fn one_query(stage: &mut Stage, family: Family) -> Done {
    const QUERIES: usize = 100;
    let (server, server_at) = bind(family)?;
    let seed = stage.random.u64(..);
    stage.with_child(
        |stage| {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..QUERIES {
                let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
                client.socket.connect(server_at)?;
                client.sent(server_at, send(&client.socket, &vec![1; random.usize(20..60)], NO_SEND)?)?;
                client.received(Some(server_at), recv(&client.socket, &mut [0; BUFFER], NO_RECV)?.0)?;
            }
            Ok(())
        },
        |stage| {
            let server = Datagrams::new(stage, server.try_clone()?, Some(Inbound))?;
            for _ in 0..QUERIES {
                let (length, from) = receive_from(&server.socket, &mut [0; BUFFER])?;
                server.received(from, length)?;
                let to = from.ok_or_else(|| CaseError::unexpected("a datagram without a sender"))?;
                server.sent(to, send_to(&server.socket, to, &vec![2; length + 40])?)?;
            }
            Ok(())
        },
    )
}

/// Connects a connected socket to another peer, for which the following bytes count.
fn reconnect(stage: &mut Stage) -> Done {
    let (client, client_at) = bind(Family::V4)?;
    let client = Datagrams::new(stage, client, Some(Outbound))?;
    for _ in 0..3 {
        let (server, server_at) = bind(Family::V4)?;
        let server = Datagrams::new(stage, server, Some(Inbound))?;
        client.socket.connect(server_at)?;
        for length in stage.datagrams() {
            client.sent(server_at, send(&client.socket, &vec![1; length], NO_SEND)?)?;
            let (length, from) = receive_from(&server.socket, &mut [0; BUFFER])?;
            server.received(from, length)?;
            server.sent(client_at, send_to(&server.socket, client_at, &vec![1; length / 2])?)?;
            match recv(&client.socket, &mut [0; BUFFER], NO_RECV) {
                Ok((length, _)) => client.received(Some(server_at), length)?,
                Err(error) => return Err(Errno::into(error)),
            }
        }
    }
    Ok(())
}
