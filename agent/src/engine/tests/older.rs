//! Sockets that are older than their session, and sockets from other cgroups.

use super::*;
use crate::kernel::sees_all_processes;

/// Skips the test if sockets older than their session cannot be found.
fn finds_older() -> Option<()> {
    match sees_all_processes() {
        true => Some(()),
        false => skip("not in the machine's own pid namespace: older sockets cannot be found"),
    }
}

#[test]
fn open_connections_are_rows_before_they_move_a_byte() {
    let (Some(mut bench), Some(())) = (bench(), finds_older()) else { return };
    let (client, mut server) = bench.connect("");
    server.write_all(&[1; 3000]).unwrap();
    bench.start("a", Filter::default());
    bench.start("b", ports(1));
    bench.engine.drain();
    let snapshot = bench.engine.snapshot(&"a".to_owned(), 9).unwrap();
    let [row] = snapshot.rows.as_slice() else { panic!("{:?}", snapshot.rows) };
    assert_eq!((row.key.pid, row.key.direction), (std::process::id(), Direction::Outbound));
    assert_eq!(row.key.remote_port, Some(server.local_addr().unwrap().port()));
    assert_eq!((row.totals.bytes(), row.totals.connections, snapshot.connections_open), (0, 1, 1));
    // The bytes are exact although the first data is spliced.
    let moved = streams::splice_some(&client, 2000);
    assert_eq!(bench.totals("a").rx_bytes, moved);
    assert_eq!(bench.totals("b").connections, 0);
    drop(client);
    assert_eq!(bench.totals("a").connections, 1);
}

#[test]
fn a_listener_from_elsewhere_counts_for_the_process_that_was_given_it() {
    let Some(mut bench) = bench() else { return };
    // A listener from elsewhere, as systemd hands one over, or as a process keeps one when it is moved.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let spec = bench.spec(Filter::default());
    let engine = &mut bench.engine;
    // The session begins while the process is in the cgroup, so the search for older sockets finds the listener.
    let home = bench.root.of_pid(std::process::id()).unwrap();
    let enter = |cgroup: &Path| {
        fs::write(bench.root.path().join(cgroup).join("cgroup.procs"), std::process::id().to_string())
            .unwrap();
    };
    enter(bench.cgroup.path());
    engine.start(&"a".to_owned(), spec).unwrap();
    enter(&home);
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    let near = client.local_addr().unwrap().port();
    bench.inside("", || accepted.write_all(&[1; 400]).unwrap());
    client.read_exact(&mut [0; 400]).unwrap();
    bench.engine.drain();
    let id = bench.root.id_of(bench.cgroup.path()).unwrap();
    let rows = bench.engine.snapshot(&"a".to_owned(), 99).unwrap().rows;
    let row = rows.iter().find(|row| row.key.remote_port == Some(near)).unwrap();
    assert_eq!((row.key.cgroup, row.key.direction), (id, Direction::Inbound));
    assert_eq!((row.totals.tx_bytes, row.totals.connections), (400, 1));
    // A process from elsewhere moves these bytes. No session wants them, and the next counted read must not include
    // them.
    transfer(&mut accepted, &mut client, 50);
    transfer(&mut client, &mut accepted, 3000);
    client.write_all(&[1; 70]).unwrap();
    bench.inside("", || accepted.read_exact(&mut [0; 70]).unwrap());
    let totals = bench.totals("a");
    assert_eq!((totals.tx_bytes, totals.rx_bytes), (400, 70));
}

/// The bytes are exact from the first call on, although the first data is spliced.
#[test]
fn what_a_process_brings_along_is_spliced() {
    let Some(mut bench) = bench() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    transfer(&mut client, &mut accepted, 300);
    bench.start("a", Filter::default());
    client.write_all(&[1; 3000]).unwrap();
    let spliced = bench.inside("", || streams::splice_some(&accepted, 2000));
    bench.inside("", || accepted.read_exact(&mut [0; 500]).unwrap());
    assert_eq!(bench.totals("a").rx_bytes, spliced + 500);
}

#[test]
fn what_was_not_accepted_yet_is_spliced() {
    let (Some(mut bench), Some(())) = (bench(), finds_older()) else { return };
    let listener = bench.inside("", || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let mut clients: Vec<_> =
        (0..3).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
    bench.start("a", Filter::default());
    let mut spliced = 0;
    for client in &mut clients {
        client.write_all(&[1; 3000]).unwrap();
        let accepted = listener.accept().unwrap().0;
        spliced += streams::splice_some(&accepted, 2000);
    }
    assert_eq!(bench.totals("a").rx_bytes, spliced);
}

#[test]
fn a_cgroup_that_is_selected_later_is_searched_as_well() {
    let (Some(mut bench), Some(())) = (bench(), finds_older()) else { return };
    let spec = bench.spec(Filter::default());
    bench.engine.start(&"a".to_owned(), SessionSpec { cgroups: BTreeMap::new(), ..spec.clone() }).unwrap();
    let (client, mut server) = bench.connect("");
    server.write_all(&[1; 3000]).unwrap();
    bench.engine.update(&"a".to_owned(), spec).unwrap();
    let spliced = streams::splice_some(&client, 2000);
    let totals = bench.totals("a");
    assert_eq!((totals.rx_bytes, totals.connections), (spliced, 1));
}
