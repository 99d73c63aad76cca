//! The client: opens connections and moves the planned amounts over them.

use std::{
    net::{SocketAddr, TcpStream},
    ops::RangeInclusive,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    WorkloadError,
    count::{Event, Ledger, Output, Role},
    exchange::{Connection, End, Round},
    gate::{Gate, Trigger},
    pace::Pace,
    stop::Stop,
};

/// Extra time for a steady load to move all bytes of its plan, if the network stood still meanwhile.
pub(super) const LATE: Duration = Duration::from_secs(60);
/// Number of slices of a second that a steady load is divided into.
const SLICES: u32 = 20;

/// The plan of a client, complete before it starts.
#[derive(Debug)]
pub(super) struct ClientPlan {
    pub(super) targets: Vec<SocketAddr>,
    pub(super) wait: Duration,
    pub(super) concurrency: usize,
    pub(super) rate: Option<u64>,
    pub(super) pause: Option<Trigger>,
    pub(super) work: Work,
}

/// The rounds of each connection, in the order in which the connections are opened.
#[derive(Debug)]
pub(super) struct Work(Vec<Vec<Round>>);

impl Work {
    /// Plans random amounts; those of each connection are split into `rounds` rounds of random size.
    pub(super) fn random(seed: u64, connections: usize, bytes: RangeInclusive<u64>, rounds: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let connection = |_| {
            let (send, want) = (random.u64(bytes.clone()), random.u64(bytes.clone()));
            let (sends, wants) = (split(send, rounds, &mut random), split(want, rounds, &mut random));
            sends.into_iter().zip(wants).map(|(send, want)| Round { send, want }).collect()
        };
        Self((0..connections).map(connection).collect())
    }

    /// Plans equal small rounds, as many as fill `time_limit` at this rate.
    pub(super) fn steady(rate: u64, reply: u64, connections: usize, time_limit: Duration) -> Self {
        let parts = (connections as u64).saturating_mul(SLICES.into());
        let round = Round { send: rate.div_ceil(parts), want: reply.div_ceil(parts) };
        let rounds = usize::try_from(time_limit.as_secs().saturating_mul(SLICES.into()));
        Self(vec![vec![round; rounds.unwrap_or(usize::MAX)]; connections])
    }
}

/// Splits `bytes` into `parts` random pieces, some of which may be 0.
fn split(bytes: u64, parts: u64, random: &mut fastrand::Rng) -> Vec<u64> {
    let mut left = bytes;
    (1..=parts)
        .map(|part| {
            let piece = if part == parts { left } else { random.u64(0..=left) };
            left -= piece;
            piece
        })
        .collect()
}

/// Runs the plan; returns true if everything was moved.
pub(super) fn run(plan: &ClientPlan, stop: &Stop, output: &Output) -> Result<bool, WorkloadError> {
    let ledger = Ledger::default();
    let gate = plan.pause.as_ref().map(|trigger| Gate::new(trigger.clone(), plan.concurrency));
    let pool = Pool {
        plan,
        stop,
        ledger: &ledger,
        gate: gate.as_ref(),
        next: Mutex::new(plan.work.0.iter().enumerate()),
        cut_short: AtomicBool::new(false),
        connect_until: Instant::now() + plan.wait.min(stop.remaining()),
    };
    thread::scope(|scope| {
        for _ in 0..plan.concurrency {
            // A trace must show the name of the process. These threads have another name, so that the tests notice if
            // it shows the name of a thread.
            let spawned =
                thread::Builder::new().name("tt-ask".to_owned()).spawn_scoped(scope, || pool.work());
            spawned.map_err(|source| WorkloadError::system("start a thread", source))?;
        }
        match &gate {
            Some(gate) => gate.hold(stop, || output.print(&ledger, Event::Paused, Role::Client, &[])),
            None => Ok(()),
        }
    })?;
    output.print(&ledger, Event::Done, Role::Client, &[])?;
    Ok(ledger.failures() == 0 && !pool.cut_short.load(Ordering::Relaxed))
}

struct Pool<'a> {
    plan: &'a ClientPlan,
    stop: &'a Stop,
    ledger: &'a Ledger,
    gate: Option<&'a Gate>,
    next: Mutex<std::iter::Enumerate<std::slice::Iter<'a, Vec<Round>>>>,
    cut_short: AtomicBool,
    connect_until: Instant,
}

impl Pool<'_> {
    /// Runs one worker thread: one connection after the other.
    fn work(&self) {
        let mut gate = self.gate;
        let mut pace = Pace::new(self.plan.rate, self.plan.concurrency);
        loop {
            let job = self.next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, rounds)) = job else { break };
            let target = self.plan.targets[number % self.plan.targets.len()];
            match self.connect(target).and_then(|connection| {
                let gate = gate.take();
                self.exchange(connection, rounds, gate, &mut pace)
            }) {
                Ok(()) => {}
                Err(End::Stopped) => {
                    self.cut_short.store(true, Ordering::Relaxed);
                    break;
                }
                Err(End::Closed) => self.ledger.failed(|| format!("{target} closed the connection")),
                Err(End::Broken(error)) => self.ledger.failed(|| format!("{target}: {error}")),
            }
        }
        // A thread that gets no connection must not keep the others waiting at the gate.
        if let Some(gate) = gate {
            gate.leave();
        }
    }

    fn connect(&self, target: SocketAddr) -> Result<Connection<'_>, End> {
        loop {
            if self.stop.is_set() {
                return Err(End::Stopped);
            }
            match TcpStream::connect_timeout(&target, Duration::from_secs(2)) {
                Ok(stream) => return Ok(Connection::new(stream, self.ledger, self.stop)?),
                Err(error) if Instant::now() >= self.connect_until => return Err(End::Broken(error)),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn exchange(
        &self,
        mut connection: Connection<'_>,
        rounds: &[Round],
        gate: Option<&Gate>,
        pace: &mut Pace,
    ) -> Result<(), End> {
        let middle = rounds.len() / 2;
        let mut gate = gate;
        for (number, round) in rounds.iter().enumerate() {
            if number >= middle
                && let Some(gate) = gate.take()
            {
                gate.pass(self.stop);
            }
            if !pace.wait(round.total(), self.stop) {
                return Err(End::Stopped);
            }
            connection.ask(*round)?;
        }
        connection.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Work, split};
    use std::time::Duration;

    #[test]
    fn pieces_add_up() {
        let mut random = fastrand::Rng::with_seed(7);
        for bytes in [0, 1, 2, 1000, u64::MAX] {
            let pieces = split(bytes, 5, &mut random);
            assert_eq!(pieces.len(), 5);
            assert_eq!(pieces.iter().sum::<u64>(), bytes);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_work() {
        let work = |seed| Work::random(seed, 10, 1..=1000, 3).0;
        assert_eq!(work(1), work(1));
        assert_ne!(work(1), work(2));
    }

    #[test]
    fn steady_load_adds_up_to_its_rate() {
        let work = Work::steady(2 << 20, 1 << 20, 4, Duration::from_secs(10)).0;
        let sent: u64 = work.iter().flatten().map(|round| round.send).sum();
        let asked: u64 = work.iter().flatten().map(|round| round.want).sum();
        assert_eq!(work.len(), 4);
        assert!((20 << 20..21 << 20).contains(&sent), "{sent}");
        assert!((10 << 20..11 << 20).contains(&asked), "{asked}");
    }
}
