//! MPTCP: one socket over several TCP subflows, whose counters differ from the bytes of the application.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    net::{bind, connect, listen as start_listening},
    system::uname,
};

use super::{
    Case, network,
    streams::{Receive, Send, exchange_between, recv_plain, send_file, send_plain, splice_in, splice_out},
};
use crate::{
    exactness::{
        error::{CaseError, Done},
        sockets::{Family, Stream, VERSIONS, listen},
        stage::Stage,
        sys::{
            netlink,
            sockets::socket,
            tcp::{self, SOL_MPTCP, read_option},
        },
        tally::Direction::Outbound,
    },
    support::wait::POLL,
};

const WAYS: [(&str, Send, Receive); 3] = [
    ("send-recv", send_plain, recv_plain),
    ("sendfile", send_file, recv_plain),
    ("splice", splice_in, splice_out),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in VERSIONS {
        for (way, send, receive) in WAYS {
            let name = |what: &str| format!("mptcp/{what}-{way}/{}", family.name());
            cases.extend([
                Case::new(name("plain-client"), move |stage| {
                    exchange(stage, family, false, true, send, receive)
                }),
                Case::new(name("plain-server"), move |stage| {
                    exchange(stage, family, true, false, send, receive)
                }),
                Case::new(name("both"), move |stage| exchange(stage, family, true, true, send, receive)),
                Case::waiting(name("two-subflows"), move |stage| subflows(stage, family, send, receive)),
            ]);
        }
    }
    cases
}

fn new_socket(family: Family) -> Done<std::os::fd::OwnedFd> {
    socket(family.number(), libc::SOCK_STREAM, libc::IPPROTO_MPTCP)
        .map_err(|error| CaseError::unsupported(format!("no MPTCP here: {error}")))
}

/// Opens a listener that speaks MPTCP and TCP, as Go programs do by default.
fn listen_both(family: Family) -> Done<(TcpListener, SocketAddr)> {
    let listener = new_socket(family)?;
    bind(&listener, &family.at(0))?;
    start_listening(&listener, 16)?;
    let listener = TcpListener::from(listener);
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn connect_to(stage: &Stage, family: Family, at: SocketAddr) -> Done<Stream> {
    let client = new_socket(family)?;
    connect(&client, &at)?;
    Stream::new(stage, TcpStream::from(client), Some(Outbound))
}

/// Returns whether the running kernel is older than a release.
fn is_before(major: u32, minor: u32) -> bool {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) < (Some(major), Some(minor))
}

/// Runs a client and a server, one or both of which speak MPTCP; if only one does, the connection falls back to TCP.
fn exchange(
    stage: &mut Stage,
    family: Family,
    client: bool,
    server: bool,
    send: Send,
    receive: Receive,
) -> Done {
    if client && !server && is_before(5, 15) {
        return Err(CaseError::unsupported("MPTCP before Linux 5.15 stalls with a server that has none"));
    }
    let (listener, at) = if server { listen_both(family)? } else { listen(family)? };
    let (up, down) = (vec![1; stage.amount()], vec![1; stage.amount()]);
    stage.with_child(
        |stage| {
            let stream = if client { connect_to(stage, family, at)? } else { Stream::connect(stage, at)? };
            send(&stream, &up)?;
            receive(&stream, down.len())?;
            stream.finish()
        },
        |stage| {
            let stream = Stream::accept(stage, &listener)?;
            receive(&stream, up.len())?;
            send(&stream, &down)?;
            stream.finish()
        },
    )
}

/// Uses a connection of two subflows, from two addresses of the client.
fn subflows(stage: &mut Stage, family: Family, send: Send, receive: Receive) -> Done {
    if !network::enter()? {
        return Err(CaseError::unsupported("no network namespace whose addresses can be changed"));
    }
    // All of 127.0.0.0/8 belongs to this host, but of IPv6 only ::1 does, so a second address is added for it.
    let second = match family {
        Family::V4 => IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)),
        _ => IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
    };
    if second.is_ipv6() {
        netlink::add_address(second)?;
    }
    netlink::add_mptcp_subflow(second)
        .map_err(|error| CaseError::unsupported(format!("no path manager of MPTCP here: {error}")))?;
    let (listener, at) = listen_both(family)?;
    // The kernel chooses which subflow carries the bytes, and can choose the same one for a whole connection.
    for _ in 0..8 {
        let client = connect_to(stage, family, at)?;
        let server = Stream::accept(stage, &listener)?;
        // A second subflow joins only after first bytes have confirmed MPTCP at both ends.
        exchange_between(stage, &client, &server, send, receive)?;
        await_subflow(&client)?;
        for _ in 0..3 {
            bulk(&client, &server, send, receive)?;
        }
        let done = both_carry(&client)?;
        if done {
            stage.compare(&mut [])?;
        }
        exchange_between(stage, &client, &server, send, receive)?;
        if done {
            return Ok(());
        }
    }
    Err(CaseError::unexpected("one subflow has always carried everything"))
}

/// Moves more bytes than one subflow can take at once, so that the kernel uses both.
fn bulk(from: &Stream, to: &Stream, send: Send, receive: Receive) -> Done {
    let bytes = vec![1; 4 << 20];
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(from, &bytes));
        receive(to, bytes.len())?;
        sending.join().map_err(|_| CaseError::unexpected("a thread panicked"))?
    })
}

/// Returns whether each subflow has sent more than 10,000 bytes; true if the kernel does not report that.
fn both_carry(stream: &Stream) -> Done<bool> {
    Ok(match tcp::subflow_bytes(&stream.socket) {
        Ok(sent) => sent.len() > 1 && sent.iter().all(|bytes| *bytes > 10_000),
        // Before Linux 5.16 there is no MPTCP_TCPINFO.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => true,
        Err(error) => return Err(error.into()),
    })
}

/// Waits until the connection has a subflow beside its first one.
fn await_subflow(stream: &Stream) -> Done {
    const MPTCP_INFO: i32 = 1;
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let mut information = [0; 8];
        read_option(&stream.socket, SOL_MPTCP, MPTCP_INFO, &mut information).map_err(|error| {
            CaseError::unsupported(format!("MPTCP tells nothing of its subflows: {error}"))
        })?;
        if information[0] > 0 {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(CaseError::unexpected("no second subflow within 20 s"))
}
