//! A proxy: bytes go from one connection to another through a process, mostly without being copied into it.

use std::os::fd::OwnedFd;

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    pipe::{PipeFlags, SpliceFlags, pipe_with, splice},
};

use super::{
    Case,
    streams::{recv_plain, send_plain},
};
use crate::exactness::{
    error::Done,
    sockets::{Family, Stream, VERSIONS, connected},
    stage::Stage,
    tally::Tally,
};

/// The calls that move bytes through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Splice alone.
    Spliced,
    /// recv and send alone.
    Copied,
    /// Splice, and recv with send, in turns on the same sockets.
    Mixed,
}

/// The rounds in order. In the first two, while `top` prints several documents, only splice moves bytes.
const ROUNDS: [Way; 5] = [Way::Spliced, Way::Spliced, Way::Mixed, Way::Copied, Way::Spliced];
/// Number of bytes of a piece, which is not the size of any buffer or page of the kernel.
const PIECE: usize = 6_007;

pub(super) fn cases() -> Vec<Case> {
    let of = |family: Family| {
        let name = |what: &str| format!("proxy/{what}/{}", family.name());
        [
            Case::waiting(name("splice-and-copy"), move |stage| proxy(stage, family, false)),
            Case::older(name("older-splice-and-copy"), move |stage| proxy(stage, family, true)),
        ]
    };
    VERSIONS.into_iter().flat_map(of).collect()
}

/// Puts this process between a client and a server; compares after each round, while both connections are open.
fn proxy(stage: &mut Stage, family: Family, older: bool) -> Done {
    let (client, front) = connected(stage, family)?;
    let (back, server) = connected(stage, family)?;
    if older {
        // Moves bytes before the trace, which do not count.
        send_plain(&client, &[1; 5_000])?;
        let through = Pipe::new()?;
        relay(&through, &front, &back, 5_000, Way::Spliced)?;
        recv_plain(&server, 5_000)?;
        stage.await_trace()?;
        stage.tally = Tally::default();
    }
    let amounts = ROUNDS.map(|_| (stage.amount(), stage.amount()));
    let mut asking = stage.fork(|stage| {
        let client = mine(stage, &client)?;
        for (up, down) in amounts {
            send_plain(&client, &vec![1; up])?;
            recv_plain(&client, down)?;
            stage.wait_for_parent()?;
        }
        Ok(())
    })?;
    let mut answering = stage.fork(|stage| {
        let server = mine(stage, &server)?;
        for (up, down) in amounts {
            recv_plain(&server, up)?;
            send_plain(&server, &vec![1; down])?;
            stage.wait_for_parent()?;
        }
        Ok(())
    })?;
    let (front, back, through) = (mine(stage, &front)?, mine(stage, &back)?, Pipe::new()?);
    for ((up, down), way) in amounts.into_iter().zip(ROUNDS) {
        relay(&through, &front, &back, up, way)?;
        relay(&through, &back, &front, down, way)?;
        stage.compare(&mut [&mut asking, &mut answering])?;
    }
    stage.join(asking)?;
    stage.join(answering)
}

/// Returns a second handle on an end of a connection, which counts for this process.
fn mine(stage: &Stage, stream: &Stream) -> Done<Stream> {
    Stream::new(stage, stream.socket.try_clone()?, None)
}

/// A pipe that holds bytes between two sockets.
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    fn new() -> Done<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { out, into })
    }
}

/// Moves `count` bytes from one connection to the other.
fn relay(through: &Pipe, from: &Stream, to: &Stream, count: usize, way: Way) -> Done {
    let (mut rest, mut copies) = (count, way == Way::Copied);
    while rest > 0 {
        let most = rest.min(PIECE);
        rest -= if copies { copy_once(from, to, most)? } else { splice_once(through, from, to, most)? };
        copies = if way == Way::Mixed { !copies } else { copies };
    }
    Ok(())
}

/// Moves as many bytes as one splice takes from the socket, at most `most`; returns their number.
fn splice_once(through: &Pipe, from: &Stream, to: &Stream, most: usize) -> Done<usize> {
    let moved = splice(&from.socket, None, &through.into, None, most, SpliceFlags::MOVE)?;
    from.received(moved);
    to.send_by(&vec![0; moved], usize::MAX, |rest| {
        splice(&through.out, None, &to.socket, None, rest.len(), SpliceFlags::MOVE)
    })?;
    Ok(moved)
}

fn copy_once(from: &Stream, to: &Stream, most: usize) -> Done<usize> {
    let mut buffer = vec![0; most];
    let (moved, _) = recv(&from.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    from.received(moved);
    to.send_by(&buffer[..moved], usize::MAX, |rest| -> Result<usize, Errno> {
        send(&to.socket, rest, SendFlags::empty())
    })?;
    Ok(moved)
}
