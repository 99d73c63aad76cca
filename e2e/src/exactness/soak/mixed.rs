//! A soak of everything together: processes, threads, forks, short connections, all ways to send and receive, TCP and
//! UDP.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use fastrand::Rng;
use rustix::net::{RecvFlags, SendFlags, recv, recvfrom, send, sendto, sockopt};

use super::service::{LONGEST, accept_until_told, answer_datagrams, before, in_threads, stop_datagrams};
use crate::exactness::{
    cases::streams::{Receive, Send, WAYS, send_plain},
    error::{CaseError, Done},
    sockets::{Datagrams, FAMILIES, Family, Stream, bind, listen, unless_interrupted},
    stage::Stage,
    tally::Direction::Outbound,
};

/// Length of the header that begins a round: two numbers, the bytes that the client sends and the bytes that it wants
/// back.
const HEADER: usize = 16;
/// First number of a round's header that stops the server.
const STOP: u64 = u64::MAX;
const CLIENTS: usize = 2;
const THREADS: usize = 3;

pub(super) fn run(stage: &mut Stage, time: Duration) -> Done {
    let end = Instant::now() + time;
    // One listener for each family; the one of `Mapped` accepts IPv4 too.
    let listeners = FAMILIES.map(listen).into_iter().collect::<Done<Vec<_>>>()?;
    let (socket, _) = bind(Family::Mapped)?;
    let port = socket.local_addr()?.port();
    let addresses: Vec<_> = listeners.iter().map(|(_, at)| *at).collect();
    let mut servers = Vec::new();
    for (listener, _) in &listeners {
        let seed = stage.random.u64(..);
        servers.push(stage.fork(|stage| {
            accept_until_told(stage, listener, |stream, number| {
                serve(stream, &mut Rng::with_seed(seed ^ number))
            })
        })?);
    }
    let datagram_server = answer_datagrams(stage, &socket, THREADS)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(stage.fork(|stage| client(stage, &addresses, end))?);
        clients.push(stage.fork(|stage| datagram_client(stage, port, end))?);
    }
    let mut forks = 0;
    while before(end) {
        let child = stage.fork(|stage| {
            let mut random = stage.random.clone();
            (0..random.u8(1..4)).try_for_each(|_| connection(stage, &addresses, &mut random))
        })?;
        stage.join(child)?;
        forks += 1;
    }
    clients.into_iter().try_for_each(|client| stage.join(client))?;
    for at in addresses {
        stop(stage, at)?;
    }
    let last = Datagrams::new(stage, bind(Family::Mapped)?.0, Some(Outbound))?;
    stop_datagrams(&last, Family::Mapped.at(port), THREADS)?;
    servers.into_iter().try_for_each(|server| stage.join(server))?;
    stage.join(datagram_server)?;
    eprintln!("{forks} short-lived processes");
    Ok(())
}

/// Stops a server by a header with [`STOP`]. The server's main thread still waits in accept then, so one more
/// connection wakes it.
fn stop(stage: &Stage, at: SocketAddr) -> Done {
    let stream = Stream::connect(stage, at)?;
    send_plain(&stream, &[STOP.to_be_bytes(), [0; 8]].concat())?;
    // The end of the connection confirms that the header was read.
    match recv(&stream.socket, &mut [0; 1], RecvFlags::empty())?.0 {
        0 => Stream::connect(stage, at).map(drop),
        _ => Err(CaseError::unexpected("an answer where the end was due")),
    }
}

fn client(stage: &mut Stage, servers: &[SocketAddr], end: Instant) -> Done {
    let (seed, count) = (stage.random.u64(..), AtomicU64::new(0));
    let stage: &Stage = stage;
    in_threads(THREADS, |number| {
        let mut random = Rng::with_seed(seed ^ number as u64);
        while before(end) {
            connection(stage, servers, &mut random)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    eprintln!("process {}: {} connections", std::process::id(), count.into_inner());
    Ok(())
}

/// Returns a random size of up to 64 KiB, mostly a small one.
fn size(random: &mut Rng) -> usize {
    let most = 1 << random.u32(0..=16);
    random.usize(1..=most)
}

/// Returns a random pair of [`WAYS`]: never `zerocopy-receive`, which needs whole pages, and rarely `io-uring-sqpoll`,
/// whose kernel thread is slow to begin and end.
fn way(random: &mut Rng) -> (Send, Receive) {
    loop {
        let (name, send, receive) = WAYS[random.usize(..WAYS.len())];
        let rarely = name == "io-uring-sqpoll" && random.u8(..32) > 0;
        if name != "zerocopy-receive" && !rarely {
            return (send, receive);
        }
    }
}

fn connection(stage: &Stage, servers: &[SocketAddr], random: &mut Rng) -> Done {
    let stream = Stream::connect(stage, servers[random.usize(..servers.len())])?;
    stream.socket.set_nodelay(random.u8(..8) > 0)?;
    for _ in 0..random.u8(1..5) {
        let (up, down) = (size(random), size(random));
        let (send, receive) = way(random);
        send_plain(&stream, &[(up as u64).to_be_bytes(), (down as u64).to_be_bytes()].concat())?;
        send(&stream, &vec![1; up])?;
        // Sometimes the client closes without waiting for the answer.
        if random.u8(..16) == 0 {
            return Ok(sockopt::set_socket_linger(&stream.socket, Some(Duration::ZERO))?);
        }
        receive(&stream, down)?;
    }
    if random.bool() {
        stream.finish()?;
    }
    Ok(())
}

/// Serves rounds until the client closes; returns true if the client stopped the server.
fn serve(stream: &Stream, random: &mut Rng) -> Done<bool> {
    stream.socket.set_nodelay(random.u8(..8) > 0)?;
    while let Some([up, down]) = header(stream)? {
        if up == STOP {
            return Ok(true);
        }
        let (send, receive) = way(random);
        receive(stream, up as usize)?;
        send(stream, &vec![2; down as usize])?;
    }
    Ok(false)
}

/// Reads the two numbers of the next round; `None` if the client has closed.
fn header(stream: &Stream) -> Done<Option<[u64; 2]>> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match unless_interrupted(|| recv(&stream.socket, &mut header[filled..], RecvFlags::empty()))?.0 {
            0 => return Ok(None),
            count => {
                stream.received(count);
                filled += count;
            }
        }
    }
    let (up, down) = header.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Ok(Some([number(up), number(down)]))
}

/// Sends queries on new sockets for one query each and on sockets for many, connected or not.
fn datagram_client(stage: &mut Stage, port: u16, end: Instant) -> Done {
    let (seed, count) = (stage.random.u64(..), AtomicU64::new(0));
    let stage: &Stage = stage;
    in_threads(THREADS, |number| {
        let mut random = Rng::with_seed(seed ^ number as u64);
        let mut buffer = [0; LONGEST];
        while before(end) {
            let (at, family) = if random.bool() {
                (Family::V4.at(port), Family::V4)
            } else {
                (Family::V6.at(port), Family::V6)
            };
            let client = Datagrams::new(stage, bind(family)?.0, Some(Outbound))?;
            let connected = random.bool();
            if connected {
                client.socket.connect(at)?;
            }
            for _ in 0..[1, 1, 1, 20][random.usize(..4)] {
                let bytes =
                    vec![3; [0, 4, 60, 1_200, 8_000][random.usize(..5)] + usize::from(random.u8(4..))];
                if connected {
                    client.sent(at, send(&client.socket, &bytes, SendFlags::empty())?)?;
                    client.received(Some(at), recv(&client.socket, &mut buffer, RecvFlags::empty())?.0)?;
                } else {
                    client.sent(at, sendto(&client.socket, &bytes, SendFlags::empty(), &at)?)?;
                    let length = recvfrom(&client.socket, &mut buffer, RecvFlags::empty())?.0;
                    client.received(Some(at), length)?;
                }
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    eprintln!("process {}: {} UDP sockets", std::process::id(), count.into_inner());
    Ok(())
}
