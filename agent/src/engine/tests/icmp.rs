//! ICMP messages of ping and raw sockets, with their peers.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recvfrom, sendto, socket};

use super::*;

/// Makes an echo request.
fn echo_request(version: u8, payload: usize) -> Vec<u8> {
    let kind = if version == 4 { 8 } else { 128 };
    let mut message = vec![0; 8 + payload];
    message[0] = kind;
    message[7] = 1;
    // Checksum by RFC 1071. For ICMPv6 the kernel computes it.
    let checksum = !(u16::from(kind) << 8).wrapping_add(1);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Lets this process make ping sockets while this value lives. Most distributions allow that to everybody, the kernel's
/// default to nobody.
struct PingAllowed {
    before: String,
}

impl PingAllowed {
    const FILE: &str = "/proc/sys/net/ipv4/ping_group_range";

    fn new() -> Self {
        let before = fs::read_to_string(Self::FILE).unwrap();
        let group = rustix::process::getegid().as_raw();
        fs::write(Self::FILE, format!("{group} {group}")).unwrap();
        Self { before }
    }
}

impl Drop for PingAllowed {
    fn drop(&mut self) {
        // A failure here cannot be handled, and a test that fails already says more.
        let _ = fs::write(Self::FILE, &self.before);
    }
}

struct Pinger {
    socket: OwnedFd,
    version: u8,
}

impl Pinger {
    fn new(bench: &Bench, version: u8, kind: SocketType) -> Self {
        let _allowed = PingAllowed::new();
        let (family, protocol) = match version {
            4 => (AddressFamily::INET, ipproto::ICMP),
            _ => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = bench.inside("", || socket(family, kind, Some(protocol)).unwrap());
        Self { socket, version }
    }

    /// Sends a request to the address and waits for the reply. Adds the bytes that the calls returned to `rows`. On the
    /// loopback interface a raw socket receives the request as well.
    fn ping(&self, to: IpAddr, payload: usize, rows: &mut Rows) {
        let request = echo_request(self.version, payload);
        let sent = sendto(&self.socket, &request, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap();
        rows.entry(Some(to)).or_default().1 += sent as u64;
        loop {
            let mut answer = [0; 2000];
            let (_, got, from) = recvfrom(&self.socket, &mut answer, RecvFlags::empty()).unwrap();
            let from = SocketAddr::try_from(from.unwrap()).unwrap().ip();
            rows.entry(Some(from)).or_default().0 += got as u64;
            // A raw IPv4 socket receives the IP header too, of 20 bytes.
            let kind = if self.version == 4 && got == request.len() + 20 { answer[20] } else { answer[0] };
            if kind == 0 || kind == 129 {
                return;
            }
        }
    }
}

/// Received and sent bytes by peer.
type Rows = BTreeMap<Option<IpAddr>, (u64, u64)>;

fn rows(bench: &mut Bench) -> Rows {
    bench.totals("a");
    let mut rows = Rows::new();
    for row in bench.engine.snapshot(&"a".to_owned(), usize::MAX).unwrap().rows {
        assert_eq!((row.key.protocol, row.key.local_port), (Protocol::Icmp, None));
        let sum = rows.entry(row.key.remote_address).or_default();
        *sum = (sum.0 + row.totals.rx_bytes, sum.1 + row.totals.tx_bytes);
    }
    rows
}

fn icmp() -> Filter {
    Filter { protocols: vec![Protocol::Icmp], ..Filter::default() }
}

fn several_peers(version: u8, kind: SocketType, peers: &[IpAddr]) {
    let Some(mut bench) = bench() else { return };
    bench.start("a", icmp());
    let pinger = Pinger::new(&bench, version, kind);
    let mut expected = Rows::new();
    bench.inside("", || {
        for round in 0..5 {
            for (number, peer) in peers.iter().enumerate() {
                pinger.ping(*peer, 10 * number + round, &mut expected);
            }
        }
    });
    assert_eq!(rows(&mut bench), expected);
}

#[test]
fn ping_sockets_have_peers() {
    several_peers(4, SocketType::DGRAM, &["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|a| a.parse().unwrap()));
}

#[test]
fn raw_sockets_have_peers() {
    several_peers(4, SocketType::RAW, &["127.0.0.1", "127.0.0.2"].map(|a| a.parse().unwrap()));
}

#[test]
fn icmpv6_has_peers() {
    several_peers(6, SocketType::DGRAM, &[Ipv6Addr::LOCALHOST.into()]);
    several_peers(6, SocketType::RAW, &[Ipv6Addr::LOCALHOST.into()]);
}

#[test]
fn networks_choose_among_the_peers_of_a_ping_socket() {
    let Some(mut bench) = bench() else { return };
    let cidr = Filter { remote_cidrs: vec!["127.0.0.2/32".parse().unwrap()], ..icmp() };
    bench.start("a", cidr);
    let pinger = Pinger::new(&bench, 4, SocketType::DGRAM);
    let mut expected = Rows::new();
    bench.inside("", || {
        pinger.ping(Ipv4Addr::LOCALHOST.into(), 0, &mut Rows::new());
        pinger.ping("127.0.0.2".parse().unwrap(), 30, &mut expected);
    });
    assert_eq!(rows(&mut bench), expected);
}

#[test]
fn a_session_that_takes_everything_learns_the_peers_from_the_first_message_on() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let pinger = Pinger::new(&bench, 4, SocketType::DGRAM);
    let to: IpAddr = Ipv4Addr::LOCALHOST.into();
    let (mut first, mut expected) = (Rows::new(), Rows::new());
    bench.inside("", || pinger.ping(to, 0, &mut first));
    bench.engine.tick();
    bench.inside("", || pinger.ping(to, 100, &mut expected));
    expected.insert(None, first[&Some(to)]);
    assert_eq!(rows(&mut bench), expected);
}
