//! Sockets that are older than the trace, and sockets that enter the cgroup during the trace.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
};

use super::{
    Case,
    shared::{pass_socket, receive_socket},
    streams::{Receive, Send, WAYS_OF_OLDER, recv_plain, send_plain},
};
use crate::exactness::{
    error::Done,
    sockets::{FAMILIES, Family, Stream, connected, listen},
    stage::Stage,
    tally::{
        Direction::{Inbound, Outbound},
        Tally,
    },
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, send, receive) in WAYS_OF_OLDER {
        for family in FAMILIES {
            cases.push(Case::older(format!("older/{name}/{}", family.name()), move |stage| {
                let before = connected(stage, family)?;
                older_connection(stage, before, *send, *receive)
            }));
        }
    }
    cases.extend([
        Case::older("older/unread-bytes", unread),
        Case::older("older/activated-listener", |stage| activated(stage, true, false)),
        Case::new("cgroup/activated-listener", |stage| activated(stage, false, false)),
        Case::new("cgroup/activated-listener-born-inside", |stage| activated(stage, false, true)),
        Case::older("older/process-moved-after-listen", |stage| moved(stage, true)),
        Case::new("cgroup/process-moved-after-listen", |stage| moved(stage, false)),
        Case::new("cgroup/passed-into-the-cgroup", passed_in),
    ]);
    cases
}

/// Uses a connection before and after the trace begins: only the later bytes belong to the trace.
fn older_connection(stage: &mut Stage, ends: (Stream, Stream), send: Send, receive: Receive) -> Done {
    let (client, server) = ends;
    let bytes = vec![1; stage.amount()];
    send(&client, &bytes)?;
    receive(&server, bytes.len())?;
    send(&server, &bytes[..777])?;
    receive(&client, 777)?;
    stage.await_trace()?;
    stage.tally = Tally::default();
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    stage.with_child(
        |stage| {
            let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
            send(&client, &up)?;
            receive(&client, down.len())
        },
        |stage| {
            let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
            receive(&server, up.len())?;
            send(&server, &down)
        },
    )
}

/// Reads bytes in the trace that arrived before it: they count as received in the trace.
fn unread(stage: &mut Stage) -> Done {
    let (client, server) = connected(stage, Family::V4)?;
    let bytes = vec![1; 30_000];
    send_plain(&client, &bytes)?;
    recv_plain(&server, 10_000)?;
    stage.await_trace()?;
    stage.tally = Tally::default();
    let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
    recv_plain(&server, 20_000)
}

/// Uses a listener inside the cgroup that was opened outside, as with socket activation. If `before`, the trace begins
/// when the server already holds the listener. If `born`, the server is created inside the cgroup, as newer service
/// managers do; otherwise it moves there.
fn activated(stage: &mut Stage, before: bool, born: bool) -> Done {
    stage.enter(&stage.outside)?;
    let (listener, at) = listen(Family::V4)?;
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    let (ready, go) = rustix::pipe::pipe()?;
    let selected = stage.selected.clone();
    let server = stage.fork_into(born.then_some(&selected), |stage| {
        if !born {
            stage.enter(&stage.selected)?;
        }
        rustix::io::write(&go, &[1])?;
        let stream = Stream::accept(stage, &listener)?;
        recv_plain(&stream, up.len())?;
        send_plain(&stream, &down)?;
        stream.finish()
    })?;
    drop(go);
    // The server is inside, and holds the listener, when the trace begins.
    if rustix::io::read(&ready, &mut [0; 1])? == 0 {
        return stage.join(server);
    }
    if before {
        stage.await_trace()?;
    }
    stage.enter(&stage.selected)?;
    let stream = Stream::connect(stage, at)?;
    send_plain(&stream, &up)?;
    recv_plain(&stream, down.len())?;
    stream.finish()?;
    stage.join(server)
}

/// Moves a process that already listens into the cgroup; if `before`, the trace begins after that.
fn moved(stage: &mut Stage, before: bool) -> Done {
    stage.enter(&stage.outside)?;
    let (listener, at) = listen(Family::V4)?;
    stage.enter(&stage.selected)?;
    if before {
        stage.await_trace()?;
    }
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    stage.with_child(
        |stage| {
            let stream = Stream::connect(stage, at)?;
            send_plain(&stream, &up)?;
            recv_plain(&stream, down.len())?;
            stream.finish()
        },
        |stage| {
            let stream = Stream::accept(stage, &listener)?;
            recv_plain(&stream, up.len())?;
            send_plain(&stream, &down)?;
            stream.finish()
        },
    )
}

/// Passes a connection from a process outside the cgroup to one inside. The bytes that the process outside moves on it
/// afterwards still belong to no trace.
fn passed_in(stage: &mut Stage) -> Done {
    stage.enter(&stage.outside)?;
    let (mine, theirs) = UnixStream::pair()?;
    let sizes = [(); 3].map(|()| stage.amount());
    let (up, down) = (vec![1; sizes[0]], vec![1; sizes[1]]);
    let (ready, go) = rustix::pipe::pipe()?;
    let inside = stage.fork(|stage| {
        stage.enter(&stage.selected)?;
        rustix::io::write(&go, &[1])?;
        let server = Stream::new(stage, receive_socket(&theirs)?, Some(Inbound))?;
        recv_plain(&server, up.len())?;
        send_plain(&server, &down)?;
        // The process outside sends this byte when it has moved its bytes on the connection that it passed.
        rustix::io::read(&theirs, &mut [0; 1])?;
        recv_plain(&server, 1234)?;
        send_plain(&server, &[1; 321])
    })?;
    drop(go);
    if rustix::io::read(&ready, &mut [0; 1])? == 0 {
        return stage.join(inside);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let mut server = listener.accept()?.0;
    pass_socket(&mine, &server)?;
    client.write_all(&up)?;
    client.read_exact(&mut vec![0; down.len()])?;
    let (mut back, forth) = (vec![1; sizes[2]], vec![1; sizes[2]]);
    client.write_all(&forth)?;
    server.read_exact(&mut back)?;
    server.write_all(&[1; 777])?;
    client.read_exact(&mut [0; 777])?;
    client.write_all(&[1; 1234])?;
    rustix::io::write(&mine, &[1])?;
    client.read_exact(&mut [0; 321])?;
    stage.join(inside)
}
