//! Combination of samples with the ledger's sums. Bytes whose own stack was not taken are spread over other stacks, so
//! that the rows of each process add up to the ledger's sums.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use traffictrace_ebpf::layout;
use traffictrace_profile::{About, Coverage, Graph, Known, Process, Row, RowKey, TooMuch, Way};

use super::{
    Owner, Profile,
    add::{FRACTION, SampleKey, Tally},
    shares::{split, take_from_largest},
};

/// Reason for bytes of calls that were not sampled, since the kernel programs limit the rate of samples
/// (`kernel/stacks.rs`), if no stack of the process shows where they belong.
const OVER_BUDGET: &str = "over the budget";
/// Reason for bytes that were moved without a call, if no thread is known to do so.
const WITHOUT_CALL: &str = "moved without a call";
/// Reason for bytes of calls whose samples the kernel programs could not deliver.
const LOST: &str = "lost";
/// Maximum number of bytes or calls of a graph in each direction. Both directions together then fit pprof's numbers.
const MOST: u64 = i64::MAX as u64 / 2;

/// The ledger's sums of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// The process.
    pub owner: Owner,
    /// Number of bytes sent, and of calls that sent.
    pub sent: (u64, u64),
    /// Number of bytes received, and of calls that received.
    pub received: (u64, u64),
}

impl Profile {
    /// Returns the finished profile, whose cgroups are not [named](Graph::name) yet. `sums` are the ledger's sums of each
    /// process. Samples of processes that the ledger does not know are left out.
    pub fn settle(&self, sums: &[Sums]) -> Graph {
        let mut samples: HashMap<(Owner, Way), Vec<(&SampleKey, &Tally)>> = HashMap::new();
        for (key, tally) in &self.rows {
            samples.entry((key.owner, key.way)).or_default().push((key, tally));
        }
        let mut coverage = Coverage { stacks: self.taken, lost: self.lost, ..Coverage::default() };
        let (mut rows, mut room) = (Vec::new(), [(MOST, MOST); 2]);
        for (owner, counted) in by_owner(sums) {
            let process = Arc::new(Process {
                cgroup: owner.cgroup,
                command: layout::text(&owner.command),
                pid: owner.pid,
                ..Process::default()
            });
            for ((way, counted), room) in [Way::Sent, Way::Received].into_iter().zip(counted).zip(&mut room) {
                let counted = (counted.0.min(room.0), counted.1.min(room.1));
                *room = (room.0 - counted.0, room.1 - counted.1);
                let mut samples = samples.remove(&(owner, way)).unwrap_or_default();
                samples.sort_by_cached_key(|(key, tally)| {
                    let thread = key.stack.as_ref().map(|(thread, _)| *thread);
                    (std::cmp::Reverse((tally.bytes, tally.hidden_bytes)), thread)
                });
                let tallies: Vec<Tally> = samples.iter().map(|(_, tally)| **tally).collect();
                let settled = Settled::new(&tallies, counted, self.lost);
                for (at, (key, _)) in samples.iter().enumerate() {
                    let row = settled.row(at, row_key(way, &process, key), &mut coverage);
                    rows.push(row);
                }
                let (reason, bytes, calls) = settled.rest;
                let known = Known::Missing(Cow::Borrowed(reason));
                if bytes > 0 {
                    coverage.count(&known, [bytes, 0, 0]);
                }
                let process = Arc::clone(&process);
                let key = RowKey { way, process, thread: "".into(), frames: Vec::new(), known };
                rows.push(Row { key, bytes, calls });
            }
        }
        // `room` has limited the sums, so they are not too large.
        Graph::new(About::default(), rows, coverage).unwrap_or_else(|TooMuch| Graph::default())
    }
}

/// Adds up the bytes and calls of each process, sent and received, in a fixed order.
fn by_owner(sums: &[Sums]) -> BTreeMap<Owner, [(u64, u64); 2]> {
    let mut owners: BTreeMap<Owner, [(u64, u64); 2]> = BTreeMap::new();
    for one in sums {
        let [sent, received] = owners.entry(one.owner).or_default();
        for (sum, more) in [(sent, one.sent), (received, one.received)] {
            *sum = (sum.0.saturating_add(more.0), sum.1.saturating_add(more.1));
        }
    }
    owners
}

fn row_key(way: Way, process: &Arc<Process>, key: &SampleKey) -> RowKey {
    let process = Arc::clone(process);
    match &key.stack {
        None => RowKey { way, process, thread: "".into(), frames: Vec::new(), known: Known::Folded },
        Some((thread, stack)) => RowKey {
            way,
            process,
            thread: layout::text(thread).into(),
            frames: stack.0.frames.iter().rev().map(Arc::clone).collect(),
            known: stack.0.extent.into(),
        },
    }
}

/// Bytes and calls of one process in one direction, assigned to its stacks.
#[derive(Debug)]
struct Settled {
    /// For each stack: bytes of its sampled calls, its share of the bytes of calls without a sample, and its share of
    /// the bytes that were moved without a call.
    bytes: [Vec<u64>; 3],
    /// For each stack: its sampled calls, and its share of the calls without a sample.
    calls: [Vec<u64>; 2],
    /// The remainder, which no stack explains: the reason, the bytes and the calls.
    rest: (&'static str, u64, u64),
}

impl Settled {
    fn new(stacks: &[Tally], (all_bytes, all_calls): (u64, u64), lost: u64) -> Self {
        let (own_bytes, more_bytes) = own(stacks.iter().map(|tally| tally.bytes), all_bytes);
        let (own_calls, more_calls) = own(stacks.iter().map(|tally| tally.calls), all_calls);
        let hidden: Vec<u128> = stacks.iter().map(|tally| tally.hidden_bytes).collect();
        let claims: Vec<u128> = stacks.iter().map(|tally| tally.claims.into()).collect();
        let expected = hidden.iter().fold(0_u128, |sum, weight| sum.saturating_add(*weight)) >> FRACTION;
        // Bytes of the calls without a sample: all that is left, unless threads move bytes without calls. Then they are
        // limited to the expected number, and those threads get the remainder.
        let hidden_bytes = match (claims.iter().any(|claims| *claims > 0), more_calls) {
            (false, _) => more_bytes,
            (true, 0) => 0,
            (true, _) => more_bytes.min(expected.try_into().unwrap_or(u64::MAX)),
        };
        let spread = split(hidden_bytes, &hidden);
        let claimed = split(more_bytes - spread.iter().sum::<u64>(), &claims);
        let calls: Vec<u128> = stacks.iter().map(|tally| tally.hidden_calls).collect();
        let spread_calls = split(more_calls, &calls);
        let rest_bytes = more_bytes - spread.iter().chain(&claimed).sum::<u64>();
        let rest_calls = more_calls - spread_calls.iter().sum::<u64>();
        let reason = match more_calls {
            0 => WITHOUT_CALL,
            some if some <= lost => LOST,
            _ => OVER_BUDGET,
        };
        Self {
            bytes: [own_bytes, spread, claimed],
            calls: [own_calls, spread_calls],
            rest: (reason, rest_bytes, rest_calls),
        }
    }

    /// Returns the row of a stack, and adds it to `coverage`.
    fn row(&self, at: usize, key: RowKey, coverage: &mut Coverage) -> Row {
        let parts = [self.bytes[0][at], self.bytes[1][at], self.bytes[2][at]];
        if parts != [0; 3] {
            coverage.count(&key.known, parts);
        }
        Row { key, bytes: parts.iter().sum(), calls: self.calls[0][at] + self.calls[1][at] }
    }
}

/// Limits the sum of `numbers` to `all`. Returns the numbers, and the difference between `all` and their sum.
fn own(numbers: impl Iterator<Item = u64>, all: u64) -> (Vec<u64>, u64) {
    let mut numbers: Vec<u64> = numbers.collect();
    let sum: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
    let mut excess = sum.saturating_sub(all.into());
    while excess > 0 {
        // More than one round is needed only if the excess is beyond 2^64.
        let taken = u64::try_from(excess).unwrap_or(u64::MAX);
        take_from_largest(taken, &mut numbers);
        excess -= u128::from(taken);
    }
    let left = all - numbers.iter().sum::<u64>();
    (numbers, left)
}

#[cfg(test)]
mod tests;
