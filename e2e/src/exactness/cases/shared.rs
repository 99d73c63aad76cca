//! Sockets that several processes or threads use: each process has its own bytes counted.

use std::{
    io::{IoSlice, IoSliceMut},
    net::TcpStream,
    os::{fd::AsFd as _, unix::net::UnixStream},
    thread,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::{
    Case,
    streams::{recv_plain, send_plain},
};
use crate::exactness::{
    child::Child,
    error::{CaseError, Done},
    sockets::{Family, Stream, connected},
    stage::Stage,
    tally::Direction::{Inbound, Outbound},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("shared/passed-to-another-process", |stage| passed(stage, false)),
        Case::new("shared/passed-out-of-the-cgroup", |stage| passed(stage, true)),
        Case::new("shared/fork-after-accept", |stage| forked(stage, 1)),
        Case::new("shared/sixteen-processes", |stage| forked(stage, 16)),
        Case::new("shared/threads", threads),
    ]
}

/// Passes a connection to another process (SCM_RIGHTS), which uses it; then this process uses it again.
fn passed(stage: &mut Stage, out_of_the_cgroup: bool) -> Done {
    let (client, server) = connected(stage, Family::V4)?;
    let (mine, theirs) = UnixStream::pair()?;
    let sizes = [(); 4].map(|()| stage.amount());
    send_plain(&client, &vec![1; sizes[0] + sizes[1]])?;
    recv_plain(&server, sizes[0])?;
    stage.with_child(
        |stage| {
            if out_of_the_cgroup {
                stage.enter(&stage.outside)?;
            }
            let server = Stream::new(stage, receive_socket(&theirs)?, Some(Inbound))?;
            recv_plain(&server, sizes[1])?;
            send_plain(&server, &vec![1; sizes[2]])
        },
        |_| {
            pass_socket(&mine, &server.socket)?;
            recv_plain(&client, sizes[2])?;
            // This process uses the same socket again.
            send_plain(&server, &vec![1; sizes[3]])?;
            recv_plain(&client, sizes[3])
        },
    )
}

pub(super) fn pass_socket(to: &UnixStream, socket: &TcpStream) -> Done {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(to, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

pub(super) fn receive_socket(from: &UnixStream) -> Done<TcpStream> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok(TcpStream::from(rights.ok_or_else(|| CaseError::unexpected("no descriptor came"))?))
}

/// Lets parent and children use the same two sockets in turns. With 16 children, more processes use a socket than its
/// two sets in the kernel's flow table have slots (8 each).
fn forked(stage: &mut Stage, children: usize) -> Done {
    let (client, server) = connected(stage, Family::V4)?;
    let bytes = vec![1; stage.random.usize(3_000..9_000)];
    for _ in 0..2 {
        for _ in 0..children {
            let child = user(stage, &client, &server, &bytes)?;
            stage.join(child)?;
            use_both(&client, &server, &bytes[..1_000])?;
        }
    }
    // All children run at the same time. Each reads as many bytes as it sends, but they may be bytes that another child
    // sent.
    let together: Vec<_> =
        (0..children).map(|_| user(stage, &client, &server, &bytes)).collect::<Done<_>>()?;
    use_both(&client, &server, &bytes)?;
    together.into_iter().try_for_each(|child| stage.join(child))
}

fn user(stage: &mut Stage, client: &Stream, server: &Stream, bytes: &[u8]) -> Done<Child> {
    stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
        use_both(&client, &server, bytes)
    })
}

fn use_both(client: &Stream, server: &Stream, bytes: &[u8]) -> Done {
    send_plain(client, bytes)?;
    recv_plain(server, bytes.len())?;
    send_plain(server, &bytes[..bytes.len() / 2])?;
    recv_plain(client, bytes.len() / 2)
}

/// Reads and writes the same connection in several threads at the same time.
fn threads(stage: &mut Stage) -> Done {
    const THREADS: usize = 4;
    let (client, server) = connected(stage, Family::V4)?;
    let bytes = vec![1; stage.amount()];
    let all = |work: &(dyn Fn() -> Done + Sync)| -> Done {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(CaseError::unexpected("a thread panicked")))
            })
        })
    };
    stage.with_child(
        |stage| {
            let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
            all(&|| send_plain(&client, &bytes))?;
            all(&|| recv_plain(&client, bytes.len()))
        },
        |stage| {
            let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
            all(&|| recv_plain(&server, bytes.len()))?;
            all(&|| send_plain(&server, &bytes))
        },
    )
}
