//! ICMP: ping sockets and raw sockets, each in a network namespace of its own.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{RecvFlags, SendFlags, connect, recv, recvfrom, send, sendto, sockopt};

use super::{Case, network};
use crate::exactness::{
    error::{CaseError, Done},
    stage::Stage,
    sys::sockets::socket,
    tally::{Direction, Flow, Protocol},
};

/// The way in which the kernel learns the peer of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Send calls name the peer's address, and receive calls return it.
    ByAddress,
    /// The socket is connected.
    Connected,
    /// The sender gives the address; the reader does not ask for it.
    NotAsked,
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, peer) in [("ipv4", IpAddr::from(Ipv4Addr::LOCALHOST)), ("ipv6", Ipv6Addr::LOCALHOST.into())]
    {
        for (kind, kind_name) in [(libc::SOCK_DGRAM, "ping"), (libc::SOCK_RAW, "raw")] {
            let ways = [
                (Told::ByAddress, "addressed"),
                (Told::Connected, "connected"),
                (Told::NotAsked, "not-asked"),
            ];
            for (told, told_name) in ways {
                let name = format!("icmp/{kind_name}-{told_name}/{family}");
                cases.push(case(name, move |stage| echo(stage, kind, peer, told)));
            }
        }
        let name = format!("icmp/raw-two-peers/{family}");
        cases.push(case(name, move |stage| two_peers(stage, peer)));
    }
    cases
}

/// Makes a case that asks the product for ICMP, so that the product shows the peers from the first message on. Without
/// that, the product attaches the programs that find them only after it has seen a message.
fn case(name: String, run: impl Fn(&mut Stage) -> Done + 'static) -> Case {
    Case { protocol: Some("ICMP"), ..Case::new(name, run) }
}

/// Opens a socket for echo requests to `peer`.
fn icmp_socket(kind: i32, peer: IpAddr) -> Done<OwnedFd> {
    let (family, protocol) = match peer {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    let socket = socket(family, kind, protocol)
        .map_err(|error| CaseError::unsupported(format!("no ICMP socket of that kind here: {error}")))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(20)))?;
    Ok(socket)
}

fn enter_network() -> Done {
    if !network::enter()? {
        return Ok(());
    }
    // Only groups in this range may open ping sockets (icmp(7)); a new network namespace has an empty range.
    match fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

/// Makes an echo request of `length` bytes. On raw sockets the sender must fill in the checksum of ICMPv4; all others
/// are filled in by the kernel.
fn request(peer: IpAddr, length: usize, number: u8) -> Vec<u8> {
    let mut packet = vec![0; length.max(8)];
    packet[0] = if peer.is_ipv4() { 8 } else { 128 };
    packet[7] = number;
    let sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default()))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

fn flow(peer: IpAddr) -> Flow {
    Flow { protocol: Protocol::Icmp, local_port: 0, remote: Some(SocketAddr::new(peer, 0)) }
}

/// Sends requests to this host, which answers them. A raw socket receives the request too, as every raw socket does.
fn echo(stage: &mut Stage, kind: i32, peer: IpAddr, told: Told) -> Done {
    enter_network()?;
    let socket = icmp_socket(kind, peer)?;
    let at = SocketAddr::new(peer, 0);
    if told == Told::Connected {
        connect(&socket, &at)?;
    }
    let answers = if kind == libc::SOCK_RAW { 2 } else { 1 };
    for (number, length) in (0..).zip(stage.datagrams()) {
        let packet = request(peer, length, number);
        let sent = match told {
            Told::Connected => send(&socket, &packet, SendFlags::empty())?,
            _ => sendto(&socket, &packet, SendFlags::empty(), &at)?,
        };
        stage.tally.book(flow(peer), Some(Direction::Outbound), 0, sent);
        for _ in 0..answers {
            let mut buffer = [0; 4_000];
            let length = match told {
                Told::ByAddress => recvfrom(&socket, &mut buffer, RecvFlags::empty())?.0,
                _ => recv(&socket, &mut buffer, RecvFlags::empty())?.0,
            };
            stage.tally.book(flow(peer), None, length, 0);
        }
    }
    Ok(())
}

/// Receives from two hosts on a raw socket without asking for the address: the packets name their source.
fn two_peers(stage: &mut Stage, peer: IpAddr) -> Done {
    enter_network()?;
    let listener = icmp_socket(libc::SOCK_RAW, peer)?;
    // Every address of 127.0.0.0/8 is this host's; IPv6 has only one.
    let peers = match peer {
        IpAddr::V4(_) => [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from),
        IpAddr::V6(_) => [peer; 2],
    };
    for (number, peer) in (0..).zip(peers) {
        let sender = icmp_socket(libc::SOCK_RAW, peer)?;
        let packet = request(peer, stage.random.usize(20..500), number);
        let sent = sendto(&sender, &packet, SendFlags::empty(), &SocketAddr::new(peer, 0))?;
        stage.tally.book(flow(peer), None, 0, sent);
        // The raw socket receives the request and the answer. IPv4 packets come with their header, whose source address
        // is at byte 12.
        for _ in 0..2 {
            let mut packet = [0; 4_000];
            let length = recv(&listener, &mut packet, RecvFlags::empty())?.0;
            let from = match peer {
                IpAddr::V4(_) => IpAddr::from([packet[12], packet[13], packet[14], packet[15]]),
                IpAddr::V6(_) => peer,
            };
            stage.tally.book(flow(from), None, length, 0);
        }
    }
    Ok(())
}
