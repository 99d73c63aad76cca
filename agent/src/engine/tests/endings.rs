//! Connections that begin or end in unusual ways. None may stay open forever, be counted twice, or not at all.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket, sockopt};

use super::{connections::connections, *};

/// Waits for the expected result of [`connections`], because the kernel closes some sockets a moment after the
/// application.
fn settled(bench: &mut Bench, expected: (u64, u64, u64)) {
    wait_until(|| connections(bench) == expected);
    assert_eq!(connections(bench), expected);
}

/// Sets SO_LINGER to 0, so that close() sends a reset.
fn no_linger(socket: &TcpStream) {
    sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}

#[test]
fn accepted_connections_that_are_reset_are_counted() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let listener = bench.inside("", || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    // Closed with unread data.
    let mut client = TcpStream::connect(to).unwrap();
    let accepted = listener.accept().unwrap().0;
    client.write_all(&[1; 10]).unwrap();
    accepted.peek(&mut [0; 10]).unwrap();
    drop(accepted);
    settled(&mut bench, (1, 0, 0));
    // Closed with SO_LINGER 0, which resets the connection.
    let client = TcpStream::connect(to).unwrap();
    let accepted = listener.accept().unwrap().0;
    no_linger(&accepted);
    drop((accepted, client));
    settled(&mut bench, (2, 0, 0));
    // Closed by the client, before it was accepted.
    let client = TcpStream::connect(to).unwrap();
    no_linger(&client);
    drop(client);
    drop(listener.accept().unwrap());
    settled(&mut bench, (3, 0, 0));
    // Never accepted, so it belongs to no process.
    let client = TcpStream::connect(to).unwrap();
    drop(listener);
    drop(client);
    settled(&mut bench, (3, 0, 0));
    assert_eq!(bench.totals("a").bytes(), 0);
}

#[test]
fn a_process_is_told_its_accepted_connections() {
    let Some(mut bench) = bench() else { return };
    let spec = SessionSpec {
        group_by: GroupBy::Connection,
        processes: [(std::process::id(), false)].into(),
        max_rows: 100,
        ..SessionSpec::default()
    };
    bench.engine.start(&"a".to_owned(), spec).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    drop(accepted);
    // On the second connection, the process splices and makes no receive call.
    let mut second = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    second.write_all(&[1; 2000]).unwrap();
    let accepted = listener.accept().unwrap().0;
    let spliced = streams::splice_some(&accepted, 2000);
    client.read_exact(&mut [0]).unwrap_err();
    drop((client, second, accepted));
    let totals = bench.totals("a");
    assert_eq!((totals.connections, totals.tx_bytes, totals.rx_bytes), (4, 2000, spliced));
    let rows = bench.engine.snapshot(&"a".to_owned(), 99).unwrap().rows;
    assert_eq!(rows.iter().filter(|row| row.key.direction == Direction::Inbound).count(), 2);
}

#[test]
fn both_ends_call_connect() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let itself = bench.inside("", || socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
    bind(&itself, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let stream = TcpStream::from(itself);
    let address = stream.local_addr().unwrap();
    connect(&stream, &address).unwrap();
    (&stream).write_all(&[1; 100]).unwrap();
    (&stream).read_exact(&mut [0; 100]).unwrap();
    let totals = bench.totals("a");
    assert_eq!((totals.tx_bytes, totals.rx_bytes, connections(&mut bench)), (100, 100, (1, 1, 0)));
    drop(stream);
    settled(&mut bench, (1, 0, 0));
}

/// Opens a connection whose client end belongs to the test's cgroup. The kernel drops the client's first SYN, so one
/// segment is retransmitted.
fn asked_twice(bench: &Bench) -> (TcpStream, TcpStream) {
    let (listener, _first) = full_listener();
    let to = listener.local_addr().unwrap();
    let second: OwnedFd = bench.inside("", || socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| connect(&second, &to).unwrap());
        let sockets = || fs::read_to_string("/proc/self/net/tcp").unwrap();
        let syn_sent = format!(":{:04X} 02 ", to.port());
        while !sockets().contains(&syn_sent) {
            std::thread::yield_now();
        }
        drop(listener.accept().unwrap());
    });
    (TcpStream::from(second), listener.accept().unwrap().0)
}

#[test]
fn retransmits_do_not_fall_with_a_socket_that_is_disconnected() {
    let Some(mut bench) = bench() else { return };
    // The repeated SYN is one retransmit from before the session began, which must not count.
    let (mut client, mut server) = asked_twice(&bench);
    bench.start("a", Filter::default());
    transfer(&mut client, &mut server, 10);
    no_linger(&client);
    drop((client, server));
    settled(&mut bench, (1, 0, 0));
    assert_eq!(bench.totals("a").retransmits, 0);
}

#[test]
fn retransmits_are_counted_once_however_often_the_selection_changes() {
    let Some(mut bench) = bench() else { return };
    let (mut client, mut server) = asked_twice(&bench);
    for session in ["a", "b", "c"] {
        bench.start(session, Filter::default());
        transfer(&mut client, &mut server, 10);
    }
    for session in ["a", "b", "c"] {
        assert_eq!(
            bench.totals(session).retransmits,
            0,
            "{session}: the segment is older than every session"
        );
    }
}

#[test]
fn raw_sockets_are_no_connections() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    bench.inside("", || {
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)).unwrap();
        connect(&raw, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        rustix::net::send(&raw, &[0; 20], rustix::net::SendFlags::empty()).unwrap();
    });
    assert_eq!((connections(&mut bench), bench.totals("a").bytes()), ((0, 0, 0), 0));
    assert_eq!(bench.engine.tracer.as_ref().unwrap().slot_use().1, 0);
}

#[test]
fn mptcp_connections_end_like_others() {
    let Some(mut bench) = bench() else { return };
    let Some(listener) = bench.inside("", streams::mptcp_listener) else { return };
    bench.start("a", Filter::default());
    for _ in 0..3 {
        let client = streams::mptcp_socket();
        connect(&client, &listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
    }
    settled(&mut bench, (3, 0, 0));
    // An MPTCP connection can continue after the process has closed its half.
    let client = streams::mptcp_socket();
    connect(&client, &listener.local_addr().unwrap()).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    accepted.shutdown(std::net::Shutdown::Write).unwrap();
    let mut client = TcpStream::from(client);
    transfer(&mut client, &mut accepted, 100);
    assert_eq!(bench.totals("a").rx_bytes, 100);
    drop((client, accepted));
    settled(&mut bench, (4, 0, 0));
}
