//! The facts about connections that are reported beside their bytes: their numbers, failures and round-trip times.

use std::net::{IpAddr, Shutdown};

use super::*;
use crate::flows::{FlowState, Process};

/// Returns for the session `a` the numbers of opened connections, of open connections, and of failed attempts.
pub(super) fn connections(bench: &mut Bench) -> (u64, u64, u64) {
    bench.engine.drain();
    let snapshot = bench.engine.snapshot(&"a".to_owned(), usize::MAX).unwrap();
    let open: u64 = snapshot.rows.iter().map(|row| row.connections_open).sum();
    assert_eq!(open, snapshot.connections_open, "the rows must add up to the totals");
    (snapshot.totals.connections, open, snapshot.totals.connect_failures)
}

fn rows(bench: &mut Bench) -> Vec<Row> {
    bench.engine.drain();
    bench.engine.snapshot(&"a".to_owned(), usize::MAX).unwrap().rows
}

/// Returns a loopback address with a port on which nobody listens.
fn refused() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn opened_open_and_failed_connections_are_counted() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let first = bench.connect("");
    let mut second = bench.connect("");
    assert_eq!(connections(&mut bench), (2, 2, 0), "without a byte");
    transfer(&mut second.0, &mut second.1, 10);
    drop(first);
    assert_eq!(connections(&mut bench), (2, 1, 0));
    for _ in 0..3 {
        bench.inside("", || TcpStream::connect(refused()).unwrap_err());
    }
    assert_eq!(connections(&mut bench), (2, 1, 3));
    drop(second);
    assert_eq!(connections(&mut bench), (2, 0, 3));

    let processes = bench.engine.processes(&"a".to_owned());
    let [Process { pid, totals, connections_open, .. }] = *processes else { panic!("{processes:?}") };
    assert_eq!((pid, totals.tx_bytes, connections_open), (std::process::id(), 10, 0));
    assert_eq!((totals.connections, totals.connect_failures), (2, 3));
}

#[test]
fn a_failed_connection_is_a_row_that_says_whom_it_was_for() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let to = refused();
    bench.inside("", || TcpStream::connect(to).unwrap_err());
    let rows = rows(&mut bench);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.key.remote_address, row.key.remote_port), (Some(to.ip()), Some(to.port())));
    assert_eq!((row.key.pid, row.key.direction), (std::process::id(), Direction::Outbound));
    assert_ne!(row.key.local_port, Some(0));
    assert_eq!((row.state, row.totals.bytes(), row.totals.connections), (FlowState::Failed, 0, 0));
}

#[test]
fn a_socket_can_fail_and_then_succeed() {
    use rustix::net::{AddressFamily, SocketType, connect, socket};
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = bench.inside("", || socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
    connect(&client, &refused()).unwrap_err();
    connect(&client, &listener.local_addr().unwrap()).unwrap();
    let mut client: TcpStream = client.into();
    let mut server = listener.accept().unwrap().0;
    transfer(&mut client, &mut server, 70);
    transfer(&mut server, &mut client, 30);
    assert_eq!(connections(&mut bench), (1, 1, 1));
    let totals = bench.totals("a");
    assert_eq!((totals.tx_bytes, totals.rx_bytes), (70, 30));
    assert_eq!(rows(&mut bench)[0].key.remote_port, Some(server.local_addr().unwrap().port()));
}

/// Slot 0, the first in the table, must not be confused with the value 0 that marks a socket without a slot.
#[test]
fn a_connection_that_waits_keeps_its_slot_while_others_begin() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (listener, _fills_its_queue) = full_listener();
    let waiting = bench.inside("", || {
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
    });
    connect(&waiting, &listener.local_addr().unwrap()).unwrap_err();
    assert_eq!(connections(&mut bench), (0, 0, 0), "it is not connected yet");

    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 200);
    assert_eq!(connections(&mut bench), (1, 1, 0));

    drop(listener.accept().unwrap());
    let mut server = listener.accept().unwrap().0;
    let mut waiting = TcpStream::from(waiting);
    waiting.set_nonblocking(false).unwrap();
    transfer(&mut waiting, &mut server, 70);
    transfer(&mut server, &mut waiting, 30);
    let totals = bench.totals("a");
    assert_eq!((totals.tx_bytes, totals.rx_bytes), (270, 30));
    assert_eq!(connections(&mut bench), (2, 2, 0));
    let bytes: Vec<_> = rows(&mut bench).iter().map(|row| row.totals.bytes()).collect();
    assert_eq!(bytes, [200, 100]);
}

#[test]
fn an_accepted_connection_without_a_byte_is_one() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let listener = bench.inside("", || TcpListener::bind("[::]:0").unwrap());
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
    for _ in 0..5 {
        let client = TcpStream::connect(to).unwrap();
        let accepted = listener.accept().unwrap().0;
        // Once the client closes first, and once the server.
        client.shutdown(Shutdown::Write).unwrap();
        drop(accepted);
        let client = TcpStream::connect(to).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
    }
    let rows = rows(&mut bench);
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row.key.direction == Direction::Inbound && row.totals.connections == 1));
    assert_eq!(rows[0].key.remote_address, Some(IpAddr::from(Ipv4Addr::LOCALHOST)));
    assert_eq!(connections(&mut bench), (10, 0, 0));
}

#[test]
fn a_second_session_counts_what_it_finds_open_once() {
    let Some(mut bench) = bench() else { return };
    bench.start("b", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 10);
    bench.start("a", Filter::default());
    transfer(&mut client, &mut server, 10);
    assert_eq!(connections(&mut bench), (1, 1, 0));
    bench.update("a", ports(server.local_addr().unwrap().port()));
    transfer(&mut client, &mut server, 10);
    assert_eq!(connections(&mut bench), (1, 1, 0));
    drop((client, server));
    assert_eq!(connections(&mut bench), (1, 0, 0));
}

#[test]
fn a_session_that_goes_on_after_a_restart_does_not_count_older_connections_again() {
    let Some(mut bench) = bench() else { return };
    let (mut client, mut server) = bench.connect("");
    bench.start("a", Filter::default());
    let before = Totals { connections: 1, connect_failures: 2, rx_bytes: 5, ..Totals::default() };
    bench.engine.seed(&"a".to_owned(), &before, Vec::new());
    transfer(&mut client, &mut server, 10);
    bench.engine.drain();
    let snapshot = bench.engine.snapshot(&"a".to_owned(), 9).unwrap();
    assert_eq!((snapshot.totals.connections, snapshot.connections_open), (1, 1));
    let new = bench.connect("");
    assert_eq!((snapshot.totals.rx_bytes, snapshot.totals.connect_failures), (5, 2));
    bench.engine.drain();
    let snapshot = bench.engine.snapshot(&"a".to_owned(), 9).unwrap();
    assert_eq!((snapshot.totals.connections, snapshot.connections_open), (2, 2));
    drop(new);
}

#[test]
fn the_round_trip_time_is_known_without_a_byte() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let _both = bench.connect("");
    assert!(rows(&mut bench)[0].rtt_us > 0);
}
