//! Sockets that several processes use for the first time at the same moment.

use std::{
    net::UdpSocket,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    process::{Child, Command, Stdio},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, getrlimit, pidfd_getfd, pidfd_open, setrlimit,
};

use super::*;

const SOCKETS: usize = 1500;
const PROCESSES: usize = 3;
/// Number of messages of each process on each socket.
const ROUNDS: usize = 2;
/// Time between the use of one socket and the next. All processes wait for the same moment.
const STEP: Duration = Duration::from_micros(100);
/// Environment variable with a child's orders: its number, its parent's process id, the ports of the peers, and the
/// file descriptors of the sockets in the parent.
const ORDERS: &str = "TT_TEST_SHARED_SOCKETS";

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Sends on every socket at its moment: in the first round to the same peer as all processes, in the second to a peer
/// that no other process sends to at that moment.
fn send_in_step(begin: Duration, number: usize, sockets: &[UdpSocket], peers: &[SocketAddr]) {
    for round in 0..ROUNDS {
        for (index, socket) in sockets.iter().enumerate() {
            let moment = begin + STEP * (round * sockets.len() + index) as u32;
            let waits = Instant::now();
            // The wait is bounded, in case the clock is set back.
            while now() < moment && waits.elapsed() < Duration::from_secs(2) {
                std::hint::spin_loop();
            }
            // On a connected socket, the kernel ignores the address.
            let peer = peers[(index + round * number) % peers.len()];
            assert_eq!(socket.send_to(&vec![1; 1 + number], peer).unwrap(), 1 + number);
        }
    }
}

/// The child process: takes its parent's sockets and sends on them in step with the parent.
#[test]
#[ignore = "the tests of shared sockets run it"]
fn child() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut orders = orders.split(' ').map(|word| word.parse::<u64>().unwrap());
    let mut order = || orders.next().unwrap();
    let (number, parent) = (order() as usize, order() as i32);
    let peers: Vec<_> =
        (0..PROCESSES).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, order() as u16))).collect();
    let parent = pidfd_open(Pid::from_raw(parent).unwrap(), PidfdFlags::empty()).unwrap();
    let sockets: Vec<UdpSocket> = orders
        .map(|fd| pidfd_getfd(&parent, fd as RawFd, PidfdGetfdFlags::empty()).unwrap().into())
        .collect();
    println!("ready");
    let mut begin = String::new();
    io::stdin().read_line(&mut begin).unwrap();
    send_in_step(Duration::from_nanos(begin.trim().parse().unwrap()), number, &sockets, &peers);
}

/// Returns true once the child has all its sockets, or false if it ended before.
fn is_ready(child: &mut Child) -> bool {
    let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.as_mut().unwrap()));
    lines.any(|line| line.unwrap().ends_with("ready"))
}

/// Raises the limit of open files for the sockets of a test and their peers.
fn allow_many_files() -> Option<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    match files.current {
        Some(most) if most < 2 * SOCKETS as u64 + 200 => skip("too few open files are allowed"),
        _ => Some(()),
    }
}

/// Makes all processes send on the sockets. Every socket must be shown with all its bytes, and no slot may remain when
/// the sockets are gone. Returns the number of connections that were counted.
fn share(bench: &mut Bench, sockets: Vec<UdpSocket>, others: impl Sized) -> Option<u64> {
    let peers: Vec<_> = (0..PROCESSES).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let addresses: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    let ports = addresses.iter().map(|address| address.port().to_string());
    let orders = ports.chain(sockets.iter().map(|socket| socket.as_raw_fd().to_string()));
    let orders = orders.collect::<Vec<_>>().join(" ");
    let spawn = |number| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::tests::shared::child", "--ignored", "--nocapture"])
            .env(ORDERS, format!("{number} {} {orders}", std::process::id()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = bench.inside("", || (1..PROCESSES).map(spawn).collect());
    if !children.iter_mut().all(is_ready) {
        children.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
        return skip("a process is not given its parent's sockets");
    }
    let begin = now() + Duration::from_millis(50);
    for child in &mut children {
        writeln!(child.stdin.take().unwrap(), "{}", begin.as_nanos()).unwrap();
    }
    send_in_step(begin, 0, &sockets, &addresses);
    let mut pids = vec![std::process::id()];
    for mut child in children {
        pids.push(child.id());
        assert!(child.wait().unwrap().success());
    }
    bench.engine.drain();
    let snapshot = bench.engine.snapshot(&"a".to_owned(), usize::MAX).unwrap();
    assert_eq!(snapshot.losses, Losses::default());
    let rows = &snapshot.rows;
    for (number, pid) in pids.iter().enumerate() {
        let sent = rows.iter().filter(|row| row.key.pid == *pid).map(|row| row.totals.tx_bytes).sum::<u64>();
        assert_eq!(sent, (SOCKETS * ROUNDS * (1 + number)) as u64, "process {number}");
    }
    assert_eq!(snapshot.totals.bytes(), rows.iter().map(|row| row.totals.bytes()).sum::<u64>());
    assert!(rows.iter().all(|row| row.key.remote_port.is_some()), "a message without its peer");

    drop((sockets, others, peers));
    bench.drain_to(0);
    assert_eq!(bench.slot_use().1, 0, "slots that nobody gives back");
    Some(snapshot.totals.connections)
}

#[test]
fn datagram_sockets() {
    let (Some(mut bench), Some(())) = (bench(), allow_many_files()) else { return };
    bench.start("a", Filter::default());
    let new = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sockets = bench.inside("", || (0..SOCKETS).map(|_| new()).collect());
    if let Some(connections) = share(&mut bench, sockets, ()) {
        assert_eq!(connections, 0);
    }
}

#[test]
fn accepted_connections() {
    let (Some(mut bench), Some(())) = (bench(), allow_many_files()) else { return };
    bench.start("a", Filter::default());
    let listener = bench.inside("", || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let (clients, sockets): (Vec<_>, Vec<UdpSocket>) = (0..SOCKETS)
        .map(|_| {
            let client = TcpStream::connect(to).unwrap();
            (client, OwnedFd::from(listener.accept().unwrap().0).into())
        })
        .unzip();
    if let Some(connections) = share(&mut bench, sockets, clients) {
        assert_eq!(connections, SOCKETS as u64);
    }
}
