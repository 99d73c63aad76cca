//! Changes of a selection under open flows: some flows are no longer selected, and no earlier count may be lost.

use std::{net::UdpSocket, thread};

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, socket_with, sockopt::socket_error,
};

use super::{streams::splice_some, *};

impl Bench {
    /// Makes two containers below the test's cgroup, `stays` and `leaves`. Returns the specification of a session of
    /// both, and that of the same session without `leaves`.
    fn both_and_one(&self) -> (SessionSpec, SessionSpec) {
        let selected = ["stays", "leaves"].map(|below| {
            let path = self.cgroup.make(below);
            (self.root.id_of(&path).unwrap(), SelectedCgroup { kind: CgroupKind::Container, path })
        });
        let mut both = self.spec(Filter::default());
        both.cgroups = selected.into();
        let mut one = both.clone();
        one.cgroups.retain(|_, cgroup| cgroup.path.ends_with("stays"));
        (both, one)
    }
}

#[test]
fn what_is_selected_no_more_is_not_counted() {
    let Some(mut bench) = bench() else { return };
    let (both, one) = bench.both_and_one();
    bench.engine.start(&"a".to_owned(), both.clone()).unwrap();
    bench.engine.start(&"both".to_owned(), both.clone()).unwrap();

    let (mut stays, mut peer) = bench.connect("stays");
    let (mut client, mut server) = bench.connect("leaves");
    let query = bench.inside("leaves", || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    query.send_to(&[1; 100], query.local_addr().unwrap()).unwrap();
    transfer(&mut stays, &mut peer, 1000);
    transfer(&mut client, &mut server, 2000);
    assert_eq!(bench.totals("a").tx_bytes, 3100);

    bench.engine.update(&"a".to_owned(), one).unwrap();
    bench.engine.drain_fully();
    transfer(&mut stays, &mut peer, 10);
    transfer(&mut client, &mut server, 20);
    server.write_all(&[1; 500]).unwrap();
    let spliced = splice_some(&client, 500);
    assert_eq!((bench.totals("a").tx_bytes, bench.totals("a").rx_bytes), (3110, 0));
    assert_eq!((bench.totals("both").tx_bytes, bench.totals("both").rx_bytes), (3130, spliced));

    bench.engine.update(&"a".to_owned(), both).unwrap();
    transfer(&mut client, &mut server, 5);
    assert_eq!(bench.totals("a").tx_bytes, 3115);
    assert_eq!(bench.totals("both").tx_bytes, 3135);
}

#[test]
fn datagram_sockets_that_are_selected_no_more_leave_no_slot() {
    let Some(mut bench) = bench() else { return };
    let (both, one) = bench.both_and_one();
    bench.engine.start(&"a".to_owned(), both).unwrap();
    let query = bench.inside("leaves", || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    query.send_to(&[1; 100], query.local_addr().unwrap()).unwrap();
    bench.engine.drain();
    assert!(bench.slot_use().1 > 0);
    bench.engine.update(&"a".to_owned(), one).unwrap();
    bench.drain_to(0);
    assert_eq!(bench.slot_use().1, 0);
    assert_eq!(bench.totals("a").tx_bytes, 100);
}

#[test]
fn bytes_that_no_call_tells_obey_a_changed_filter() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 1000);
    bench.update("a", ports(1));
    server.write_all(&[1; 500]).unwrap();
    splice_some(&client, 500);
    assert_eq!((bench.totals("a").tx_bytes, bench.totals("a").rx_bytes), (1000, 0));
}

#[test]
fn what_a_waiting_call_has_received_counts_once_when_a_session_begins() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 10);
    let waits = thread::spawn(move || {
        let mut buffer = vec![0; 200_000];
        recv(&client, &mut buffer, RecvFlags::WAITALL).unwrap().0
    });
    server.write_all(&vec![1; 50_000]).unwrap();
    wait_until(|| bench.totals("a").rx_bytes == 50_000);
    bench.start("b", Filter::default());
    server.write_all(&vec![1; 150_000]).unwrap();
    assert_eq!(waits.join().unwrap(), 200_000);
    assert_eq!(bench.totals("a").rx_bytes, 200_000);
    assert!((150_000..=200_000).contains(&bench.totals("b").rx_bytes));
}

#[test]
fn a_connect_that_fails_after_a_change_has_failed() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (listener, _fills_its_queue) = full_listener();
    let waiting = bench.inside("", || {
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
    });
    connect(&waiting, &listener.local_addr().unwrap()).unwrap_err();
    bench.start("b", Filter::default());
    drop(listener);
    wait_until(|| socket_error(&waiting).is_ok_and(|state| state.is_err()));
    assert_eq!(bench.totals("a").connect_failures, 1);
}
