//! Bytes that leave a TCP socket without a receive call, and sockets that were read before the session.

use std::{net::Shutdown, os::fd::OwnedFd, process::Command, thread};

use rustix::{
    net::{AddressFamily, SocketType, ipproto},
    pipe::{SpliceFlags, pipe, splice},
};

use super::*;

/// Splices up to `bytes` from a socket into a pipe and reads them from there. Returns their number.
pub(super) fn splice_some(socket: &TcpStream, bytes: usize) -> u64 {
    let (out, into) = pipe().unwrap();
    let moved = splice(socket, None, &into, None, bytes, SpliceFlags::empty()).unwrap();
    drop(into);
    assert_eq!(fs::File::from(out).read_to_end(&mut Vec::new()).unwrap(), moved);
    moved as u64
}

/// Splices until the end of the stream, and returns the number of bytes.
fn splice_all(socket: &TcpStream) -> u64 {
    let mut sum = 0;
    loop {
        match splice_some(socket, 1 << 20) {
            0 => return sum,
            moved => sum += moved,
        }
    }
}

#[test]
fn spliced_bytes_are_received_bytes() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    server.write_all(&[1; 30_000]).unwrap();
    client.read_exact(&mut [0; 1000]).unwrap();
    let mut sum = 1000 + splice_some(&client, 5000);
    assert_eq!(bench.totals("a").rx_bytes, sum, "while the connection is open");
    sum += splice_some(&client, 1) + client.read(&mut [0; 3000]).unwrap() as u64;
    client.peek(&mut [0; 100]).unwrap();
    assert_eq!(bench.totals("a").rx_bytes, sum);
    // The FIN takes a sequence number, too, but must not count as a byte.
    server.write_all(&[1; 100]).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    sum += splice_all(&client);
    assert_eq!(sum, 30_100);
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    drop((client, server));
    let totals = bench.totals("a");
    assert_eq!((totals.rx_bytes, totals.rx_calls, totals.connections), (30_100, 2, 1));
}

#[test]
fn spliced_bytes_are_shown_once_no_call_is_under_way() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    server.write_all(&[1; 9000]).unwrap();
    client.read_exact(&mut [0; 1000]).unwrap();
    let spliced = splice_some(&client, 5000);
    let received = |bench: &mut Bench| {
        bench.engine.drain();
        bench.engine.snapshot(&"a".to_owned(), 1).unwrap().totals.rx_bytes
    };
    received(&mut bench);
    assert_eq!(received(&mut bench), 1000 + spliced);
    client.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(received(&mut bench), 1010 + spliced, "and not again with the next call");
}

#[test]
fn an_older_socket_counts_from_its_next_call_on() {
    let Some(mut bench) = bench() else { return };
    let (mut client, mut server) = bench.connect("");
    server.write_all(&[1; 10_000]).unwrap();
    client.read_exact(&mut [0; 1234]).unwrap();
    bench.start("a", Filter::default());
    client.read_exact(&mut [0; 100]).unwrap();
    assert_eq!(bench.totals("a").rx_bytes, 100);
    let spliced = splice_some(&client, 1000);
    client.read_exact(&mut [0; 50]).unwrap();
    assert_eq!(bench.totals("a").rx_bytes, 150 + spliced);
}

#[test]
fn what_was_read_while_nobody_selected_the_socket_is_not_counted_later() {
    let Some(mut bench) = bench() else { return };
    let other = TestCgroup::new(&bench.root);
    let spec = bench.spec_of(&other, Filter::default());
    bench.engine.start(&"keeps the programs loaded".to_owned(), spec).unwrap();
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    server.write_all(&[1; 10_000]).unwrap();
    let spliced = splice_some(&client, 700);
    assert_eq!(bench.engine.stop(&"a".to_owned()).unwrap().rx_bytes, spliced);
    client.read_exact(&mut [0; 2000]).unwrap();
    bench.start("b", Filter::default());
    client.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(bench.totals("b").rx_bytes, 10);
    let spliced = splice_some(&client, 100);
    assert_eq!(bench.totals("b").rx_bytes, 10 + spliced);
}

#[test]
fn a_selection_that_changes_elsewhere_loses_no_spliced_byte() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (client, mut server) = bench.connect("");
    server.write_all(&[1; 10_000]).unwrap();
    let mut sum = 0;
    for number in 0..10 {
        let other = number.to_string();
        bench.start(&other, ports(1));
        sum += splice_some(&client, 100);
        bench.engine.stop(&other);
        sum += splice_some(&client, 100);
    }
    assert_eq!(bench.totals("a").rx_bytes, sum);
}

#[test]
fn threads_that_read_one_socket_count_each_byte_once() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (client, mut server) = bench.connect("");
    let readers: Vec<_> = (0..4u32)
        .map(|number| {
            let mut socket = client.try_clone().unwrap();
            thread::spawn(move || {
                let (mut sum, mut buffer) = (0, [0; 1000]);
                loop {
                    let moved = match number {
                        0 => splice_some(&socket, 700) as usize,
                        _ => socket.read(&mut buffer).unwrap(),
                    };
                    if moved == 0 {
                        return sum;
                    }
                    sum += moved as u64;
                }
            })
        })
        .collect();
    for _ in 0..2000 {
        server.write_all(&[1; 977]).unwrap();
    }
    server.shutdown(Shutdown::Write).unwrap();
    let sum: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert_eq!((bench.totals("a").rx_bytes, sum), (2000 * 977, 2000 * 977));
}

/// Makes an MPTCP listener on the loopback interface, as Go does; `None` if the kernel has no MPTCP.
pub(super) fn mptcp_listener() -> Option<TcpListener> {
    let Ok(socket) = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP))
    else {
        return skip("this kernel has no MPTCP, or net.mptcp.enabled is 0");
    };
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    Some(socket.into())
}

pub(super) fn mptcp_socket() -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)).unwrap()
}

#[test]
fn a_plain_connection_to_an_mptcp_listener_is_one_of_tcp() {
    let Some(mut bench) = bench() else { return };
    let Some(listener) = bench.inside("", mptcp_listener) else { return };
    bench.start("a", Filter::default());
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    transfer(&mut client, &mut accepted, 300);
    client.write_all(&[1; 2000]).unwrap();
    let spliced = splice_some(&accepted, 2000);
    transfer(&mut accepted, &mut client, 40);
    bench.engine.drain_fully();
    let rows = bench.engine.snapshot(&"a".to_owned(), 9).unwrap().rows;
    let row = &rows[0];
    assert_eq!(rows.len(), 1);
    assert_eq!((row.key.protocol, row.key.direction), (Protocol::Tcp, Direction::Inbound));
    assert_eq!(row.key.remote_port, Some(client.local_addr().unwrap().port()));
    assert_eq!((row.totals.rx_bytes, row.totals.tx_bytes, row.totals.connections), (300 + spliced, 40, 1));
}

#[test]
fn both_ends_of_an_mptcp_connection_have_peer_and_direction() {
    let Some(mut bench) = bench() else { return };
    let Some(listener) = bench.inside("", mptcp_listener) else { return };
    bench.start("a", Filter::default());
    let client = bench.inside("", mptcp_socket);
    rustix::net::connect(&client, &listener.local_addr().unwrap()).unwrap();
    let mut client: TcpStream = client.into();
    let mut accepted = listener.accept().unwrap().0;
    transfer(&mut client, &mut accepted, 3000);
    transfer(&mut accepted, &mut client, 40);
    let mut rows = bench.engine.snapshot(&"a".to_owned(), 9).unwrap().rows;
    rows.sort_by_key(|row| row.totals.rx_bytes);
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            let Totals { rx_bytes, tx_bytes, connections, .. } = row.totals;
            (row.key.direction, row.key.local_port, row.key.remote_port, rx_bytes, tx_bytes, connections)
        })
        .collect();
    let near = Some(client.local_addr().unwrap().port());
    let far = Some(listener.local_addr().unwrap().port());
    assert_eq!(
        found,
        [(Direction::Outbound, near, far, 40, 3000, 1), (Direction::Inbound, far, near, 3000, 40, 1)]
    );
}

#[test]
fn what_a_process_moves_after_exec_is_of_its_new_program() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (client, mut server) = bench.connect("");
    server.write_all(&[[1; 99].as_slice(), b"\n", &[1; 600]].concat()).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    // The shell's `read` reads single bytes, so it takes the first line only.
    let mut command = Command::new("sh");
    command.args(["-c", "read -r line; exec wc -c"]).stdin(OwnedFd::from(client));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "600");
    bench.engine.drain();
    let rows = bench.engine.snapshot(&"a".to_owned(), 9).unwrap().rows;
    let mut found: Vec<_> =
        rows.iter().map(|row| (row.totals.rx_bytes, row.key.pid, row.key.command() == "wc")).collect();
    found.sort_unstable();
    let child = found[2].1;
    assert_eq!(found, [(0, std::process::id(), false), (100, child, false), (600, child, true)]);
    assert_eq!(bench.totals("a").connections, 1);
}
