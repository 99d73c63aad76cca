//! Connections that break off with bytes in flight. A byte counts once a call has returned it as sent or received, even
//! if the connection then loses it.

use std::{
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::ioctl_fionread,
    net::sockopt,
};

use super::{
    Case,
    again::fill,
    streams::{Receive, recv_plain, send_plain, splice_out},
};
use crate::{
    exactness::{
        error::{CaseError, Done},
        sockets::{FAMILIES, Family, Stream, connected},
        stage::Stage,
    },
    support::wait::POLL,
};

type Run = fn(&mut Stage, Stream, Stream, Receive) -> Done;

const ALL: [(&str, Run); 10] = [
    ("close-unread", close_unread),
    ("reset-unread-unsent", reset_unread_unsent),
    ("reset-unsent", reset_unsent),
    ("reset-by-peer-then-read", reset_by_peer),
    ("end-by-peer-then-close", end_by_peer),
    ("shutdown-write-then-receive", shutdown_write),
    ("shutdown-read-then-receive", shutdown_read),
    ("shutdown-both-then-receive", shutdown_both),
    ("close-unsent", close_unsent),
    ("process-killed", killed),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, run) in ALL {
        for (way, receive) in [("recv", recv_plain as Receive), ("splice", splice_out)] {
            for family in FAMILIES {
                cases.push(Case::new(format!("breaks/{name}-{way}/{}", family.name()), move |stage| {
                    on(stage, family, run, receive)
                }));
            }
        }
    }
    cases
}

fn on(stage: &mut Stage, family: Family, run: Run, receive: Receive) -> Done {
    let (client, server) = connected(stage, family)?;
    run(stage, client, server, receive)
}

/// Moves bytes in both directions; each end reads a part of them.
fn begin(stage: &mut Stage, client: &Stream, server: &Stream, receive: Receive) -> Done {
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    send_plain(client, &up)?;
    receive(server, up.len() / 2)?;
    send_plain(server, &down)?;
    receive(client, down.len() / 2)
}

/// Closes the client with unread bytes, which makes the kernel reset the connection.
fn close_unread(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    begin(stage, &client, &server, receive)?;
    drop(client);
    await_end(&server)
}

/// Closes the client with SO_LINGER 0, which resets the connection, while it has unread and unsent bytes.
fn reset_unread_unsent(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    begin(stage, &client, &server, receive)?;
    fill(&client)?;
    sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO))?;
    drop(client);
    await_end(&server)
}

/// Closes the client with SO_LINGER 0 while it has unsent bytes, but no unread ones.
fn reset_unsent(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    let down = vec![1; stage.amount()];
    send_plain(&server, &down)?;
    receive(&client, down.len())?;
    fill(&client)?;
    sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO))?;
    drop(client);
    await_end(&server)
}

/// Resets the connection from the client; the server still reads what arrived before, and then gets ECONNRESET.
fn reset_by_peer(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    begin(stage, &client, &server, receive)?;
    let rest = vec![1; stage.amount()];
    send_plain(&client, &rest)?;
    // A reset discards bytes that have not left the client's socket, so a third of them must have arrived before.
    let deadline = Instant::now() + Duration::from_secs(20);
    while ioctl_fionread(&server.socket)? < (rest.len() / 3) as u64 {
        if Instant::now() > deadline {
            return Err(CaseError::unexpected("a third of what was sent did not arrive"));
        }
        thread::sleep(POLL);
    }
    sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO))?;
    drop(client);
    await_end(&server)?;
    receive(&server, rest.len() / 3)?;
    match server.receive_to_any_end()? {
        (_, true) => Ok(()),
        (_, false) => Err(CaseError::unexpected("an orderly end where ECONNRESET was due")),
    }
}

/// Closes the server after it has read all bytes up to the client's FIN; its last call may also process the FIN, which
/// depends on `receive`.
fn end_by_peer(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    let up = vec![1; stage.amount()];
    send_plain(&client, &up)?;
    client.socket.shutdown(Shutdown::Write)?;
    receive(&server, up.len())?;
    send_plain(&server, &up[..2_345])?;
    drop(server);
    receive(&client, 2_345)?;
    client.receive_to_end()?;
    Ok(())
}

/// Shuts the client's sending direction down, and goes on with the server's.
fn shutdown_write(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    begin(stage, &client, &server, receive)?;
    client.socket.shutdown(Shutdown::Write)?;
    server.receive_to_end()?;
    let down = vec![1; stage.amount()];
    send_plain(&server, &down)?;
    receive(&client, down.len())
}

/// Shuts the client's receiving side down; the kernel still accepts the server's bytes and returns them to calls.
fn shutdown_read(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    begin(stage, &client, &server, receive)?;
    client.socket.shutdown(Shutdown::Read)?;
    send_plain(&server, &[1; 3_333])?;
    poll(&mut [PollFd::new(&client.socket, PollFlags::IN)], None)?;
    client.receive_to_end()?;
    send_plain(&client, &[1; 4_444])?;
    receive(&server, 4_444)
}

/// Shuts both directions down; bytes in flight at that moment cause a reset.
fn shutdown_both(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    begin(stage, &client, &server, receive)?;
    client.socket.shutdown(Shutdown::Both)?;
    client.receive_to_any_end()?;
    server.receive_to_any_end()?;
    Ok(())
}

/// Closes the client while it has unsent bytes, which the kernel goes on sending.
fn close_unsent(_: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    fill(&client)?;
    drop(client);
    receive(&server, 1_234_567)?;
    server.receive_to_end()?;
    Ok(())
}

/// Kills a process with open connections; the kernel closes them with unread and unsent bytes.
fn killed(stage: &mut Stage, client: Stream, server: Stream, receive: Receive) -> Done {
    let child = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, None)?;
        receive(&client, 10_000)?;
        fill(&client)?;
        stage.wait_for_parent()
    })?;
    drop(client);
    send_plain(&server, &[1; 20_000])?;
    stage.kill(child)?;
    await_end(&server)
}

/// Waits until the socket has noticed the end of the connection.
fn await_end(stream: &Stream) -> Done {
    poll(&mut [PollFd::new(&stream.socket, PollFlags::RDHUP)], None)?;
    Ok(())
}
