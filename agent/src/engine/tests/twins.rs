//! Twins (`kernel/twins.rs`): the programs that count when the kernel skips the first ones.

use std::net::UdpSocket;

use super::*;

fn each_event_counts_once(alone: bool) {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    // One connection is used before and after the twins are attached; the sockets below are made after.
    let mut first = bench.connect("");
    transfer(&mut first.0, &mut first.1, 1000);
    bench.engine.tracer.as_mut().unwrap().use_twins(alone);
    transfer(&mut first.0, &mut first.1, 200);
    transfer(&mut first.1, &mut first.0, 30);
    let mut second = bench.connect("");
    transfer(&mut second.0, &mut second.1, 4000);
    let refused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    bench.inside("", || TcpStream::connect(refused).unwrap_err());
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = bench.inside("", || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    for _ in 0..3 {
        bench.inside("", || socket.send_to(&[1; 50], peer.local_addr().unwrap()).unwrap());
        peer.send_to(&[1; 7], socket.local_addr().unwrap()).unwrap();
        bench.inside("", || socket.recv_from(&mut [0; 100]).unwrap());
    }
    let totals = bench.totals("a");
    assert_eq!((totals.tx_bytes, totals.rx_bytes), (5200 + 150, 30 + 21));
    // The bytes of TCP come from the sockets' own counters. Calls on TCP sockets are not counted by twins.
    assert_eq!((totals.tx_calls, totals.rx_calls), if alone { (4, 3) } else { (6, 4) });
    assert_eq!((totals.connections, totals.connect_failures), (2, 1));
    drop(first);
    bench.engine.drain();
    let snapshot = bench.engine.snapshot(&"a".to_owned(), usize::MAX).unwrap();
    assert_eq!(snapshot.connections_open, 1);
    assert_eq!(snapshot.losses, Losses::default());
    let udp = snapshot.rows.iter().find(|row| row.key.protocol == Protocol::Udp).unwrap();
    assert_eq!(udp.key.remote_port, Some(peer.local_addr().unwrap().port()));
}

#[test]
fn beside_the_first_programs() {
    each_event_counts_once(false);
}

#[test]
fn without_the_first_programs() {
    each_event_counts_once(true);
}
