//! The ends of connections, and the reuse of sockets and ports.

use std::{
    fs,
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, RecvFlags, SocketType, bind, connect, recv, socket, sockopt};

use super::{
    Case,
    streams::{exchange, recv_plain, send_plain},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{FAMILIES, Family, Stream, connected, listen},
    stage::Stage,
    tally::Direction,
};

pub(super) fn cases() -> Vec<Case> {
    let of = |family: Family| {
        let name = |what: &str| format!("ends/{what}/{}", family.name());
        [
            Case::new(name("reset-in-the-middle"), move |stage| reset(stage, family)),
            Case::new(name("half-close"), move |stage| half_close(stage, family)),
            Case::new(name("read-after-fin"), move |stage| read_after_fin(stage, family)),
            Case::new(name("closed-with-bytes-under-way"), move |stage| closed_early(stage, family)),
        ]
    };
    let mut cases: Vec<_> = FAMILIES.into_iter().flat_map(of).collect();
    cases.push(Case::new("ends/port-used-again", same_port));
    cases.push(Case::new("cgroup/nested", nested));
    cases
}

/// Resets the connection when the receiver has read a part; bytes that had arrived can still be read.
fn reset(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = connected(stage, family)?;
    let bytes = vec![1; stage.amount()];
    send_plain(&client, &bytes)?;
    recv_plain(&server, bytes.len() / 3)?;
    sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO))?;
    drop(client);
    match server.receive_to_any_end()? {
        (_, true) => Ok(()),
        (_, false) => Err(CaseError::unexpected("an orderly end where ECONNRESET was due")),
    }
}

/// Ends the client's direction before the server sends its first byte.
fn half_close(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = connected(stage, family)?;
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    send_plain(&client, &up)?;
    client.socket.shutdown(Shutdown::Write)?;
    recv_plain(&server, up.len())?;
    match recv(&server.socket, &mut [0; 100], RecvFlags::empty())?.0 {
        0 => {}
        more => return Err(CaseError::unexpected(format!("{more} bytes where the end was due"))),
    }
    send_plain(&server, &down)?;
    recv_plain(&client, down.len())?;
    server.finish()
}

/// Reads after both ends have sent their FIN, when the kernel has already set the reader's socket to TCP_CLOSE.
fn read_after_fin(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = connected(stage, family)?;
    let bytes = vec![1; stage.amount()];
    server.socket.shutdown(Shutdown::Write)?;
    send_plain(&client, &bytes)?;
    client.finish()?;
    drop(client);
    recv_plain(&server, bytes.len())?;
    match recv(&server.socket, &mut [0; 100], RecvFlags::empty())?.0 {
        0 => Ok(()),
        more => Err(CaseError::unexpected(format!("{more} bytes where the end was due"))),
    }
}

/// Closes the receiver before it has read everything: all bytes that the sender's call returned count.
fn closed_early(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = connected(stage, family)?;
    let bytes = vec![1; stage.amount()];
    send_plain(&client, &bytes)?;
    recv_plain(&server, bytes.len() / 2)?;
    drop(server);
    Ok(())
}

/// Opens connections one after the other between the same two ports: their bytes add up in one row.
fn same_port(stage: &mut Stage) -> Done {
    let (listener, at) = listen(Family::V4)?;
    let mut port = 0;
    for _ in 0..5 {
        let client = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&client, true)?;
        bind(&client, &SocketAddr::from(([127, 0, 0, 1], port)))?;
        connect(&client, &at)?;
        let client = Stream::new(stage, TcpStream::from(client), Some(Direction::Outbound))?;
        port = client.socket.local_addr()?.port();
        let server = Stream::accept(stage, &listener)?;
        let bytes = vec![1; stage.amount()];
        send_plain(&client, &bytes)?;
        recv_plain(&server, bytes.len())?;
        send_plain(&server, &bytes[..100])?;
        recv_plain(&client, 100)?;
        // A reset leaves no state that would keep the port busy.
        sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Uses cgroups below the selected one, which belong to it even if they are created after the trace began.
fn nested(stage: &mut Stage) -> Done {
    let mut inner = stage.selected.clone();
    for name in ["nested", "deeper", "deepest"] {
        inner.push(name);
        fs::create_dir_all(&inner)?;
    }
    stage.enter(&inner)?;
    exchange(stage, Family::V4, send_plain, recv_plain)
}
