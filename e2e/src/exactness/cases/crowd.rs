//! Many short-lived processes, and MPTCP.

use std::net::{TcpListener, TcpStream};

use rustix::net::{bind, connect, listen as start_listening};

use super::{
    Case,
    streams::{recv_plain, send_plain},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{Family, Stream, listen},
    stage::Stage,
    sys::sockets::socket,
    tally::Direction::Outbound,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("mptcp/plain-client", |stage| mptcp(stage, false)),
        Case::new("mptcp/mptcp-client", |stage| mptcp(stage, true)),
        Case::new("crowd/short-lived-clients", short_lived),
    ]
}

/// A listener that speaks MPTCP, as programs in Go have by default, and a client that does or does not.
fn mptcp(stage: &mut Stage, client_too: bool) -> Done {
    let unsupported = |error: std::io::Error| CaseError::unsupported(format!("no MPTCP here: {error}"));
    let new = || socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP).map_err(unsupported);
    let listener = new()?;
    bind(&listener, &Family::V4.at(0))?;
    start_listening(&listener, 16)?;
    let listener = TcpListener::from(listener);
    let at = listener.local_addr()?;
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    stage.with_child(
        |stage| {
            let stream = if client_too {
                let client = new()?;
                connect(&client, &at)?;
                Stream::new(stage, TcpStream::from(client), Some(Outbound))?
            } else {
                Stream::connect(stage, at)?
            };
            send_plain(&stream, &up)?;
            recv_plain(&stream, down.len())?;
            stream.finish()
        },
        |stage| {
            let stream = Stream::accept(stage, &listener)?;
            recv_plain(&stream, up.len())?;
            send_plain(&stream, &down)?;
            stream.finish()
        },
    )
}

/// Processes that open one connection each and are gone, many at a time.
fn short_lived(stage: &mut Stage) -> Done {
    const PROCESSES: usize = 300;
    const TOGETHER: usize = 50;
    let (listener, at) = listen(Family::V4)?;
    let server = stage.fork(|stage| {
        for _ in 0..PROCESSES {
            let stream = Stream::accept(stage, &listener)?;
            recv_plain(&stream, 300)?;
            send_plain(&stream, &[1; 4_000])?;
        }
        Ok(())
    })?;
    for _ in 0..PROCESSES / TOGETHER {
        let clients: Vec<_> = (0..TOGETHER)
            .map(|_| {
                stage.fork(|stage| {
                    let stream = Stream::connect(stage, at)?;
                    send_plain(&stream, &[1; 300])?;
                    recv_plain(&stream, 4_000)
                })
            })
            .collect::<Done<_>>()?;
        clients.into_iter().try_for_each(|client| stage.join(client))?;
    }
    stage.join(server)
}
