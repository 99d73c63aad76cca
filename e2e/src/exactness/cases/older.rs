//! Sockets that were there before the trace, and sockets that came into the cgroup.

use super::{
    Case,
    shared::pair,
    streams::{Receive, Send, WAYS_OF_OLDER, recv_plain, send_plain},
};
use crate::exactness::{
    error::Done,
    sockets::{FAMILIES, Family, Stream, listen},
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
                let (listener, at) = listen(family)?;
                let before = (Stream::connect(stage, at)?, Stream::accept(stage, &listener)?);
                older_connection(stage, before, *send, *receive)
            }));
        }
    }
    cases.extend([
        Case::older("older/unread-bytes", unread),
        Case::older("older/activated-listener", |stage| activated(stage, true)),
        Case::new("cgroup/activated-listener", |stage| activated(stage, false)),
        Case::older("older/process-moved-after-listen", |stage| moved(stage, true)),
        Case::new("cgroup/process-moved-after-listen", |stage| moved(stage, false)),
    ]);
    cases
}

/// What a connection moved before the trace is not the trace's; everything after it is.
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

/// Bytes that arrived before the trace and are read after its beginning were received in the trace.
fn unread(stage: &mut Stage) -> Done {
    let (client, server) = pair(stage)?;
    let bytes = vec![1; 30_000];
    send_plain(&client, &bytes)?;
    recv_plain(&server, 10_000)?;
    stage.await_trace()?;
    stage.tally = Tally::default();
    let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
    recv_plain(&server, 20_000)
}

/// A listener that was made outside the cgroup and is used by a process inside, as with socket activation.
fn activated(stage: &mut Stage, before: bool) -> Done {
    stage.enter(&stage.outside)?;
    let (listener, at) = listen(Family::V4)?;
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    let (ready, go) = rustix::pipe::pipe()?;
    let server = stage.fork(|stage| {
        stage.enter(&stage.selected)?;
        rustix::io::write(&go, &[1])?;
        let stream = Stream::accept(stage, &listener)?;
        recv_plain(&stream, up.len())?;
        send_plain(&stream, &down)?;
        stream.finish()
    })?;
    drop(go);
    // The server is inside when the trace begins, and holds the listener.
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

/// A server listens, and is moved into the cgroup afterwards.
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
