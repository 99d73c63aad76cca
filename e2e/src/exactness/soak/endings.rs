//! Connections that are accepted, or never are, and end in every way: afterwards none may be shown as open.

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

/// Connections of each pair of processes.
const CONNECTIONS: usize = 12;

/// How a process ends its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By closing each.
    Closes,
    /// By closing each in another thread.
    ClosesInThread,
    /// By a reset.
    Resets,
    /// By saying that nothing more follows, and closing when the peer has said so too.
    Finishes,
    /// By its own end.
    Exits,
    /// By being killed.
    IsKilled,
}

const ENDS: [End; 6] =
    [End::Closes, End::ClosesInThread, End::Resets, End::Finishes, End::Exits, End::IsKilled];

/// What the server does before it ends its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// It accepts them and answers.
    Answers,
    /// It accepts them and reads nothing.
    Accepts,
    /// It does not accept them: they end with the listener.
    Listens,
}

/// A pair of processes for each two ways to end, all at the same time.
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

/// The one ends its connections before the other does.
fn end_pair(stage: &mut Stage, mut one: (End, Child), mut two: (End, Child)) -> Done {
    // Both have all of their connections.
    one.1.await_waiting()?;
    two.1.await_waiting()?;
    one.1.go_on()?;
    // This takes both.
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

/// Ends the connections of this process when it is told to.
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
            // Some connections were reset by the peer, and some are with nobody.
            drop(sockets.1);
            for stream in &sockets.0 {
                let _ = stream.socket.shutdown(Shutdown::Write);
            }
            for stream in &sockets.0 {
                let _ = unless_interrupted(|| recv(&stream.socket, &mut [0; 1], RecvFlags::PEEK));
            }
        }
        // Nothing closes them but the end of the process.
        End::Exits => std::mem::forget(sockets),
        End::IsKilled => {
            stage.wait_for_parent()?;
            drop(sockets);
        }
    }
    Ok(())
}
