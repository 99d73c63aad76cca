//! Connections as fast as the machine makes them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use fastrand::Rng;
use rustix::net::sockopt;

use super::service::{before, in_threads};
use crate::exactness::{
    cases::streams::{recv_plain, send_plain},
    error::Done,
    sockets::Stream,
    stage::Stage,
};

const THREADS: usize = 2;
const CLIENTS: usize = 2;
/// A request of this length ends the thread that receives its first byte.
const STOP: u8 = 1;
const REQUEST: usize = 100;
const ANSWER: usize = 300;

pub(super) fn run(stage: &mut Stage, time: Duration) -> Done {
    let end = Instant::now() + time;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let server = stage.fork(|stage| {
        let stage: &Stage = stage;
        in_threads(THREADS, |_| {
            loop {
                let stream = Stream::accept(stage, &listener)?;
                let mut first = [0];
                stream.receive_by(1, 1, |buffer| {
                    let count = rustix::io::read(&stream.socket, &mut *buffer)?;
                    first.copy_from_slice(buffer);
                    Ok::<_, rustix::io::Errno>(count)
                })?;
                if first == [STOP] {
                    return Ok(());
                }
                recv_plain(&stream, REQUEST - 1)?;
                send_plain(&stream, &[0; ANSWER])?;
            }
        })
    })?;
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| stage.fork(|stage| client(stage, port, end))).collect::<Done<_>>()?;
    clients.into_iter().try_for_each(|client| stage.join(client))?;
    for _ in 0..THREADS {
        send_plain(&Stream::connect(stage, (Ipv4Addr::LOCALHOST, port).into())?, &[STOP])?;
    }
    stage.join(server)
}

fn client(stage: &mut Stage, port: u16, end: Instant) -> Done {
    let (seed, count, began) = (stage.random.u64(..), AtomicU64::new(0), Instant::now());
    let stage: &Stage = stage;
    in_threads(THREADS, |number| {
        let mut random = Rng::with_seed(seed ^ number as u64);
        while before(end) {
            // All of 127.0.0.0/8 is this host's: no pair of ports has to be used again soon.
            let host = Ipv4Addr::new(127, random.u8(1..), random.u8(..), random.u8(1..255));
            let stream = Stream::connect(stage, SocketAddr::from((host, port)))?;
            send_plain(&stream, &[0; REQUEST])?;
            recv_plain(&stream, ANSWER)?;
            // A reset leaves no TIME_WAIT behind.
            sockopt::set_socket_linger(&stream.socket, Some(Duration::ZERO))?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let (count, seconds) = (count.into_inner(), began.elapsed().as_secs_f64());
    eprintln!("process {}: {count} connections, {:.0}/s", std::process::id(), count as f64 / seconds);
    Ok(())
}
