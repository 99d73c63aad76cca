//! Connections that are in use when the trace begins: a call blocks, bytes are unread, or nobody has accepted them yet.

use std::net::Shutdown;

use rustix::{
    io::ioctl_fionread,
    net::{RecvFlags, recv},
};

use super::{
    Case,
    blocked::{LENGTH, await_asleep, await_blocked, narrow, send_at_once},
    streams::{Receive, recv_plain, send_plain, splice_out},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{Family, Stream, VERSIONS, connected, listen},
    stage::Stage,
    sys::tcp,
    tally::{
        Bytes,
        Direction::{Inbound, Outbound},
        Tally,
    },
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in VERSIONS {
        for (way, receive) in [("recv", recv_plain as Receive), ("splice", splice_out)] {
            let name = |what: &str| format!("older/{what}-{way}/{}", family.name());
            cases.extend([
                Case::older(name("blocked-in-send"), move |stage| in_send(stage, family, receive)),
                Case::older(name("unread-at-first"), move |stage| unread(stage, family, receive)),
                Case::older(name("ended-unread"), move |stage| ended(stage, family, receive)),
                Case::older(name("half-closed"), move |stage| half_closed(stage, family, receive)),
                Case::older(name("not-accepted"), move |stage| not_accepted(stage, family, receive, false)),
                Case::older(name("not-accepted-ended"), move |stage| {
                    not_accepted(stage, family, receive, true)
                }),
            ]);
        }
        let name = |what: &str| format!("older/{what}/{}", family.name());
        cases.extend([
            Case::older(name("blocked-in-recv"), move |stage| in_recv(stage, family, 0)),
            Case::older(name("blocked-in-waitall"), move |stage| in_recv(stage, family, 7_654)),
        ]);
    }
    cases
}

/// Waits until the trace has begun and discards the counts from before.
fn begin(stage: &mut Stage) -> Done {
    stage.await_trace()?;
    stage.tally = Tally::default();
    Ok(())
}

/// Returns a second handle on an end of a connection, whose calls count from now on.
fn from_here(stage: &Stage, stream: &Stream) -> Done<Stream> {
    Stream::new(stage, stream.socket.try_clone()?, None)
}

/// Begins the trace while a send call blocks. The bytes that the call has sent by then are [`Bytes::straddling`]: the
/// product may count them or not.
fn in_send(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let (client, server) = narrow(stage, family)?;
    let mut child = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        send_at_once(&client)?;
        stage.wait_for_parent()
    })?;
    await_blocked(&client.socket, child.pid, child.pid)?;
    let before = tcp::taken(&client.socket)?;
    begin(stage)?;
    let server = from_here(stage, &server)?;
    stage.await_documents(2)?;
    receive(&server, LENGTH)?;
    stage.count_for(child.pid, client.flow(), &Bytes { straddling: (0, before), ..Bytes::default() })?;
    stage.compare(&mut [&mut child])?;
    stage.join(child)
}

/// Begins the trace while a receive call blocks with `half` bytes already in its buffer.
fn in_recv(stage: &mut Stage, family: Family, half: usize) -> Done {
    let (client, server) = connected(stage, family)?;
    let length = half + stage.random.usize(1_000..20_000);
    let mut child = stage.fork(|stage| {
        let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
        let (received, _) = recv(&server.socket, vec![0; length].as_mut_slice(), RecvFlags::WAITALL)?;
        server.received(received);
        stage.wait_for_parent()
    })?;
    send_plain(&client, &vec![1; half])?;
    await_asleep(child.pid, child.pid, || {
        Ok(tcp::received(&server.socket)? == half as u64 && ioctl_fionread(&server.socket)? == 0)
    })?;
    begin(stage)?;
    let client = from_here(stage, &client)?;
    stage.await_documents(2)?;
    send_plain(&client, &vec![1; length - half])?;
    stage.count_for(child.pid, server.flow(), &Bytes { straddling: (half as u64, 0), ..Bytes::default() })?;
    stage.compare(&mut [&mut child])?;
    stage.join(child)
}

/// Begins the trace with unread bytes: reading them is the first event in the trace.
fn unread(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let (client, server) = connected(stage, family)?;
    send_plain(&client, &[1; 40_000])?;
    receive(&server, 10_000)?;
    begin(stage)?;
    let (client, server) = (from_here(stage, &client)?, from_here(stage, &server)?);
    receive(&server, 12_345)?;
    stage.compare(&mut [])?;
    receive(&server, 40_000 - 10_000 - 12_345)?;
    // For several documents of `top`, `receive` is the only receiving call: the product must count spliced bytes
    // without help from recv.
    for _ in 0..3 {
        let bytes = vec![1; stage.amount()];
        send_plain(&client, &bytes)?;
        receive(&server, bytes.len())?;
        stage.await_documents(1)?;
    }
    stage.compare(&mut [])
}

/// Begins the trace with unread bytes after the client has shut its direction down.
fn ended(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let (client, server) = connected(stage, family)?;
    send_plain(&client, &[1; 40_000])?;
    client.socket.shutdown(Shutdown::Write)?;
    begin(stage)?;
    let (client, server) = (from_here(stage, &client)?, from_here(stage, &server)?);
    receive(&server, 30_000)?;
    stage.compare(&mut [])?;
    receive(&server, 10_000)?;
    expect_end(&server)?;
    stage.compare(&mut [])?;
    send_plain(&server, &[1; 5_000])?;
    receive(&client, 5_000)
}

/// Receives in the trace at an end that had shut down its sending side before the trace.
fn half_closed(stage: &mut Stage, family: Family, receive: Receive) -> Done {
    let (client, server) = connected(stage, family)?;
    send_plain(&client, &[1; 1_000])?;
    client.socket.shutdown(Shutdown::Write)?;
    receive(&server, 1_000)?;
    expect_end(&server)?;
    begin(stage)?;
    let (client, server) = (from_here(stage, &client)?, from_here(stage, &server)?);
    let bytes = vec![1; stage.amount()];
    send_plain(&server, &bytes)?;
    receive(&client, bytes.len())?;
    stage.compare(&mut [])?;
    drop(server);
    Ok(())
}

/// Begins the trace while the connection and its bytes wait in the listener's queue; with `ended`, the client has shut
/// its direction down.
fn not_accepted(stage: &mut Stage, family: Family, receive: Receive, ended: bool) -> Done {
    let (listener, at) = listen(family)?;
    let client = Stream::connect(stage, at)?;
    send_plain(&client, &[1; 40_000])?;
    if ended {
        client.socket.shutdown(Shutdown::Write)?;
    }
    begin(stage)?;
    let client = from_here(stage, &client)?;
    let server = Stream::accept(stage, &listener)?;
    receive(&server, 40_000)?;
    if ended {
        expect_end(&server)?;
    } else {
        send_plain(&client, &[1; 6_000])?;
        receive(&server, 6_000)?;
    }
    send_plain(&server, &[1; 5_000])?;
    receive(&client, 5_000)?;
    stage.compare(&mut [])
}

fn expect_end(stream: &Stream) -> Done {
    match stream.receive_to_end()? {
        0 => Ok(()),
        more => Err(CaseError::unexpected(format!("{more} bytes where the end was due"))),
    }
}
