//! A connection that two processes share: both receive or send by calls, or one of them by splice, without any call on
//! the socket.

use std::net::Shutdown;

use rustix::{
    io::read,
    net::{RecvFlags, recv},
    pipe::{SpliceFlags, pipe, splice},
};

use super::{
    Case,
    streams::{Receive, Send, recv_plain, send_file, send_plain, splice_in, splice_out},
};
use crate::exactness::{
    error::Done,
    sockets::{Family, Stream, VERSIONS, connected},
    stage::Stage,
    tally::{
        Direction::{Inbound, Outbound},
        Tally,
    },
};

/// Number of turns of each process.
const TURNS: usize = 6;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in VERSIONS {
        // The cases have names of their own, because a spliced byte may be shown for the wrong process: see `EXCUSED`.
        let reads: [(&str, Receive, Receive); 4] = [
            ("recv", recv_plain, recv_plain),
            ("splice-and-recv", splice_out, recv_plain),
            ("splice-after-recv", recv_plain, splice_out),
            ("splice", splice_out, splice_out),
        ];
        for (way, mine, theirs) in reads {
            let name = |what: &str| format!("shared/{way}-{what}/{}", family.name());
            cases.extend([
                Case::waiting(name("in-turns"), move |stage| receive_in_turns(stage, family, mine, theirs)),
                Case::older(name("in-turns-older"), move |stage| older_in_turns(stage, family, mine, theirs)),
            ]);
        }
        for (way, splices) in [("recv", false), ("splice-and-recv", true)] {
            let name = format!("shared/{way}-at-once/{}", family.name());
            cases.push(Case::waiting(name, move |stage| receive_at_once(stage, family, splices)));
        }
        let sends: [(&str, Send, Send); 2] =
            [("send", send_plain, send_plain), ("sendfile-and-pipe", send_file, splice_in)];
        for (way, mine, theirs) in sends {
            let name = format!("shared/{way}-in-turns/{}", family.name());
            cases.push(Case::waiting(name, move |stage| send_in_turns(stage, family, mine, theirs)));
        }
    }
    cases
}

fn receive_in_turns(stage: &mut Stage, family: Family, mine: Receive, theirs: Receive) -> Done {
    let (client, server) = connected(stage, family)?;
    receive_each(stage, &client, &server, mine, theirs)
}

/// Uses a connection that is older than the trace; the second process that shares it is created during the trace.
fn older_in_turns(stage: &mut Stage, family: Family, mine: Receive, theirs: Receive) -> Done {
    let (client, server) = connected(stage, family)?;
    send_plain(&client, &[1; 3_000])?;
    mine(&server, 3_000)?;
    stage.await_trace()?;
    stage.tally = Tally::default();
    let client = Stream::new(stage, client.socket.try_clone()?, None)?;
    let server = Stream::new(stage, server.socket.try_clone()?, None)?;
    receive_each(stage, &client, &server, mine, theirs)
}

fn receive_each(stage: &mut Stage, client: &Stream, server: &Stream, mine: Receive, theirs: Receive) -> Done {
    let amounts: Vec<_> = (0..TURNS).map(|_| (stage.amount(), stage.amount())).collect();
    let mut child = stage.fork(|stage| {
        let server = Stream::new(stage, server.socket.try_clone()?, None)?;
        for (_, amount) in &amounts {
            stage.wait_for_parent()?;
            theirs(&server, *amount)?;
            stage.wait_for_parent()?;
        }
        stage.wait_for_parent()
    })?;
    for (my_amount, their_amount) in &amounts {
        send_plain(client, &vec![1; *my_amount])?;
        mine(server, *my_amount)?;
        send_plain(client, &vec![1; *their_amount])?;
        // The child waits for this process twice in each turn: before it moves its bytes, and after that.
        for _ in 0..2 {
            child.await_waiting()?;
            child.go_on()?;
        }
    }
    stage.compare(&mut [&mut child])?;
    // Each process sends an answer, so that the product sees a call of each on the socket.
    send_plain(server, &[1; 999])?;
    recv_plain(client, 999)?;
    stage.join(child)
}

/// Receives in both processes at the same time, until the end of the stream.
fn receive_at_once(stage: &mut Stage, family: Family, splices: bool) -> Done {
    let (client, server) = connected(stage, family)?;
    let sending = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        send_plain(&client, &vec![1; 1 << 20])?;
        Ok(client.socket.shutdown(Shutdown::Write)?)
    })?;
    let mut receiving = stage.fork(|stage| {
        let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
        server.receive_to_end()?;
        stage.wait_for_parent()
    })?;
    if splices {
        splice_to_end(&server)?;
    } else {
        server.receive_to_end()?;
    }
    stage.join(sending)?;
    stage.compare(&mut [&mut receiving])?;
    stage.join(receiving)
}

fn splice_to_end(stream: &Stream) -> Done {
    let (out, into) = pipe()?;
    let mut sink = vec![0; 1 << 16];
    loop {
        match splice(&stream.socket, None, &into, None, sink.len(), SpliceFlags::MOVE)? {
            // A result of 0 can also mean that the other process has just taken the bytes, so a peek verifies the end.
            0 if recv(&stream.socket, &mut [0; 1], RecvFlags::PEEK)?.0 == 0 => return Ok(()),
            moved => {
                stream.received(moved);
                let mut rest = moved;
                while rest > 0 {
                    rest -= read(&out, &mut sink[..rest])?;
                }
            }
        }
    }
}

fn send_in_turns(stage: &mut Stage, family: Family, mine: Send, theirs: Send) -> Done {
    let (client, server) = connected(stage, family)?;
    let amounts: Vec<_> = (0..TURNS).map(|_| (stage.amount(), stage.amount())).collect();
    let mut child = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        for (_, amount) in &amounts {
            stage.wait_for_parent()?;
            theirs(&client, &vec![1; *amount])?;
        }
        stage.wait_for_parent()
    })?;
    for (my_amount, their_amount) in &amounts {
        mine(&client, &vec![1; *my_amount])?;
        child.await_waiting()?;
        child.go_on()?;
        recv_plain(&server, my_amount + their_amount)?;
    }
    stage.compare(&mut [&mut child])?;
    stage.join(child)
}
