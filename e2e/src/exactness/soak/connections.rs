//! A soak of short connections: on each of two CPUs a server, and a client that opens and closes connections as fast as
//! possible, up to a rate for which the flow table is large enough.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, connect, recv, send,
        socket_with, sockopt,
    },
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::service::before;
use crate::exactness::{
    error::{CaseError, Done},
    sockets::unless_interrupted,
    stage::Stage,
    tally::{Flow, Protocol},
};

const PAIRS: usize = 2;
/// Maximum number of connections a second of a pair. Each end takes a slot of the flow table for two to three seconds.
/// A full table sums up further flows by container, and then processes cannot be told apart.
const RATE: u64 = 15_000;
/// Number of connections that a client opens before it closes the first, so that client and server take turns less
/// often.
const TOGETHER: usize = 16;
/// One connection in this many ends by FIN, which leaves a TIME_WAIT behind; the others are reset.
const ORDERLY: u64 = 64;
/// First byte of a request that stops the server.
const STOP: u8 = 1;
const REQUEST: usize = 100;
const ANSWER: usize = 300;

/// The process that resets the connections of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resets {
    Client,
    Server,
}

/// Sums of bytes received and sent. A `Tally` is too slow for this rate.
#[derive(Default)]
struct Sum {
    rx: usize,
    tx: usize,
}

pub(super) fn run(stage: &mut Stage, time: Duration) -> Done {
    let began = Instant::now();
    let (end, cpus) = (began + time, cpus()?);
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        let cpu = cpus[number % cpus.len()];
        let resets = if number % 2 == 0 { Resets::Client } else { Resets::Server };
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = listener.local_addr()?.port();
        if resets == Resets::Server {
            // An accepted socket inherits the option from its listener.
            sockopt::set_socket_linger(&listener, Some(Duration::ZERO))?;
        }
        servers.push(stage.fork(|stage| {
            stay_on(cpu)?;
            let sum = serve(&listener)?;
            book(stage, &sum);
            Ok(())
        })?);
        clients.push(stage.fork(|stage| {
            stay_on(cpu)?;
            let began = Instant::now();
            let (sum, count) = ask(&mut stage.random, port, resets, end)?;
            book(stage, &sum);
            let rate = count as f64 / began.elapsed().as_secs_f64();
            // One write for the whole line, since other processes write to standard error, too.
            let line =
                format!("CPU {cpu}: {count} connections, {rate:.0}/s, closed by the {resets:?}'s reset\n");
            Ok(io::stderr().write_all(line.as_bytes())?)
        })?);
    }
    for child in clients.into_iter().chain(servers) {
        stage.join(child)?;
    }
    let received: u64 =
        stage.counts()?.iter().flat_map(|count| &count.flows).map(|(_, bytes)| bytes.rx).sum();
    let rate = received as f64 / (REQUEST + ANSWER) as f64 / began.elapsed().as_secs_f64();
    eprintln!("{rate:.0} connections/s in all");
    Ok(())
}

/// Returns CPUs that this process may use, one for each pair.
fn cpus() -> Done<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(PAIRS).collect();
    if cpus.is_empty() { Err(CaseError::unexpected("no CPU that this process may use")) } else { Ok(cpus) }
}

fn stay_on(cpu: usize) -> Done {
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}

fn book(stage: &Stage, sum: &Sum) {
    let all = Flow { protocol: Protocol::Tcp, local_port: 0, remote: None };
    stage.tally.book(all, None, sum.rx, sum.tx);
}

/// Answers requests; returns after one that begins with [`STOP`].
fn serve(listener: &TcpListener) -> Done<Sum> {
    let mut sum = Sum::default();
    loop {
        let stream = unless_interrupted(|| accept_with(listener, SocketFlags::CLOEXEC))?;
        let first = receive(&stream, REQUEST, &mut sum)?;
        send_all(&stream, ANSWER, 0, &mut sum)?;
        if first == STOP {
            return Ok(sum);
        }
    }
}

/// Opens and closes connections until `end` and stops the server; returns the sums, and the number of connections.
fn ask(random: &mut Rng, port: u16, resets: Resets, end: Instant) -> Done<(Sum, u64)> {
    let (mut sum, mut count) = (Sum::default(), 0);
    let began = Instant::now();
    let mut open = Vec::with_capacity(TOGETHER);
    while before(end) {
        for _ in 0..TOGETHER {
            // All of 127.0.0.0/8 belongs to this host, so no pair of ports has to be reused soon.
            let host = Ipv4Addr::new(127, random.u8(1..), random.u8(..), random.u8(1..255));
            open.push(open_one((host, port).into(), 0, &mut sum)?);
        }
        for stream in open.drain(..) {
            receive(&stream, ANSWER, &mut sum)?;
            count += 1;
            if resets == Resets::Client && count % ORDERLY > 0 {
                sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            }
        }
        let due = Duration::from_nanos(1_000_000_000 * count / RATE);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let last = open_one((Ipv4Addr::LOCALHOST, port).into(), STOP, &mut sum)?;
    receive(&last, ANSWER, &mut sum)?;
    Ok((sum, count + 1))
}

fn open_one(at: SocketAddr, first: u8, sum: &mut Sum) -> Done<OwnedFd> {
    let stream = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&stream, &at)?;
    send_all(&stream, REQUEST, first, sum)?;
    Ok(stream)
}

/// Sends a few bytes, which always fit into the socket's buffer.
fn send_all(stream: &OwnedFd, length: usize, first: u8, sum: &mut Sum) -> Done {
    let mut bytes = [0; ANSWER];
    bytes[0] = first;
    let sent = send(stream, &bytes[..length], SendFlags::NOSIGNAL)?;
    sum.tx += sent;
    if sent == length { Ok(()) } else { Err(CaseError::unexpected(format!("{sent} of {length} bytes sent"))) }
}

/// Receives `length` bytes and returns the first.
fn receive(stream: &OwnedFd, length: usize, sum: &mut Sum) -> Done<u8> {
    let (mut bytes, mut filled) = ([0; ANSWER], 0);
    while filled < length {
        match unless_interrupted(|| recv(stream, &mut bytes[filled..length], RecvFlags::empty()))?.0 {
            0 => return Err(CaseError::unexpected("the peer ended too early")),
            count => filled += count,
        }
    }
    sum.rx += filled;
    Ok(bytes[0])
}
