//! Connections that are accepted or not, and end in every way. None of them may be shown as open afterwards.

use std::{
    net::{Shutdown, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use rustix::net::{RecvFlags, recv, sockopt};

use crate::exactness::{
    cases::streams::{recv_plain, send_plain},
    child::Child,
    error::{CaseError, Done},
    sockets::{FAMILIES, Stream, listen, unless_interrupted},
    stage::Stage,
};

/// Number of connections of each pair of processes.
const CONNECTIONS: usize = 12;

/// The way in which a process ends its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closes each one.
    Closes,
    /// Closes each one in another thread.
    ClosesInThread,
    /// Resets each one.
    Resets,
    /// Shuts its direction down, and closes when the peer has done the same.
    Finishes,
    /// Exits with the connections open.
    Exits,
    /// Is killed with the connections open.
    IsKilled,
}

const ENDS: [End; 6] =
    [End::Closes, End::ClosesInThread, End::Resets, End::Finishes, End::Exits, End::IsKilled];

/// Behavior of the server before it ends its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// Accepts connections and answers.
    Answers,
    /// Accepts connections and reads nothing.
    Accepts,
    /// Accepts nothing: the connections end with the listener.
    Listens,
}

/// Runs a pair of processes for each combination of two ways to end, all at the same time.
pub(super) fn run(stage: &mut Stage) -> Done {
    let mut pairs = Vec::new();
    for (number, (server, client)) in ENDS.into_iter().flat_map(|one| ENDS.map(|two| (one, two))).enumerate()
    {
        let (listener, at) = listen(FAMILIES[number % FAMILIES.len()])?;
        let service = match number % 5 {
            0 => Service::Accepts,
            1 => Service::Listens,
            _ => Service::Answers,
        };
        let serving = stage.fork(|stage| serve(stage, listener, service, server))?;
        let asking = stage.fork(|stage| ask(stage, at, service, client))?;
        let mut pair = [(server, serving), (client, asking)];
        if stage.random.bool() {
            pair.reverse();
        }
        pairs.push(pair);
    }
    pairs.into_iter().try_for_each(|[one, two]| end_pair(stage, one, two))
}

/// Ends the connections of the first process before those of the second.
fn end_pair(stage: &mut Stage, mut one: (End, Child), mut two: (End, Child)) -> Done {
    // Waits until both have all of their connections.
    one.1.await_waiting()?;
    two.1.await_waiting()?;
    one.1.go_on()?;
    // The first process waits for the FIN of the second, so the second one must begin to end too.
    if one.0 == End::Finishes {
        two.1.go_on()?;
        finish(stage, two)?;
        return finish(stage, one);
    }
    finish(stage, one)?;
    two.1.go_on()?;
    finish(stage, two)
}

fn finish(stage: &mut Stage, (end, child): (End, Child)) -> Done {
    if end == End::IsKilled { stage.kill(child) } else { stage.join(child) }
}

fn serve(stage: &mut Stage, listener: TcpListener, service: Service, how: End) -> Done {
    let accept = |_| {
        let stream = Stream::accept(stage, &listener)?;
        if service == Service::Answers {
            recv_plain(&stream, 100)?;
            send_plain(&stream, &[1; 300])?;
        }
        Ok(stream)
    };
    let count = if service == Service::Listens { 0 } else { CONNECTIONS };
    let streams = (0..count).map(accept).collect::<Done<Vec<_>>>()?;
    end(stage, how, (streams, Some(listener)))
}

fn ask(stage: &mut Stage, at: SocketAddr, service: Service, how: End) -> Done {
    let connect = |_| {
        let stream = Stream::connect(stage, at)?;
        send_plain(&stream, &[1; 100])?;
        if service == Service::Answers {
            recv_plain(&stream, 300)?;
        }
        Ok(stream)
    };
    let streams = (0..CONNECTIONS).map(connect).collect::<Done<Vec<_>>>()?;
    end(stage, how, (streams, None))
}

/// Ends the connections of this process when the parent lets it continue.
fn end(stage: &mut Stage, how: End, sockets: (Vec<Stream>, Option<TcpListener>)) -> Done {
    stage.wait_for_parent()?;
    match how {
        End::Closes => drop(sockets),
        End::ClosesInThread => {
            let closed = thread::spawn(move || drop(sockets)).join();
            closed.map_err(|_| CaseError::unexpected("a thread panicked"))?;
        }
        End::Resets => {
            for stream in &sockets.0 {
                sockopt::set_socket_linger(&stream.socket, Some(Duration::ZERO))?;
            }
        }
        End::Finishes => {
            // Errors are ignored: the peer has reset some connections, and the server never accepted some others.
            drop(sockets.1);
            for stream in &sockets.0 {
                let _ = stream.socket.shutdown(Shutdown::Write);
            }
            for stream in &sockets.0 {
                let _ = unless_interrupted(|| recv(&stream.socket, &mut [0; 1], RecvFlags::PEEK));
            }
        }
        // Only the end of the process closes the connections.
        End::Exits => std::mem::forget(sockets),
        End::IsKilled => {
            stage.wait_for_parent()?;
            drop(sockets);
        }
    }
    Ok(())
}
