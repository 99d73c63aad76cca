//! The ways to send to and receive from a TCP connection.

use std::{
    io::{ErrorKind, IoSlice, IoSliceMut, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use io_uring::opcode;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{MemfdFlags, memfd_create, sendfile},
    io::{Errno, read, readv, write, writev},
    net::{
        RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvfrom, recvmsg, send,
        sendmsg, sockopt,
    },
    pipe::{SpliceFlags, pipe, splice},
};

use super::Case;
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{FAMILIES, Family, Stream, listen, unless_interrupted},
    stage::Stage,
    sys::{
        sockets::{ZeroCopyWindow, receive_many, set_option},
        uring::{Mode, Ring},
    },
};

/// Sends all of the bytes and records the result of each call.
pub type Send = fn(&Stream, &[u8]) -> Done;
/// Receives a number of bytes and records the result of each call.
pub type Receive = fn(&Stream, usize) -> Done;

const NO_SEND: SendFlags = SendFlags::empty();
const NO_RECV: RecvFlags = RecvFlags::empty();
/// Number of bytes of a piece, which is not the size of any buffer or page of the kernel.
const PIECE: usize = 5_003;
/// Default capacity of a pipe in bytes.
const PIPE: usize = 64 << 10;

/// Pairs of a function that sends and one that receives, which are used in both directions of a connection.
pub const WAYS: &[(&str, Send, Receive)] = &[
    ("send-recv", send_plain, recv_plain),
    ("write-read", write_plain, read_plain),
    ("writev-readv", write_vectored, read_vectored),
    ("sendto-recvfrom", send_plain, recv_from),
    ("sendmsg-recvmsg", send_message, receive_message),
    ("sendmmsg-recvmmsg", send_messages, receive_messages),
    ("sendfile", send_file, recv_plain),
    ("splice-in", splice_in, recv_plain),
    ("splice-out", send_plain, splice_out),
    ("splice-both", splice_in, splice_out),
    ("splice-out-and-recv", send_plain, splice_and_recv),
    ("zerocopy-send", send_zero_copy, recv_plain),
    ("zerocopy-receive", send_pages, receive_zero_copy),
    ("peek", send_plain, peek_and_recv),
    ("trunc", send_plain, recv_discarding),
    ("waitall", send_plain, recv_all),
    ("dontwait", send_not_waiting, recv_not_waiting),
    ("more", send_more, recv_plain),
    ("cork", send_corked, recv_plain),
    ("io-uring", uring_send, uring_receive),
    ("io-uring-async", uring_send_async, uring_receive_async),
    ("io-uring-sqpoll", uring_send_polled, uring_receive_polled),
    ("io-uring-write-read", uring_write, uring_read),
    ("io-uring-send-zc", uring_send_zc, uring_receive),
];

/// The pairs that are used on connections older than the trace.
pub(super) const WAYS_OF_OLDER: &[(&str, Send, Receive)] = &[
    ("send-recv", send_plain, recv_plain),
    ("sendfile-splice", send_file, splice_out),
    ("splice-in-splice-and-recv", splice_in, splice_and_recv),
    ("zerocopy-receive", send_pages, receive_zero_copy),
    ("io-uring", uring_send, uring_receive),
];

pub(super) fn cases() -> Vec<Case> {
    let each = |(name, send, receive): &(&'static str, Send, Receive)| {
        let (name, send, receive) = (*name, *send, *receive);
        FAMILIES.map(|family| {
            Case::new(format!("tcp/{name}/{}", family.name()), move |stage| {
                exchange(stage, family, send, receive)
            })
        })
    };
    WAYS.iter().flat_map(each).collect()
}

/// Runs a client, in a process of its own, that sends and is answered by its server.
pub(super) fn exchange(stage: &mut Stage, family: Family, send: Send, receive: Receive) -> Done {
    let (listener, at) = listen(family)?;
    let (up, down) = (vec![1; stage.amount()], vec![2; stage.amount()]);
    stage.with_child(
        |stage| {
            let stream = Stream::connect(stage, at)?;
            send(&stream, &up)?;
            receive(&stream, down.len())?;
            stream.finish()
        },
        |stage| {
            let stream = Stream::accept(stage, &listener)?;
            receive(&stream, up.len())?;
            send(&stream, &down)?;
            stream.finish()
        },
    )
}

/// Sends from one end and answers from the other, in one process.
pub(super) fn exchange_between(
    stage: &mut Stage,
    one: &Stream,
    two: &Stream,
    send: Send,
    receive: Receive,
) -> Done {
    for (from, to) in [(one, two), (two, one)] {
        let bytes = vec![1; stage.amount()];
        send(from, &bytes)?;
        receive(to, bytes.len())?;
    }
    Ok(())
}

pub fn send_plain(stream: &Stream, bytes: &[u8]) -> Done {
    stream.send_by(bytes, PIECE, |piece| send(&stream.socket, piece, NO_SEND))
}

pub fn recv_plain(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| recv(&stream.socket, buffer, NO_RECV).map(|got| got.0))
}

fn write_plain(stream: &Stream, bytes: &[u8]) -> Done {
    stream.send_by(bytes, PIECE, |piece| write(&stream.socket, piece))
}

fn read_plain(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| read(&stream.socket, buffer))
}

fn write_vectored(stream: &Stream, bytes: &[u8]) -> Done {
    stream.send_by(bytes, PIECE, |piece| {
        let (a, b) = piece.split_at(piece.len() / 3);
        writev(&stream.socket, &[IoSlice::new(a), IoSlice::new(b)])
    })
}

fn read_vectored(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| {
        let (a, b) = buffer.split_at_mut(buffer.len() / 3);
        readv(&stream.socket, &mut [IoSliceMut::new(a), IoSliceMut::new(b)])
    })
}

fn recv_from(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| recvfrom(&stream.socket, buffer, NO_RECV).map(|got| got.0))
}

fn send_message(stream: &Stream, bytes: &[u8]) -> Done {
    stream.send_by(bytes, PIECE, |piece| {
        let (a, b) = piece.split_at(piece.len() / 2);
        let control = &mut SendAncillaryBuffer::default();
        sendmsg(&stream.socket, &[IoSlice::new(a), IoSlice::new(b)], control, NO_SEND)
    })
}

fn receive_message(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| {
        let (a, b) = buffer.split_at_mut(buffer.len() / 2);
        let mut parts = [IoSliceMut::new(a), IoSliceMut::new(b)];
        let control = &mut RecvAncillaryBuffer::default();
        recvmsg(&stream.socket, &mut parts, control, NO_RECV).map(|message| message.bytes)
    })
}

fn send_messages(stream: &Stream, bytes: &[u8]) -> Done {
    let mut rest = bytes;
    while !rest.is_empty() {
        let parts: Vec<_> = rest.chunks(PIECE).take(4).map(|part| [IoSlice::new(part)]).collect();
        let mut controls: Vec<_> = parts.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> = parts
            .iter()
            .zip(&mut controls)
            .map(|(part, control)| rustix::net::MMsgHdr::new(part, control))
            .collect();
        let count = rustix::net::sendmmsg(&stream.socket, &mut messages, NO_SEND)?;
        let lengths: Vec<_> = messages.iter().take(count).map(|message| message.bytes_sent()).collect();
        // A blocking socket accepts each message as a whole.
        lengths.iter().for_each(|length| stream.sent(*length));
        rest = &rest[lengths.iter().sum()..];
    }
    Ok(())
}

fn receive_messages(stream: &Stream, count: usize) -> Done {
    let mut rest = count;
    while rest > 0 {
        // The buffers together are no larger than the rest of the bytes, so that no call waits for more; the last call
        // returns fewer messages.
        let size = rest.div_ceil(2).min(PIECE);
        let mut buffers = vec![0; 2 * size];
        let (a, b) = buffers.split_at_mut(size);
        let b = &mut b[..(rest - size).min(size)];
        let mut parts = vec![IoSliceMut::new(a)];
        if !b.is_empty() {
            parts.push(IoSliceMut::new(b));
        }
        let lengths = unless_interrupted(|| receive_many(&stream.socket, &mut parts, libc::MSG_WAITFORONE))?;
        for length in lengths {
            if length == 0 {
                return Err(CaseError::unexpected("the peer ended too early"));
            }
            stream.received(length);
            rest -= length;
        }
    }
    Ok(())
}

pub(super) fn send_file(stream: &Stream, bytes: &[u8]) -> Done {
    let file = memfd_create("tt-exact", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    let mut at = 0;
    stream.send_by(bytes, usize::MAX, |rest| sendfile(&stream.socket, &file, Some(&mut at), rest.len()))
}

/// Sends through a pipe by splice, as proxies do.
pub(super) fn splice_in(stream: &Stream, bytes: &[u8]) -> Done {
    let (out, into) = pipe()?;
    for part in bytes.chunks(PIECE) {
        write(&into, part)?;
        stream.send_by(part, usize::MAX, |rest| splice_between(&out, &stream.socket, rest.len()))?;
    }
    Ok(())
}

pub(super) fn splice_out(stream: &Stream, count: usize) -> Done {
    let (out, into) = pipe()?;
    let mut sink = vec![0; PIPE];
    stream.receive_by(count, PIECE, |buffer| {
        let moved = splice_between(&stream.socket, &into, buffer.len())?;
        drain(&out, &mut sink[..moved]).map(|()| moved)
    })
}

/// Receives half of the bytes by splice and half by recv, in turns.
fn splice_and_recv(stream: &Stream, count: usize) -> Done {
    let mut rest = count;
    while rest > 0 {
        let part = rest.min(7_001);
        splice_out(stream, part / 2)?;
        recv_plain(stream, part - part / 2)?;
        rest -= part;
    }
    Ok(())
}

fn splice_between(from: impl AsFd, to: impl AsFd, most: usize) -> Result<usize, Errno> {
    splice(from, None, to, None, most, SpliceFlags::MOVE)
}

fn drain(pipe: &OwnedFd, sink: &mut [u8]) -> Result<(), Errno> {
    let mut rest = sink;
    while !rest.is_empty() {
        let count = read(pipe, &mut *rest)?;
        rest = &mut rest[count..];
    }
    Ok(())
}

/// Sends with MSG_ZEROCOPY, whose completions are read from the error queue; reading them moves no byte.
fn send_zero_copy(stream: &Stream, bytes: &[u8]) -> Done {
    set_option(&stream.socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
    let flags = SendFlags::from_bits_retain(libc::MSG_ZEROCOPY as u32);
    stream.send_by(bytes, 20_011, |piece| send(&stream.socket, piece, flags))?;
    // The kernel merges the completions of several calls, so one is enough.
    poll(&mut [PollFd::new(&stream.socket, PollFlags::ERR)], None)?;
    let mut buffer = [0; 512];
    match recv(&stream.socket, &mut buffer, RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sends whole pages from a pipe, which the kernel can map at the other end.
fn send_pages(stream: &Stream, bytes: &[u8]) -> Done {
    let (out, into) = pipe()?;
    for part in bytes.chunks(PIPE) {
        write(&into, part)?;
        stream.send_by(part, usize::MAX, |rest| splice_between(&out, &stream.socket, rest.len()))?;
    }
    Ok(())
}

/// Receives whole pages by mapping them, and the rest by recv.
fn receive_zero_copy(stream: &Stream, count: usize) -> Done {
    let unsupported =
        |error: std::io::Error| CaseError::unsupported(format!("no mapping of sockets: {error}"));
    let window = ZeroCopyWindow::new(&stream.socket, 128 << 10).map_err(unsupported)?;
    let (mut rest, mut mapped) = (count, 0);
    while rest > 0 {
        poll(&mut [PollFd::new(&stream.socket, PollFlags::IN)], None)?;
        let done = window.receive(&stream.socket, rest)?;
        stream.received(done.mapped);
        rest -= done.mapped;
        mapped += done.mapped;
        // Bytes that do not fill a page must be copied; less than a page is left at the end.
        let skip = if done.mapped + done.skip == 0 { rest.min(4096) } else { done.skip.min(rest) };
        recv_plain(stream, skip)?;
        rest -= skip;
    }
    if mapped == 0 && count > PIECE {
        return Err(CaseError::unexpected("the kernel mapped no page of what the socket received"));
    }
    Ok(())
}

/// Receives after MSG_PEEK, which moves nothing.
fn peek_and_recv(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| {
        let half = buffer.len().div_ceil(2);
        recv(&stream.socket, &mut buffer[..half], RecvFlags::PEEK)?;
        recv(&stream.socket, buffer, NO_RECV).map(|got| got.0)
    })
}

/// Receives with MSG_TRUNC, which discards bytes instead of copying them; they count as received (tcp(7)).
fn recv_discarding(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| recv(&stream.socket, buffer, RecvFlags::TRUNC).map(|got| got.1))
}

fn recv_all(stream: &Stream, count: usize) -> Done {
    stream
        .receive_by(count, 17_011, |buffer| recv(&stream.socket, buffer, RecvFlags::WAITALL).map(|got| got.0))
}

/// Sends without blocking; calls that fail with EAGAIN move nothing.
fn send_not_waiting(stream: &Stream, bytes: &[u8]) -> Done {
    stream.send_by(bytes, usize::MAX, |piece| {
        retry(
            || send(&stream.socket, piece, SendFlags::DONTWAIT),
            || poll(&mut [PollFd::new(&stream.socket, PollFlags::OUT)], None),
        )
    })
}

fn recv_not_waiting(stream: &Stream, count: usize) -> Done {
    stream.receive_by(count, PIECE, |buffer| {
        retry(
            || recv(&stream.socket, &mut *buffer, RecvFlags::DONTWAIT).map(|got| got.0),
            || poll(&mut [PollFd::new(&stream.socket, PollFlags::IN)], None),
        )
    })
}

fn retry(
    mut call: impl FnMut() -> Result<usize, Errno>,
    wait: impl Fn() -> Result<usize, Errno>,
) -> std::io::Result<usize> {
    loop {
        match call() {
            Err(error) if std::io::Error::from(error).kind() == ErrorKind::WouldBlock => wait()?,
            other => return Ok(other?),
        };
    }
}

fn send_more(stream: &Stream, bytes: &[u8]) -> Done {
    let (most, last) = bytes.split_at(bytes.len() - 1);
    stream.send_by(most, 701, |piece| send(&stream.socket, piece, SendFlags::MORE))?;
    send_plain(stream, last)
}

fn send_corked(stream: &Stream, bytes: &[u8]) -> Done {
    sockopt::set_tcp_cork(&stream.socket, true)?;
    stream.send_by(bytes, 701, |piece| send(&stream.socket, piece, NO_SEND))?;
    Ok(sockopt::set_tcp_cork(&stream.socket, false)?)
}

fn uring_send_as(stream: &Stream, bytes: &[u8], mode: Mode) -> Done {
    let mut ring = Ring::new(mode, opcode::Send::CODE)?;
    stream.send_by(bytes, PIECE, |piece| ring.send(&stream.socket, piece))
}

fn uring_receive_as(stream: &Stream, count: usize, mode: Mode) -> Done {
    let mut ring = Ring::new(mode, opcode::Recv::CODE)?;
    stream.receive_by(count, PIECE, |buffer| ring.receive(&stream.socket, buffer))
}

fn uring_send(stream: &Stream, bytes: &[u8]) -> Done {
    uring_send_as(stream, bytes, Mode::Plain)
}

fn uring_receive(stream: &Stream, count: usize) -> Done {
    uring_receive_as(stream, count, Mode::Plain)
}

fn uring_send_async(stream: &Stream, bytes: &[u8]) -> Done {
    uring_send_as(stream, bytes, Mode::Async)
}

fn uring_receive_async(stream: &Stream, count: usize) -> Done {
    uring_receive_as(stream, count, Mode::Async)
}

fn uring_send_polled(stream: &Stream, bytes: &[u8]) -> Done {
    uring_send_as(stream, bytes, Mode::Polled)
}

fn uring_receive_polled(stream: &Stream, count: usize) -> Done {
    uring_receive_as(stream, count, Mode::Polled)
}

fn uring_write(stream: &Stream, bytes: &[u8]) -> Done {
    let mut ring = Ring::new(Mode::Plain, opcode::Write::CODE)?;
    stream.send_by(bytes, PIECE, |piece| ring.write(&stream.socket, piece))
}

fn uring_read(stream: &Stream, count: usize) -> Done {
    let mut ring = Ring::new(Mode::Plain, opcode::Read::CODE)?;
    stream.receive_by(count, PIECE, |buffer| ring.read(&stream.socket, buffer))
}

fn uring_send_zc(stream: &Stream, bytes: &[u8]) -> Done {
    let mut ring = Ring::new(Mode::Plain, opcode::SendZc::CODE)?;
    stream.send_by(bytes, PIECE, |piece| ring.send_zc(&stream.socket, piece))
}
