//! Tests of the engine on this machine's kernel: sessions begin, change and end in the middle of a transfer.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Mutex, MutexGuard},
};

use super::*;
use crate::{
    cgroups::CgroupRoot,
    flows::{Direction, DirectionFilter, Filter, GroupBy, Protocol, Row},
    kernel::HookTier,
    testing::{TestCgroup, skip, writable_cgroups},
};

/// Only one test at a time may move this process between cgroups.
static ALONE: Mutex<()> = Mutex::new(());

struct Bench {
    engine: Engine,
    root: CgroupRoot,
    cgroup: TestCgroup,
    _alone: MutexGuard<'static, ()>,
}

/// The hook tier of the tests: the best that works, or the one that the environment names.
fn hook_tier() -> TierChoice {
    std::env::var("TT_TEST_HOOK_TIER").map_or(TierChoice::Auto, |tier| tier.parse().unwrap())
}

/// Makes an engine and a cgroup. Returns `None`, which skips the test, if the programs cannot be loaded here.
fn bench() -> Option<Bench> {
    let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let root = writable_cgroups()?;
    match Tracer::load(1, root.path(), hook_tier()) {
        Ok(_) => {}
        Err(
            error @ (KernelError::Permission { .. } | KernelError::NoBtf { .. } | KernelError::NoTier { .. }),
        ) => {
            return skip(&error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
    let cgroup = TestCgroup::new(&root);
    let engine =
        Engine::new(EngineOptions { slots: 1, cgroup_root: root.path().to_owned(), hook_tier: hook_tier() });
    Some(Bench { engine, root, cgroup, _alone: alone })
}

impl Bench {
    fn spec(&self, filter: Filter) -> SessionSpec {
        self.spec_of(&self.cgroup, filter)
    }

    fn spec_of(&self, cgroup: &TestCgroup, filter: Filter) -> SessionSpec {
        let id = self.root.id_of(cgroup.path()).unwrap();
        let selected = SelectedCgroup { kind: CgroupKind::Container, path: cgroup.path().to_owned() };
        SessionSpec {
            filter,
            group_by: GroupBy::Connection,
            cgroups: [(id, selected)].into(),
            max_rows: 1000,
            ..SessionSpec::default()
        }
    }

    fn start(&mut self, id: &str, filter: Filter) {
        let spec = self.spec(filter);
        self.engine.start(&id.to_owned(), spec).unwrap();
    }

    fn update(&mut self, id: &str, filter: Filter) {
        let spec = self.spec(filter);
        self.engine.update(&id.to_owned(), spec).unwrap();
    }

    fn totals(&mut self, id: &str) -> Totals {
        self.engine.drain_fully();
        let snapshot = self.engine.snapshot(&id.to_owned(), usize::MAX).unwrap();
        let sum = snapshot.rows.iter().map(|row| row.totals.bytes()).sum::<u64>();
        assert_eq!(sum, snapshot.totals.bytes(), "the rows must add up to the totals");
        snapshot.totals
    }

    /// Number of slots of the flow table, and number of slots that were used when the last drain began.
    fn slot_use(&self) -> (usize, usize) {
        self.engine.tracer.as_ref().unwrap().slot_use()
    }

    /// Drains until at most `slots` slots are in use, or some seconds have passed. The caller asserts the result.
    fn drain_to(&mut self, slots: usize) {
        wait_until(|| {
            self.engine.drain();
            self.slot_use().1 <= slots
        });
    }

    /// Opens a connection whose client end belongs to the test's cgroup, or to the folder `below` it, and whose server
    /// end does not.
    fn connect(&self, below: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = self.inside(below, || TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        (client, listener.accept().unwrap().0)
    }

    /// Runs `action` while this process is in the test's cgroup, or in the folder `below` it. Sockets stay with the
    /// cgroup in which they were made.
    fn inside<T>(&self, below: &str, action: impl FnOnce() -> T) -> T {
        let home = self.root.of_pid(std::process::id()).unwrap();
        let enter = |cgroup: &Path| {
            fs::write(self.root.path().join(cgroup).join("cgroup.procs"), std::process::id().to_string())
                .unwrap();
        };
        enter(&self.cgroup.path().join(below));
        let result = action();
        enter(&home);
        result
    }
}

/// Sends from one end to the other and waits until everything has arrived.
fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    from.write_all(&vec![7; bytes]).unwrap();
    to.read_exact(&mut vec![0; bytes]).unwrap();
}

/// Waits until a condition holds, or some seconds have passed. The caller asserts the result.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() && begin.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a listener, and the one connection that fills its queue. The kernel drops further connection requests, which
/// are repeated after a second.
fn full_listener() -> (TcpListener, TcpStream) {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listen(&listener, 0).unwrap();
    let listener = TcpListener::from(listener);
    let fills_it = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, fills_it)
}

fn ports(port: u16) -> Filter {
    Filter { ports: vec![port..=port], ..Filter::default() }
}

#[test]
fn a_changed_filter_takes_effect_on_open_sockets() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    let port = server.local_addr().unwrap().port();
    transfer(&mut client, &mut server, 1000);
    bench.update("a", ports(1));
    transfer(&mut client, &mut server, 500);
    assert_eq!(bench.totals("a").tx_bytes, 1000);
    bench.update("a", ports(port));
    transfer(&mut client, &mut server, 30);
    let a = bench.totals("a");
    assert_eq!((a.tx_bytes, a.tx_calls), (1030, 2));
}

#[test]
fn filters_choose_by_port_peer_direction_and_protocol() {
    let Some(mut bench) = bench() else { return };
    let (mut client, mut server) = bench.connect("");
    let port = server.local_addr().unwrap().port();
    let cidr = |text: &str| Filter { remote_cidrs: vec![text.parse().unwrap()], ..Filter::default() };
    let direction = |direction| Filter { direction, ..Filter::default() };
    let protocol = |protocol| Filter { protocols: vec![protocol], ..Filter::default() };
    let cases = [
        (ports(port), true),
        (ports(client.local_addr().unwrap().port()), true),
        (Filter { ports: vec![1..=2, port - 1..=port + 1], ..Filter::default() }, true),
        (ports(port.wrapping_add(1)), client.local_addr().unwrap().port() == port + 1),
        (cidr("127.0.0.0/8"), true),
        (cidr("10.0.0.0/8"), false),
        (cidr("::1/128"), false),
        (cidr("::/0"), true),
        (direction(DirectionFilter::Outbound), true),
        (direction(DirectionFilter::Inbound), false),
        (protocol(Protocol::Tcp), true),
        (protocol(Protocol::Udp), false),
    ];
    for (number, (filter, _)) in cases.iter().enumerate() {
        bench.start(&number.to_string(), filter.clone());
    }
    transfer(&mut client, &mut server, 100);
    for (number, (filter, wanted)) in cases.iter().enumerate() {
        let expected = if *wanted { 100 } else { 0 };
        assert_eq!(bench.totals(&number.to_string()).tx_bytes, expected, "{filter:?}");
    }
}

#[test]
fn connections_older_than_the_trace_know_who_opened_them() {
    let Some(mut bench) = bench() else { return };
    let (mut client, mut server) = bench.connect("");
    // A server inside the cgroup, with a client outside.
    let listener = bench.inside("", || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    bench.start("a", Filter::default());
    transfer(&mut client, &mut server, 10);
    transfer(&mut peer, &mut accepted, 20);
    let rows = bench.engine.snapshot(&"a".to_owned(), 9).unwrap().rows;
    let directions: Vec<_> = rows.iter().map(|row| (row.key.direction, row.totals.bytes())).collect();
    assert_eq!(directions, [(Direction::Inbound, 20), (Direction::Outbound, 10)]);
}

#[test]
fn below_a_pod_the_container_is_named_after_it_is_gone() {
    let Some(mut bench) = bench() else { return };
    let container = bench.cgroup.make("cri-containerd-1234.scope");
    let nested = bench.cgroup.make("cri-containerd-1234.scope/init");
    let id = bench.root.id_of(&container).unwrap();
    let mut spec = bench.spec(Filter::default());
    spec.cgroups.values_mut().for_each(|cgroup| cgroup.kind = CgroupKind::Pod);
    bench.engine.start(&"a".to_owned(), spec).unwrap();
    let (mut client, mut server) = bench.connect("cri-containerd-1234.scope/init");
    transfer(&mut client, &mut server, 10);
    drop((client, server));
    for folder in [nested, container] {
        fs::remove_dir(bench.root.path().join(folder)).unwrap();
    }
    let snapshot = bench.engine.snapshot(&"a".to_owned(), 9).unwrap();
    assert_eq!(snapshot.rows[0].key.cgroup, id);
    assert_eq!(bench.engine.container_folder(id).as_deref(), Some("cri-containerd-1234.scope"));
}

#[test]
fn an_address_of_both_families_is_one_peer() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter { remote_cidrs: vec!["127.0.0.1/32".parse().unwrap()], ..Filter::default() });
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
    let mut client = bench.inside("", || TcpStream::connect(mapped).unwrap());
    let mut server = listener.accept().unwrap().0;
    transfer(&mut client, &mut server, 10);
    let rows = bench.engine.snapshot(&"a".to_owned(), 9).unwrap().rows;
    assert_eq!(rows[0].key.remote_address, Some(Ipv4Addr::LOCALHOST.into()));
}

mod changes;
mod connections;
mod datagrams;
mod endings;
mod hooks;
mod http;
mod http_random;
mod icmp;
mod limits;
mod older;
mod sessions;
mod shared;
mod stacks;
mod stacks_taken;
mod streams;
mod twins;
