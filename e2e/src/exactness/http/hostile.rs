//! Traffic that no HTTP server wants: a tracer must bear it without growing and without losing the requests of others.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use fastrand::Rng;
use rustix::net::{Shutdown, shutdown, sockopt::set_socket_linger};

use super::{
    dialogue::{request, response},
    frames::PREFACE,
};
use crate::exactness::{
    cli::{HostileArgs, Hostility},
    error::{CaseError, Done},
    sys,
};

/// Number of threads that connect, and of threads that accept.
const THREADS: u32 = 4;
/// Time limit of the whole load.
const LIMIT: Duration = Duration::from_secs(900);
/// Number of bytes of a large head.
const HEAD: usize = 1 << 20;
/// Maximum number of random bytes in each direction of a connection.
const NOISE: usize = 64 << 10;
/// Number of bytes that a slow connection sends.
const DRIPS: usize = 40;
/// Pause between two bytes of a slow connection.
const BETWEEN_DRIPS: Duration = Duration::from_millis(50);

/// Runs a kind of hostile load.
pub(in crate::exactness) fn run(args: &HostileArgs) -> Done {
    sys::end_with_parent(LIMIT)?;
    std::fs::write(args.cgroup.join("cgroup.procs"), "0")?;
    // The network namespace keeps the load out of the machine's ports and connection tables.
    sys::own_network()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    let share = args.connections.div_ceil(THREADS);
    thread::scope(|scope| {
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        for thread in 0..THREADS {
            let (listener, seed) = (&listener, args.seed.wrapping_add(u64::from(thread)));
            servers.push(scope.spawn(move || {
                let mut rng = Rng::with_seed(seed ^ 1 << 63);
                accept(args.kind, listener, share, &mut rng)
            }));
            clients.push(scope.spawn(move || connect(args.kind, at, share, &mut Rng::with_seed(seed))));
        }
        let end = |end: ScopedJoinHandle<'_, Done>| {
            end.join().map_err(|_| CaseError::unexpected("a thread panicked"))?
        };
        let sent = clients.into_iter().try_for_each(end);
        // The threads that accept may wait for connections that never come: accept does not return one that was reset
        // while the listener's queue was full. Shutting the listener down ends their calls.
        if sent.is_err() || matches!(args.kind, Hostility::OneByte) {
            shutdown(&listener, Shutdown::Both).map_err(io::Error::from)?;
        }
        servers.into_iter().try_for_each(end).and(sent)
    })
}

/// Errors of calls on a connection that the other end has closed.
const CLOSED: [io::ErrorKind; 3] =
    [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::NotConnected];

/// Ignores the errors in [`CLOSED`].
fn unless_closed(done: io::Result<()>) -> Done {
    match done {
        Err(error) if CLOSED.contains(&error.kind()) => Ok(()),
        done => Ok(done?),
    }
}

fn connect(kind: Hostility, at: SocketAddr, count: u32, rng: &mut Rng) -> Done {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(at)?;
        match kind {
            Hostility::OneByte => {
                stream.write_all(b"G")?;
                // A reset leaves no port in TIME_WAIT.
                set_socket_linger(&stream, Some(Duration::ZERO))?;
            }
            Hostility::Noise => {
                unless_closed(noise(&mut stream, rng, &[request("GET /noise").as_bytes(), PREFACE]))?;
            }
            Hostility::Heads => unless_closed(large_head(&mut stream))?,
            Hostility::Drip => open.push(stream),
        }
    }
    let drip = request("GET /a-path-that-takes-its-time");
    for byte in drip.as_bytes().iter().take(DRIPS) {
        for stream in &mut open {
            unless_closed(stream.write_all(&[*byte]))?;
        }
        thread::sleep(BETWEEN_DRIPS);
    }
    Ok(())
}

fn accept(kind: Hostility, listener: &TcpListener, count: u32, rng: &mut Rng) -> Done {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // The listener was shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(error.into()),
        };
        match kind {
            Hostility::OneByte => {}
            Hostility::Noise => {
                unless_closed(noise(&mut stream, rng, &[response(200, 5).as_bytes(), &[0; 9]]))?;
                unless_closed(io::copy(&mut stream, &mut io::sink()).map(drop))?;
            }
            Hostility::Heads => unless_closed(io::copy(&mut stream, &mut io::sink()).map(drop))?,
            Hostility::Drip => open.push(stream),
        }
    }
    open.into_iter()
        .try_for_each(|mut stream| unless_closed(io::copy(&mut stream, &mut io::sink()).map(drop)))
}

/// Sends random bytes, sometimes after a first part that looks like HTTP.
fn noise(stream: &mut TcpStream, rng: &mut Rng, beginnings: &[&[u8]]) -> io::Result<()> {
    if rng.bool()
        && let Some(beginning) = rng.choice(beginnings)
    {
        stream.write_all(beginning)?;
    }
    let mut bytes = vec![0; rng.usize(..NOISE)];
    rng.fill(&mut bytes);
    stream.write_all(&bytes)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Sends a head of one megabyte, in a single line or in many.
fn large_head(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"GET /large HTTP/1.1\r\n")?;
    let line = format!("X-Large: {}\r\n", "l".repeat(8_000));
    let mut left = HEAD;
    while left > 0 {
        stream.write_all(line.as_bytes())?;
        left = left.saturating_sub(line.len());
    }
    stream.write_all(b"\r\n")
}
