//! More flows than there is room for: details of single flows may be lost, but the sums must not.

use std::net::UdpSocket;

use super::*;

/// More peers than the smallest table has slots.
const PEERS: u16 = 18_000;
const FIRST_PORT: u16 = 20_000;

/// Sends a message of `bytes` bytes from one socket to each of [`PEERS`] ports, and returns the number of bytes sent.
fn send_to_many(bench: &Bench, bytes: usize) -> u64 {
    let socket = bench.inside("", || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let message = vec![1; bytes];
    let mut sent = 0;
    bench.inside("", || {
        for port in FIRST_PORT..FIRST_PORT + PEERS {
            // Nobody listens there. The kernel reports some of the refusals as errors of the next call, which then
            // sends nothing.
            if let Ok(bytes) = socket.send_to(&message, (Ipv4Addr::LOCALHOST, port)) {
                sent += bytes as u64;
            }
        }
    });
    sent
}

#[test]
fn a_full_table_loses_no_byte_of_the_totals() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    bench.start("b", Filter { protocols: vec![Protocol::Udp], ..Filter::default() });
    let sent = send_to_many(&bench, 11);
    for id in ["a", "b"] {
        assert_eq!(bench.totals(id).tx_bytes, sent, "session {id}");
        let snapshot = bench.engine.snapshot(&id.to_owned(), usize::MAX).unwrap();
        assert!(snapshot.losses.table_full > 0, "{:?}", snapshot.losses);
        assert_eq!(snapshot.losses.tx_bytes, 0);
        let folded: Vec<_> = snapshot.rows.iter().filter(|row| row.key.pid == 0).collect();
        let [row] = *folded else { panic!("one row for the container and protocol: {folded:?}") };
        assert!(row.folded && row.totals.tx_bytes > 0);
    }
}

#[test]
fn the_sums_of_ended_sessions_make_room_for_others() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    bench.start("b", Filter { protocols: vec![Protocol::Udp], ..Filter::default() });
    send_to_many(&bench, 1);
    let rows = |bench: &mut Bench| {
        let rows = bench.engine.tracer.as_mut().unwrap().overflow().unwrap();
        rows.iter().map(|([_, sessions, _], _)| *sessions).collect::<Vec<_>>()
    };
    assert_eq!(rows(&mut bench), [0b11]);
    let before = bench.totals("b").tx_bytes;
    bench.engine.stop(&"a".to_owned());
    assert_eq!(rows(&mut bench), [0b11], "one of its sessions still counts");
    let sent = send_to_many(&bench, 1);
    assert_eq!(bench.totals("b").tx_bytes, before + sent);
    bench.start("c", ports(1));
    bench.engine.stop(&"b".to_owned());
    assert_eq!(rows(&mut bench), [0; 0]);
}

#[test]
fn what_nobody_wants_takes_no_room() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", ports(FIRST_PORT + PEERS - 1));
    let sent = send_to_many(&bench, 11);
    assert!(sent >= 11 * u64::from(PEERS / 2), "{sent}");
    assert_eq!(bench.totals("a").tx_bytes, 11);
    let losses = bench.engine.snapshot(&"a".to_owned(), 1).unwrap().losses;
    assert_eq!(losses, Losses::default());
}

#[test]
fn each_of_64_sessions_gets_what_its_filter_wants() {
    let Some(mut bench) = bench() else { return };
    let mut streams: Vec<_> = (0..SESSIONS / 2).map(|_| bench.connect("")).collect();
    for (number, (_, server)) in streams.iter().enumerate() {
        let port = server.local_addr().unwrap().port();
        bench.start(&format!("port {number}"), ports(port));
        bench.start(
            &format!("rest {number}"),
            Filter { ports: vec![1..=port - 1, port + 1..=65535], ..Filter::default() },
        );
    }
    let mut all = 0;
    for (number, (client, server)) in streams.iter_mut().enumerate() {
        transfer(client, server, 100 + number);
        all += 100 + number as u64;
    }
    for number in 0..SESSIONS / 2 {
        let own = 100 + number as u64;
        assert_eq!(bench.totals(&format!("port {number}")).tx_bytes, own);
        assert_eq!(bench.totals(&format!("rest {number}")).tx_bytes, all, "its other port is its own");
    }
}

/// The session selects more cgroups than the kernel's map has room for.
#[test]
fn a_refused_session_leaves_nothing_behind() {
    let Some(mut bench) = bench() else { return };
    let mut spec = bench.spec(Filter { protocols: vec![Protocol::Tcp], ..Filter::default() });
    let gone = SelectedCgroup { kind: CgroupKind::Container, path: "gone".into() };
    spec.cgroups.extend((0..17_000).map(|number| (u64::MAX - number, gone.clone())));
    let error = bench.engine.start(&"refused".to_owned(), spec).unwrap_err();
    assert!(matches!(error, EngineError::Kernel(_)), "{error}");
    bench.start("a", ports(1));
    let spec = SessionSpec { max_rows: 10, ..SessionSpec::default() };
    // One of these sessions gets the number of the refused one, of which nothing may be left in the kernel.
    for number in 0..SESSIONS - 1 {
        bench.engine.start(&format!("session {number}"), spec.clone()).unwrap();
    }
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 100);
    for number in 0..SESSIONS - 1 {
        assert_eq!(bench.totals(&format!("session {number}")).bytes(), 0);
    }
    assert_eq!(bench.totals("a").bytes(), 0);
}
