//! Servers of the soaks, which answer until they are stopped, and helpers of their clients.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

use crate::exactness::{
    child::Child,
    error::{CaseError, Done},
    sockets::{Datagrams, Stream},
    stage::Stage,
    tally::Direction::Inbound,
};

/// Length of a datagram that ends the thread that receives it.
const STOP: usize = 3;
/// Maximum length of a datagram.
pub(super) const LONGEST: usize = 9_000;

/// Runs `work` in `count` threads and returns the first error.
pub(super) fn in_threads(count: usize, work: impl Fn(usize) -> Done + Sync) -> Done {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(CaseError::unexpected("a thread panicked")))
        })
    })
}

/// Accepts connections until one of them stops the server. A thread runs `serve` for each connection, which returns
/// true to stop.
pub(super) fn accept_until_told(
    stage: &Stage,
    listener: &TcpListener,
    serve: impl Fn(&Stream, u64) -> Done<bool> + Sync,
) -> Done {
    // The stream is dropped only after its thread has set the flag: the client takes the end of the connection as the
    // sign that the server will stop.
    let (serve, told, failure) = (&serve, &AtomicBool::new(false), &Mutex::new(Ok(())));
    thread::scope(|scope| {
        for number in 0.. {
            let accepted = Stream::accept(stage, listener);
            if told.load(Ordering::Acquire) {
                break;
            }
            let stream = match accepted {
                // The client reset the connection before it was accepted.
                Err(error) if is_broken(&error) => continue,
                accepted => accepted?,
            };
            scope.spawn(move || match serve(&stream, number) {
                Ok(stop) => told.fetch_or(stop, Ordering::Release),
                // A connection that breaks off is fine: the bytes that were moved are counted.
                Err(error) if is_broken(&error) => false,
                Err(error) => {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
                    false
                }
            });
        }
        Ok::<_, CaseError>(())
    })?;
    std::mem::replace(&mut *failure.lock().unwrap_or_else(PoisonError::into_inner), Ok(()))
}

/// Returns whether the error means that the peer broke the connection off.
fn is_broken(error: &CaseError) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    match error {
        CaseError::Call { source, .. } => {
            matches!(source.kind(), ConnectionReset | BrokenPipe | UnexpectedEof | NotConnected)
        }
        _ => false,
    }
}

/// Starts a server process that answers every datagram, with `threads` threads on one socket.
pub(super) fn answer_datagrams(stage: &mut Stage, socket: &UdpSocket, threads: usize) -> Done<Child> {
    stage.fork(|stage| {
        let server = Datagrams::new(stage, socket.try_clone()?, Some(Inbound))?;
        in_threads(threads, |_| {
            let mut buffer = [0; LONGEST];
            loop {
                let (length, _, from) = recvfrom(&server.socket, &mut buffer, RecvFlags::empty())?;
                let from = from.ok_or_else(|| CaseError::unexpected("a datagram without a sender"))?;
                let from = SocketAddr::try_from(from)?;
                server.received(Some(from), length)?;
                if length == STOP {
                    return Ok(());
                }
                let answer = &buffer[..length / 2 + 1];
                server.sent(from, sendto(&server.socket, answer, SendFlags::empty(), &from)?)?;
            }
        })
    })
}

/// Stops the threads of [`answer_datagrams`].
pub(super) fn stop_datagrams(client: &Datagrams, at: SocketAddr, threads: usize) -> Done {
    (0..threads)
        .try_for_each(|_| client.sent(at, sendto(&client.socket, &[0; STOP], SendFlags::empty(), &at)?))
}

/// Returns whether there is time left.
pub(super) fn before(end: Instant) -> bool {
    Instant::now() < end
}
