//! Stacks: their sums and their owners.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    os::unix::{fs::symlink, process::CommandExt as _},
    process::Command,
    thread,
};

use rustix::fs::sendfile;
use traffictrace_ebpf::layout::stacks::{CLAIM, Record};
use traffictrace_profile::{Graph, Known, Place, Way};

use super::{streams::splice_some, *};
use crate::kernel::HookTier;

pub(super) const EVERY_CALL: StackSpec = StackSpec { every_call: true, kernel: false };
/// Environment variable with a child's orders: the address to send to, the number of processes that follow, and another
/// path of the program.
const ORDERS: &str = "TT_TEST_STACKS";

/// Bytes and calls by process and direction.
type Sums = BTreeMap<(u32, Way), (u64, u64)>;

fn start(bench: &mut Bench, id: &str, stacks: StackSpec) {
    let spec = SessionSpec { stacks: Some(stacks), ..bench.spec(Filter::default()) };
    bench.engine.start(&id.to_owned(), spec).unwrap();
}

/// Makes a bench whose session `a` wants stacks. Otherwise the test is skipped.
pub(super) fn stacks(spec: StackSpec) -> Option<Bench> {
    let mut bench = bench()?;
    bench.start("tier", Filter::default());
    let tier = bench.engine.tracer.as_ref().unwrap().hook_tier();
    bench.engine.stop(&"tier".to_owned());
    if tier != HookTier::TpBtf {
        return skip(&KernelError::NoStacks { tier }.to_string());
    }
    start(&mut bench, "a", spec);
    Some(bench)
}

/// Returns a place whose container is named by the cgroup's id.
fn place_of(cgroup: u64, _: &dyn Fn() -> Option<String>) -> Option<Place> {
    Some(Place { container: cgroup.to_string(), ..Place::default() })
}

pub(super) fn graph(bench: &mut Bench, id: &str) -> Graph {
    bench.engine.graph(&id.to_owned(), &mut place_of).unwrap()
}

/// Returns the sums of the rows that have a stack or, without `with_stack`, of those that have none.
pub(super) fn sums(graph: &Graph, with_stack: bool) -> Sums {
    let mut sums = Sums::new();
    for row in graph.rows() {
        if matches!(row.key.known, Known::Missing(_)) != with_stack {
            let sum = sums.entry((row.key.process.pid, row.key.way)).or_default();
            *sum = (sum.0 + row.bytes, sum.1 + row.calls);
        }
    }
    sums
}

/// Returns the sums of the session's rows, which its stacks must add up to. Sums that are zero are left out.
pub(super) fn ledger(bench: &Bench, id: &str) -> Sums {
    let mut sums = Sums::new();
    for process in bench.engine.processes(&id.to_owned()) {
        let Totals { tx_bytes, tx_calls, rx_bytes, rx_calls, .. } = process.totals;
        for (way, (bytes, calls)) in
            [(Way::Sent, (tx_bytes, tx_calls)), (Way::Received, (rx_bytes, rx_calls))]
        {
            let sum = sums.entry((process.pid, way)).or_default();
            *sum = (sum.0 + bytes, sum.1 + calls);
        }
    }
    sums.retain(|_, sum| *sum != (0, 0));
    sums
}

/// Asserts that every byte and call of the ledger has a stack.
pub(super) fn assert_whole(bench: &mut Bench) -> Graph {
    let graph = graph(bench, "a");
    let expected = ledger(bench, "a");
    assert!(!expected.is_empty());
    assert_eq!(sums(&graph, true), expected);
    assert_eq!(sums(&graph, false), Sums::new());
    graph
}

fn outside() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Makes a connected datagram socket in the test's cgroup, and its peer. The peer reads nothing, so most messages are
/// dropped.
pub(super) fn inside(bench: &Bench) -> (UdpSocket, UdpSocket) {
    let peer = outside();
    let socket = bench.inside("", outside);
    socket.connect(peer.local_addr().unwrap()).unwrap();
    (socket, peer)
}

pub(super) fn read(bench: &mut Bench, sink: &mut dyn FnMut(&Record<'_>)) {
    bench.engine.stacks.as_mut().unwrap().capture.read(usize::MAX, sink);
}

#[test]
fn streams_and_datagrams_add_up() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (mut client, mut server) = bench.connect("");
    for bytes in [1, 100, 70_000] {
        transfer(&mut client, &mut server, bytes);
        transfer(&mut server, &mut client, 3 * bytes);
    }
    let (socket, peer) = inside(&bench);
    for bytes in [0, 20, 1000] {
        socket.send(&vec![1; bytes]).unwrap();
        peer.send_to(&vec![1; bytes + 1], socket.local_addr().unwrap()).unwrap();
        socket.recv(&mut [0; 2000]).unwrap();
    }
    let graph = assert_whole(&mut bench);
    let sum = |way| graph.rows().iter().filter(|row| row.key.way == way).map(|row| row.bytes).sum::<u64>();
    assert_eq!((sum(Way::Sent), sum(Way::Received)), (70_101 + 1020, 3 * 70_101 + 1023));
    let cgroup = bench.root.id_of(bench.cgroup.path()).unwrap();
    assert!(graph.rows().iter().all(|row| row.key.process.container == cgroup.to_string()));
}

#[test]
fn each_thread_has_the_bytes_of_its_own_calls() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (socket, _peer) = inside(&bench);
    thread::scope(|scope| {
        for number in 1..=8usize {
            let socket = &socket;
            let send = move || {
                for _ in 0..50 * number {
                    assert_eq!(socket.send(&vec![1; number]).unwrap(), number);
                }
            };
            thread::Builder::new().name(format!("tt-{number}")).spawn_scoped(scope, send).unwrap();
        }
    });
    let graph = assert_whole(&mut bench);
    let mut by_thread = BTreeMap::new();
    for row in graph.rows() {
        let sum: &mut (u64, u64) = by_thread.entry(row.key.thread.to_string()).or_default();
        *sum = (sum.0 + row.bytes, sum.1 + row.calls);
    }
    let expected = (1..=8u64).map(|number| (format!("tt-{number}"), (50 * number * number, 50 * number)));
    assert_eq!(by_thread, expected.collect());
}

/// The child process: sends, runs the same program under another name, starts a child of its own, and ends.
#[test]
#[ignore = "the test of processes runs it"]
fn child() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Vec<_> = orders.split(' ').collect();
    let [address, follow, name] = orders[..] else { panic!("{orders:?}") };
    let follow: usize = follow.parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&vec![1; 1000 + follow]).unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    drop(stream);
    if follow == 0 {
        return;
    }
    let next = |command: &mut Command, follow: usize| {
        command
            .args(["--exact", "engine::tests::stacks::child", "--ignored"])
            .env(ORDERS, format!("{address} {follow} {name}"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
            .wait()
            .unwrap()
    };
    assert!(next(&mut Command::new("/proc/self/exe"), follow - 1).success());
    if follow > 1 {
        let error = Command::new(name)
            .args(["--exact", "engine::tests::stacks::child", "--ignored"])
            .env(ORDERS, format!("{address} 0 {name}"))
            .exec();
        panic!("{error}");
    }
}

#[test]
fn processes_that_come_and_go_add_up() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let folder = tempfile::tempdir().unwrap();
    let other_name = folder.path().join("tt-other-name");
    symlink(std::env::current_exe().unwrap(), &other_name).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        // Connections of the processes with 3, 2, 1 and 0 to follow, and two from the program under another name.
        for _ in 0..6 {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(&[1; 5]).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    let mut child = bench.inside("", || {
        Command::new("/proc/self/exe")
            .args(["--exact", "engine::tests::stacks::child", "--ignored"])
            .env(ORDERS, format!("{address} 3 {}", other_name.display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    });
    // Stacks are read while the processes live, as in real use.
    while child.try_wait().unwrap().is_none() {
        bench.engine.tick();
        thread::sleep(Duration::from_millis(5));
    }
    server.join().unwrap();
    // A process may end before it was examined. Its bytes are then in rows without a stack.
    let graph = graph(&mut bench, "a");
    let mut all = sums(&graph, true);
    for (key, (bytes, calls)) in sums(&graph, false) {
        let sum = all.entry(key).or_default();
        *sum = (sum.0 + bytes, sum.1 + calls);
    }
    assert_eq!(all, ledger(&bench, "a"));
    let owners: BTreeSet<_> =
        graph.rows().iter().map(|row| (row.key.process.pid, &row.key.process.command)).collect();
    assert_eq!(owners.len(), 6, "{owners:?}");
    let sent = graph.rows().iter().filter(|row| row.key.way == Way::Sent).map(|row| row.bytes).sum::<u64>();
    assert_eq!(sent, 6 * 1000 + 3 + 2 + 1);
}

#[test]
fn what_is_received_without_a_call_is_claimed() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (client, mut server) = bench.connect("");
    server.write_all(&[1; 50_000]).unwrap();
    let mut sum = 0;
    while sum < 50_000 {
        sum += splice_some(&client, 10_000);
    }
    let claims = {
        let mut claims = 0;
        let mut all = Vec::new();
        read(&mut bench, &mut |record| {
            claims += usize::from(record.flags & CLAIM != 0);
            all.push((record.flags, record.bytes));
        });
        assert_eq!(claims, all.len(), "{all:?}");
        claims
    };
    assert!(claims >= 5, "{claims}");
    server.write_all(&[1; 10_000]).unwrap();
    sum += splice_some(&client, 10_000);
    assert_whole(&mut bench);
    assert_eq!(bench.totals("a").rx_bytes, sum);
}

#[test]
fn files_that_are_sent_add_up() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (client, mut server) = bench.connect("");
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 300_000]).unwrap();
    let reader = thread::spawn(move || server.read_exact(&mut vec![0; 300_000]).unwrap());
    let mut offset = 0;
    while offset < 300_000 {
        sendfile(&client, &file, Some(&mut offset), 300_000).unwrap();
    }
    reader.join().unwrap();
    let graph = assert_whole(&mut bench);
    assert_eq!(graph.rows().iter().map(|row| row.bytes).sum::<u64>(), 300_000);
}

#[test]
fn nothing_is_loaded_while_nobody_asks() {
    let Some(mut bench) = stacks(StackSpec::default()) else { return };
    let loaded = |bench: &Bench| {
        let stats = bench.engine.tracer.as_ref().unwrap().program_stats();
        (bench.engine.stacks.is_some(), stats.iter().any(|(name, ..)| name == "tt_claim"))
    };
    assert_eq!(loaded(&bench), (true, true));
    bench.start("b", Filter::default());
    bench.engine.stop(&"a".to_owned());
    assert!(!loaded(&bench).0);
    assert!(bench.engine.records_readable().is_none());
    assert!(bench.engine.graph(&"b".to_owned(), &mut place_of).is_none());
    let spec = SessionSpec { stacks: Some(EVERY_CALL), ..bench.spec(Filter::default()) };
    bench.engine.update(&"b".to_owned(), spec).unwrap();
    assert!(loaded(&bench).0);
    assert!(bench.engine.records_readable().is_some());
    bench.update("b", Filter::default());
    assert!(!loaded(&bench).0);
    // If no session asks for stacks, not even the program for claims is loaded.
    bench.engine.stop(&"b".to_owned());
    bench.start("c", Filter::default());
    assert_eq!(loaded(&bench), (false, false));
}

#[test]
fn each_session_has_its_own() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    bench.start("without", Filter::default());
    start(&mut bench, "with", StackSpec { every_call: false, kernel: true });
    let other = TestCgroup::new(&bench.root);
    let spec = SessionSpec { stacks: Some(EVERY_CALL), ..bench.spec_of(&other, Filter::default()) };
    bench.engine.start(&"elsewhere".to_owned(), spec).unwrap();
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 1000);
    let all = sums(&graph(&mut bench, "a"), true);
    assert_eq!(all, [((std::process::id(), Way::Sent), (1000, 1))].into());
    assert!(bench.engine.graph(&"without".to_owned(), &mut place_of).is_none());
    assert!(graph(&mut bench, "elsewhere").rows().is_empty());
    let with = graph(&mut bench, "with");
    assert_eq!(sums(&with, true), all);
    // Only one of the sessions asked for the kernel stack.
    let depth = |graph: &Graph| graph.rows()[0].key.frames.len();
    assert!(depth(&with) > depth(&graph(&mut bench, "a")), "{with:?}");
}

#[test]
fn a_session_that_asks_later_has_what_comes_then() {
    let Some(mut bench) = stacks(StackSpec::default()) else { return };
    bench.start("b", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 1000);
    let spec = SessionSpec { stacks: Some(EVERY_CALL), ..bench.spec(Filter::default()) };
    bench.engine.update(&"b".to_owned(), spec).unwrap();
    transfer(&mut client, &mut server, 70);
    let expected = [((std::process::id(), Way::Sent), (70, 1))].into();
    let late = graph(&mut bench, "b");
    assert_eq!((sums(&late, true), sums(&late, false)), (expected, Sums::new()));
}
