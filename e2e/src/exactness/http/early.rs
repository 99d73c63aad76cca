//! Requests that arrive before the server has accepted their connection.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::net::{SendFlags, sendto};

use super::{
    Case,
    dialogue::{End, request, response},
    known::{Connection, Known, Played},
    play::Ends,
};
use crate::exactness::{
    error::{CaseError, Done},
    sys::{
        own_network,
        sockets::{set_option, socket},
        tcp,
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "early/before-accept".to_owned(), run: Box::new(|_| before_accept()) },
        Case { name: "early/with-the-first-segment".to_owned(), run: Box::new(|_| with_the_first_segment()) },
    ]
}

/// Sends on several connections at once, and accepts them only then. They may be established in any order, since two
/// CPUs may handle the last packets of two handshakes.
fn before_accept() -> Done<Played> {
    const CONNECTIONS: usize = 20;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut waiting = HashMap::new();
    for number in 0..CONNECTIONS {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let path = format!("/early/{number}");
        let asked = request(&format!("GET {path}"));
        client.write_all(asked.as_bytes())?;
        waiting.insert(client.local_addr()?, (client, asked, path));
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (server, from) = listener.accept()?;
        let Some((client, asked, path)) = waiting.remove(&from) else {
            return Err(CaseError::unexpected(format!(
                "a connection from {from}, which is none of the clients"
            )));
        };
        connections.push(answer(client, server, &asked, &path)?);
    }
    Ok(Played { connections, ..Played::default() })
}

/// Uses TCP Fast Open: the first connection learns the server's cookie, and the following ones send with their first
/// segment.
fn with_the_first_segment() -> Done<Played> {
    const NAME: &str = "/proc/sys/net/ipv4/tcp_fastopen";
    const SERVERS: u32 = 2;
    let set = std::fs::read_to_string(NAME)?;
    if set.trim().parse().unwrap_or(0) & SERVERS == 0 {
        // The setting is changed in a network namespace of its own, which only this thread and its sockets use.
        return std::thread::scope(|scope| {
            let own = scope.spawn(|| {
                own_network()?;
                std::fs::write(NAME, "3")?;
                fast_open()
            });
            own.join().map_err(|_| CaseError::unexpected("the thread panicked"))?
        });
    }
    fast_open()
}

fn fast_open() -> Done<Played> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16)?;
    let at = listener.local_addr()?;
    let mut connections = Vec::new();
    for number in 0..5 {
        let client: OwnedFd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        let asked = request(&format!("GET /fast/{number}"));
        send_first(&client, at, asked.as_bytes())?;
        let server = listener.accept()?.0;
        if number > 0 && !tcp::has_fast_opened(client.as_fd())? {
            return Err(CaseError::unsupported("no bytes go with the first segment here"));
        }
        connections.push(answer(TcpStream::from(client), server, &asked, &format!("/fast/{number}"))?);
    }
    Ok(Played { connections, ..Played::default() })
}

fn send_first(client: &OwnedFd, at: SocketAddr, bytes: &[u8]) -> Done {
    let sent = sendto(client, bytes, SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32), &at)?;
    if sent == bytes.len() { Ok(()) } else { Err(CaseError::unexpected(format!("{sent} bytes were taken"))) }
}

/// Answers the request that arrived early, and plays one more exchange.
fn answer(client: TcpStream, mut server: TcpStream, asked: &str, path: &str) -> Done<Connection> {
    server.read_exact(&mut vec![0; asked.len()])?;
    let (mut ends, connection) = Ends::of(client, server)?;
    let (answer, next) = (response(200, 10), request("GET /next"));
    ends.say(End::Server, answer.as_bytes(), usize::MAX)?;
    ends.say(End::Client, next.as_bytes(), usize::MAX)?;
    ends.say(End::Server, answer.as_bytes(), usize::MAX)?;
    let known = |path: &str, asked: &str| Known {
        status: Some(200),
        response_bytes: Some(answer.len() as u64),
        ..Known::asked("GET", super::dialogue::HOST, path, asked.len() as u64)
    };
    Ok(Connection { exchanges: vec![known(path, asked), known("/next", &next)], ..connection })
}
