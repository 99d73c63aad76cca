//! A link between two network namespaces that loses, duplicates and reorders packets, in the same order for the same
//! seed. Many kernels are built without netem, and this link behaves alike on all of them.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{CpuSet, sched_getcpu, sched_setaffinity},
};

use crate::exactness::{
    error::{CaseError, Done},
    sys::{own_network, tun},
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 7, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 7, 2);

/// Time after which a delayed packet is delivered even if too few others have overtaken it.
const HELD: Duration = Duration::from_millis(3);
/// Interval at which delayed packets are checked.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Rates of a link's faults: a fault of rate n affects a random one in n packets; 0 affects none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loses: u32,
    pub(super) repeats: u32,
    /// The packet is overtaken by up to [`DISTANCE`] others.
    pub(super) delays: u32,
}

/// Maximum number of packets that overtake a delayed one.
const DISTANCE: u32 = 8;

/// Counts of the packets that a link carried, and of its faults.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) delayed: u64,
}

/// Runs a client and a server at the two ends of a link, each in a network namespace of its own. Threads that an end
/// starts share its namespace.
pub(super) fn between<C: Send, S: Send>(
    faults: Faults,
    seed: u64,
    client: impl FnOnce(SocketAddr) -> Done<C> + Send,
    server: impl FnOnce(TcpListener) -> Done<S> + Send,
) -> Done<(C, S, Passed)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (listening, listens) = channel();
        let (server_end, server_tun) = channel();
        let (client_end, client_tun) = channel();
        let server = scope.spawn(move || {
            let _ = server_end.send(enter(SERVER)?);
            let listener = TcpListener::bind((SERVER, 0))?;
            let _ = listening.send(listener.local_addr()?);
            server(listener)
        });
        let client = scope.spawn(move || {
            let _ = client_end.send(enter(CLIENT)?);
            client(receive(&listens)?)
        });
        let ends = receive(&server_tun).and_then(|server| Ok([receive(&client_tun)?, server]));
        let relay = ends.map(|ends| scope.spawn(|| Relay::new(ends, faults, seed).run(&stop)));
        let panicked = |_| CaseError::unexpected("an end of the link panicked");
        let (client, server) = (client.join().map_err(panicked), server.join().map_err(panicked));
        stop.store(true, Ordering::Release);
        let passed = relay.map(|relay| relay.join().map_err(panicked));
        match (client?, server?) {
            (Ok(client), Ok(server)) => Ok((client, server, passed???)),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(one), Err(other)) => Err(one.and(other)),
        }
    })
}

fn enter(address: Ipv4Addr) -> Done<File> {
    let unsupported = |error: io::Error| CaseError::unsupported(format!("no link of its own (TUN): {error}"));
    own_network().map_err(unsupported)?;
    tun::open(address).map_err(unsupported)
}

fn receive<T>(from: &Receiver<T>) -> Done<T> {
    from.recv().map_err(|_| CaseError::unexpected("the other end of the link has failed"))
}

/// A packet that is delayed until others have overtaken it.
struct Held {
    packet: Vec<u8>,
    overtaken: u32,
    since: Instant,
}

/// The relay that carries the packets of a link.
struct Relay {
    ends: [File; 2],
    held: [Vec<Held>; 2],
    faults: Faults,
    rng: Rng,
    passed: Passed,
}

impl Relay {
    fn new(ends: [File; 2], faults: Faults, seed: u64) -> Self {
        let (held, rng) = ([Vec::new(), Vec::new()], Rng::with_seed(seed));
        Self { ends, held, faults, rng, passed: Passed::default() }
    }

    /// Carries packets until both ends are done. The relay stays on one CPU, because every CPU has its own queue for
    /// arriving packets, and packets of two queues would overtake each other in addition to the requested faults.
    fn run(mut self, stop: &AtomicBool) -> Done<Passed> {
        let mut cpus = CpuSet::new();
        cpus.set(sched_getcpu());
        sched_setaffinity(None, &cpus)?;
        let mut packet = vec![0; 64 << 10];
        while !stop.load(Ordering::Acquire) {
            let readable = {
                let mut ends = self.ends.each_ref().map(|end| PollFd::new(end, PollFlags::IN));
                poll(&mut ends, Some(&TICK))?;
                ends.map(|end| end.revents().contains(PollFlags::IN))
            };
            for (from, readable) in readable.into_iter().enumerate() {
                if readable {
                    let length = self.ends[from].read(&mut packet)?;
                    self.carry(1 - from, &packet[..length])?;
                }
                self.release(1 - from)?;
            }
        }
        Ok(self.passed)
    }

    fn strikes(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.u32(..one_in) == 0
    }

    fn carry(&mut self, to: usize, packet: &[u8]) -> Done {
        self.passed.packets += 1;
        if self.strikes(self.faults.loses) {
            self.passed.lost += 1;
            return Ok(());
        }
        if self.strikes(self.faults.delays) {
            self.passed.delayed += 1;
            let overtaken = self.rng.u32(1..=DISTANCE);
            self.held[to].push(Held { packet: packet.to_vec(), overtaken, since: Instant::now() });
            return Ok(());
        }
        if self.strikes(self.faults.repeats) {
            self.passed.repeated += 1;
            self.ends[to].write_all(packet)?;
        }
        self.ends[to].write_all(packet)?;
        self.held[to].iter_mut().for_each(|held| held.overtaken = held.overtaken.saturating_sub(1));
        Ok(())
    }

    /// Delivers the packets that enough others have overtaken, or that have waited too long.
    fn release(&mut self, to: usize) -> Done {
        let due = |held: &mut Held| held.overtaken == 0 || held.since.elapsed() > HELD;
        for Held { packet, .. } in self.held[to].extract_if(.., due) {
            self.ends[to].write_all(&packet)?;
        }
        Ok(())
    }
}
