//! Calls that fail or report errors: they move no byte and do not disturb the counts of later calls.

use std::{
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, recvfrom, send, sendto},
};

use super::{
    Case,
    streams::{recv_plain, send_plain},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{Datagrams, FAMILIES, Family, Stream, bind, listen},
    stage::Stage,
    sys::sockets::set_option,
    tally::Direction::{Inbound, Outbound},
};

pub(super) fn cases() -> Vec<Case> {
    let of = |family: Family| {
        let name = |what: &str| format!("errors/{what}/{}", family.name());
        [
            Case::new(name("tcp-epipe"), move |stage| broken_pipe(stage, family)),
            Case::new(name("tcp-refused"), move |stage| refused_connection(stage, family)),
            Case::new(name("udp-refused"), move |stage| refused_datagram(stage, family)),
            Case::new(name("udp-refused-then-other-peer"), move |stage| refused_then_other(stage, family)),
            Case::new(name("udp-eagain"), move |stage| nothing_there(stage, family)),
            Case::new(name("udp-too-long"), move |stage| too_long(stage, family)),
            Case::new(name("udp-error-queue"), move |stage| error_queue(stage, family)),
            Case::new(name("udp-own-timestamps"), move |stage| timestamps(stage, family)),
        ]
    };
    FAMILIES.into_iter().flat_map(of).collect()
}

fn expect<T: std::fmt::Debug>(result: Result<T, Errno>, expected: Errno) -> Done {
    match result {
        Err(error) if error == expected => Ok(()),
        other => Err(CaseError::unexpected(format!("{other:?} where {expected:?} was due"))),
    }
}

/// Waits until poll(2) reports `what` on the socket.
fn await_note(socket: &impl std::os::fd::AsFd, what: PollFlags) -> Done {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    match poll(&mut [PollFd::new(socket, what)], Some(&limit))? {
        0 => Err(CaseError::unexpected("the kernel told nothing within 20 s")),
        _ => Ok(()),
    }
}

/// Sends after the socket's sending direction was shut down, which fails with EPIPE. The other direction goes on.
fn broken_pipe(stage: &mut Stage, family: Family) -> Done {
    let (listener, at) = listen(family)?;
    let client = Stream::connect(stage, at)?;
    let server = Stream::accept(stage, &listener)?;
    let bytes = vec![1; stage.random.usize(1..5_000)];
    send_plain(&client, &bytes)?;
    client.socket.shutdown(Shutdown::Write)?;
    expect(send(&client.socket, &bytes, SendFlags::NOSIGNAL), Errno::PIPE)?;
    recv_plain(&server, bytes.len())?;
    send_plain(&server, &bytes)?;
    recv_plain(&client, bytes.len())
}

fn refused_connection(stage: &mut Stage, family: Family) -> Done {
    let (listener, at) = listen(family)?;
    drop(listener);
    match Stream::connect(stage, at) {
        Err(CaseError::Call { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
            Ok(())
        }
        other => Err(CaseError::unexpected(format!("{other:?} where ECONNREFUSED was due"))),
    }
}

/// Returns a port that nobody listens on; it was just in use, so no other socket gets it soon.
fn free_port(family: Family) -> Done<SocketAddr> {
    Ok(bind(family)?.1)
}

/// Sends to a closed port: the first datagram is sent, and the next call reports the ICMP error instead of sending.
fn refused_datagram(stage: &mut Stage, family: Family) -> Done {
    let nobody = free_port(family)?;
    let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
    client.socket.connect(nobody)?;
    let length = stage.random.usize(100..1000);
    for _ in 0..3 {
        client.sent(nobody, send(&client.socket, &vec![1; length], SendFlags::empty())?)?;
        await_note(&client.socket, PollFlags::ERR)?;
        expect(send(&client.socket, &[1; 77], SendFlags::empty()), Errno::CONNREFUSED)?;
    }
    client.sent(nobody, send(&client.socket, &vec![1; length], SendFlags::empty())?)?;
    await_note(&client.socket, PollFlags::ERR)?;
    expect(recv(&client.socket, &mut [0; 10], RecvFlags::empty()).map(|got| got.0), Errno::CONNREFUSED)
}

/// Sends to another peer after a failed call: the bytes must not be shown for the peer of the failed call.
fn refused_then_other(stage: &mut Stage, family: Family) -> Done {
    let (server, at) = bind(family)?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
    // Two calls that fail: a broadcast without SO_BROADCAST, and more bytes than a datagram can have.
    let (nobody, too_much) = match family {
        Family::V4 => (SocketAddr::from(([255; 4], 9)), 10),
        _ => (family.at(9), 70_000),
    };
    for length in stage.datagrams() {
        if let Ok(sent) = sendto(&client.socket, &vec![1; too_much], SendFlags::empty(), &nobody) {
            return Err(CaseError::unexpected(format!("{sent} bytes went to {nobody}")));
        }
        client.sent(at, sendto(&client.socket, &vec![1; length], SendFlags::empty(), &at)?)?;
        let (length, _, from) = recvfrom(&server.socket, &mut [0; 2_000], RecvFlags::empty())?;
        server.received(from.map(SocketAddr::try_from).transpose()?, length)?;
    }
    Ok(())
}

fn nothing_there(stage: &mut Stage, family: Family) -> Done {
    let (server, at) = bind(family)?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
    for length in stage.datagrams() {
        let empty = recvfrom(&server.socket, &mut [0; 2_000], RecvFlags::DONTWAIT).map(|got| got.0);
        expect(empty, Errno::AGAIN)?;
        client.sent(at, sendto(&client.socket, &vec![1; length], SendFlags::empty(), &at)?)?;
        let (length, _, from) = recvfrom(&server.socket, &mut [0; 2_000], RecvFlags::empty())?;
        server.received(from.map(SocketAddr::try_from).transpose()?, length)?;
    }
    Ok(())
}

fn too_long(stage: &mut Stage, family: Family) -> Done {
    let (server, at) = bind(family)?;
    let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
    client.socket.connect(at)?;
    expect(send(&client.socket, &vec![1; 70_000], SendFlags::empty()), Errno::MSGSIZE)?;
    client.sent(at, send(&client.socket, &[1; 321], SendFlags::empty())?)?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    let (length, _, from) = recvfrom(&server.socket, &mut [0; 2_000], RecvFlags::empty())?;
    server.received(from.map(SocketAddr::try_from).transpose()?, length)
}

/// Reads the error queue until it returns one message, which is a copy of what this socket had sent.
fn read_error_queue(client: &Datagrams) -> Done<usize> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        await_note(&client.socket, PollFlags::ERR)?;
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        match recvfrom(&client.socket, &mut [0; 2_000], flags) {
            Ok((length, ..)) => return Ok(length),
            Err(Errno::AGAIN) if Instant::now() < deadline => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// IP_RECVERR: the refused datagram is returned by the error queue.
fn error_queue(stage: &mut Stage, family: Family) -> Done {
    let nobody = free_port(family)?;
    let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
    set_option(&client.socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
    if family != Family::V4 {
        set_option(&client.socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    let length = stage.random.usize(100..1000);
    client.sent(nobody, sendto(&client.socket, &vec![1; length], SendFlags::empty(), &nobody)?)?;
    match read_error_queue(&client)? {
        0 => Err(CaseError::unexpected("the error queue gave no part of the datagram")),
        _ => Ok(()),
    }
}

/// SO_TIMESTAMPING: the error queue returns what was sent, with the time of sending.
fn timestamps(stage: &mut Stage, family: Family) -> Done {
    const TX_SOFTWARE: i32 = 1 << 1; // linux/net_tstamp.h
    const SOFTWARE: i32 = 1 << 4;
    let (server, at) = bind(family)?;
    let server = Datagrams::new(stage, server, Some(Inbound))?;
    let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
    set_option(&client.socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE)?;
    for length in stage.datagrams() {
        client.sent(at, sendto(&client.socket, &vec![1; length], SendFlags::empty(), &at)?)?;
        let (length, _, from) = recvfrom(&server.socket, &mut [0; 2_000], RecvFlags::empty())?;
        server.received(from.map(SocketAddr::try_from).transpose()?, length)?;
        match read_error_queue(&client)? {
            0 => return Err(CaseError::unexpected("the error queue gave no part of the datagram")),
            _ => continue,
        }
    }
    Ok(())
}
