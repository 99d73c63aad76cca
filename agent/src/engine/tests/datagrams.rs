//! Datagrams: each is counted with its peer, however the application names the peer.

use std::net::UdpSocket;

use super::*;

/// Makes an unconnected socket in the test's cgroup.
fn inside(bench: &Bench, address: &str) -> UdpSocket {
    bench.inside("", || UdpSocket::bind(address).unwrap())
}

fn outside() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Returns the peer's port, direction, received bytes and sent bytes of each row, sorted by port.
fn rows(bench: &mut Bench) -> Vec<(Option<u16>, Direction, u64, u64)> {
    bench.totals("a");
    let rows = bench.engine.snapshot(&"a".to_owned(), usize::MAX).unwrap().rows;
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| (row.key.remote_port, row.key.direction, row.totals.rx_bytes, row.totals.tx_bytes))
        .collect();
    rows.sort_unstable();
    rows
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

#[test]
fn one_socket_with_several_peers() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let socket = inside(&bench, "127.0.0.1:0");
    let mut peers: Vec<UdpSocket> = (0..5).map(|_| outside()).collect();
    peers.sort_unstable_by_key(port);
    let mut buffer = [0; 2000];
    for round in 1..=10 {
        bench.inside("", || {
            for (number, peer) in peers.iter().enumerate() {
                socket.send_to(&vec![1; 100 + number], peer.local_addr().unwrap()).unwrap();
            }
        });
        // This part runs outside the cgroup: inside, the programs would count the calls on the peers' sockets as well.
        for peer in &peers {
            peer.recv(&mut buffer).unwrap();
            peer.send_to(&vec![2; 7 * round], socket.local_addr().unwrap()).unwrap();
        }
        bench.inside("", || {
            for _ in &peers {
                socket.recv_from(&mut buffer).unwrap();
            }
        });
    }
    let expected: Vec<_> = (0u64..)
        .zip(&peers)
        .map(|(number, peer)| (Some(port(peer)), Direction::Outbound, 7 * 55, 10 * (100 + number)))
        .collect();
    assert_eq!(rows(&mut bench), expected);
}

#[test]
fn a_server_sees_who_asked_first() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let server = inside(&bench, "[::]:0");
    let client = outside();
    let mut buffer = [0; 2000];
    // For an IPv6 socket with an IPv4 peer, one hook sees the mapped address and another the IPv4 address. Both must
    // become the same row.
    client.send_to(&[1; 30], (Ipv4Addr::LOCALHOST, port(&server))).unwrap();
    bench.inside("", || {
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&[1; 400], from).unwrap();
    });
    assert_eq!(rows(&mut bench), [(Some(port(&client)), Direction::Inbound, 30, 400)]);
    let rows = bench.engine.snapshot(&"a".to_owned(), 9).unwrap().rows;
    assert_eq!(rows[0].key.remote_address, Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(rows[0].key.protocol, Protocol::Udp);
}

#[test]
fn a_connected_socket_names_its_peer_and_can_change_it() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (first, second) = (outside(), outside());
    let socket = inside(&bench, "127.0.0.1:0");
    let mut buffer = [0; 2000];
    socket.connect(first.local_addr().unwrap()).unwrap();
    socket.send(&[1; 10]).unwrap();
    first.send_to(&[1; 20], socket.local_addr().unwrap()).unwrap();
    socket.recv(&mut buffer).unwrap();
    socket.connect(second.local_addr().unwrap()).unwrap();
    socket.send(&[1; 300]).unwrap();
    let mut expected = [
        (Some(port(&first)), Direction::Outbound, 20, 10),
        (Some(port(&second)), Direction::Outbound, 0, 300),
    ];
    expected.sort_unstable();
    assert_eq!(rows(&mut bench), expected);
}

#[test]
fn a_reader_that_does_not_ask_gets_no_guess() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (first, second) = (outside(), outside());
    let socket = inside(&bench, "127.0.0.1:0");
    let mut buffer = [0; 2000];
    bench.inside("", || {
        for peer in [&first, &second] {
            socket.send_to(&[1; 10], peer.local_addr().unwrap()).unwrap();
        }
    });
    for (peer, bytes) in [(&first, 50), (&second, 70), (&first, 90)] {
        peer.send_to(&vec![1; bytes], socket.local_addr().unwrap()).unwrap();
        socket.recv(&mut buffer).unwrap();
    }
    let found = rows(&mut bench);
    assert_eq!(found[0], (None, Direction::Inbound, 210, 0));
    assert_eq!(found.len(), 3);
}

#[test]
fn an_address_of_a_failed_call_is_not_taken_for_the_next() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (connected, other) = (outside(), outside());
    let socket = inside(&bench, "127.0.0.1:0");
    socket.connect(connected.local_addr().unwrap()).unwrap();
    // The message is longer than any datagram, so the kernel refuses it after a program has noted its address.
    socket.send_to(&vec![1; 70_000], other.local_addr().unwrap()).unwrap_err();
    socket.send(&[1; 5]).unwrap();
    assert_eq!(rows(&mut bench), [(Some(port(&connected)), Direction::Outbound, 0, 5)]);
}

/// Sends from each of `sockets` new sockets, which are then closed. Every fifth has several peers. Returns the number
/// of datagrams.
fn send_from_new_sockets(sockets: u32, peer: &UdpSocket, others: &[UdpSocket]) -> u64 {
    let mut count = 0;
    for number in 0..sockets {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let more: &[UdpSocket] = if number % 5 == 0 { others } else { &[] };
        for peer in std::iter::once(peer).chain(more) {
            socket.send_to(&[1; 3], peer.local_addr().unwrap()).unwrap();
            count += 1;
        }
    }
    count
}

#[test]
fn a_caller_from_elsewhere_is_counted_with_its_peers() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    // The order matters: if this process used a socket from elsewhere inside the cgroup, its own cgroup would count as
    // a lender (`lend.h`).
    let socket = inside(&bench, "127.0.0.1:0");
    let peer = outside();
    // By this message the programs learn that no session selects this process's own cgroup. They must count its
    // messages on `socket` nevertheless.
    outside().send_to(&[1], peer.local_addr().unwrap()).unwrap();
    for bytes in [10, 20] {
        socket.send_to(&vec![1; bytes], peer.local_addr().unwrap()).unwrap();
    }
    assert_eq!(rows(&mut bench), [(Some(port(&peer)), Direction::Outbound, 0, 30)]);
}

#[test]
fn slots_of_closed_sockets_are_used_again() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let peer = outside();
    let others: Vec<UdpSocket> = (0..3).map(|_| outside()).collect();
    // More flows than the smallest table has slots.
    let mut count = 0;
    for _ in 0..20 {
        count += bench.inside("", || send_from_new_sockets(1000, &peer, &others));
        // Slots that one drain finds closed are freed by a later one.
        bench.drain_to(bench.slot_use().0 / 2);
    }
    assert_eq!(bench.totals("a").tx_bytes, 3 * count);
    let losses = bench.engine.snapshot(&"a".to_owned(), 1).unwrap().losses;
    assert_eq!(losses, Losses::default());
}

#[test]
fn a_direction_filter_holds_for_both_ways_of_an_exchange() {
    let Some(mut bench) = bench() else { return };
    // Only one session runs at a time, so that flows that it rejects have no slot. (If any session wants a flow, its
    // slot remembers the direction.)
    for (direction, expected) in
        [(DirectionFilter::Inbound, (100, 300)), (DirectionFilter::Outbound, (300, 100))]
    {
        bench.start("a", Filter { direction, ..Filter::default() });
        let (client, server) = (inside(&bench, "127.0.0.1:0"), inside(&bench, "127.0.0.1:0"));
        let connected = inside(&bench, "127.0.0.1:0");
        connected.connect(server.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 100];
        bench.inside("", || {
            for _ in 0..5 {
                client.send_to(&[1; 10], server.local_addr().unwrap()).unwrap();
                connected.send(&[1; 10]).unwrap();
                for _ in 0..2 {
                    let (_, from) = server.recv_from(&mut buffer).unwrap();
                    server.send_to(&[1; 30], from).unwrap();
                }
                client.recv_from(&mut buffer).unwrap();
                connected.recv(&mut buffer).unwrap();
            }
        });
        let totals = bench.totals("a");
        assert_eq!((totals.rx_bytes, totals.tx_bytes), expected, "{direction:?}");
        bench.engine.stop(&"a".to_owned());
    }
}

/// Two threads use sockets for the first time at the same moment.
#[test]
fn first_messages_at_one_moment_are_all_counted() {
    const SOCKETS: usize = 2000;
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let peer = outside();
    let sockets: Vec<UdpSocket> = bench
        .inside("", || (0..SOCKETS).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect());
    let barrier = std::sync::Barrier::new(2);
    let send = || {
        for socket in &sockets {
            barrier.wait();
            socket.send_to(&[1; 3], peer.local_addr().unwrap()).unwrap();
        }
    };
    bench.inside("", || {
        std::thread::scope(|scope| {
            scope.spawn(send);
            send();
        });
    });
    assert_eq!(bench.totals("a").tx_bytes, 2 * 3 * SOCKETS as u64);
    let losses = bench.engine.snapshot(&"a".to_owned(), 1).unwrap().losses;
    assert_eq!(losses, Losses::default());
}
