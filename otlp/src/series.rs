//! The series of one trace: the bytes sent in each of them, which never fall.

use std::collections::HashMap;
use std::hash::Hash;

use traffictrace_crd::Protocol;

use crate::snapshot::{Io, Row, Snapshot};

/// Limits of the number of series. A series is a metric with its attributes, so the two directions are two series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of series over all traces. A trace for which no room is left is not exported ([`crate::Book::update`]
    /// returns false).
    pub all: usize,
    /// Maximum number of series of one trace.
    pub trace: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: 20_000, trace: 1000 }
    }
}

/// Key of the series of `k8s.pod.network.io`, without the direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
}

/// Key of the series of `process.network.io`, without the direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) command: String,
}

/// The series of a trace.
#[derive(Debug)]
pub(crate) struct TraceSeries {
    rows: HashMap<u64, KnownRow>,
    /// Number of snapshots applied so far.
    round: u64,
    pub(crate) pods: Group<Pod>,
    pub(crate) processes: Option<Group<Process>>,
}

/// A row of the status that is, or was, listed.
#[derive(Debug)]
struct KnownRow {
    pod: Option<usize>,
    process: Option<usize>,
    /// Largest numbers of bytes that any status had for the row.
    bytes: Io,
    /// Round in which the row was last listed.
    listed: u64,
}

/// The series of one metric of a trace.
#[derive(Debug)]
pub(crate) struct Group<K> {
    places: HashMap<K, usize>,
    /// The series and their bytes sent so far, in the order of their first appearance.
    series: Vec<(K, Io)>,
    /// Bytes of the overflow series.
    pub(crate) other: Io,
}

impl<K: Clone + Eq + Hash> Group<K> {
    fn new() -> Self {
        Self { places: HashMap::new(), series: Vec::new(), other: [0, 0] }
    }

    /// Number of series: two for each key, and two overflow series.
    pub(crate) fn len(&self) -> usize {
        2 * (self.series.len() + 1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, Io)> {
        self.series.iter()
    }

    /// Bytes sent so far, over all series.
    fn told(&self) -> Io {
        let all = self.series.iter().map(|(_, told)| told).chain([&self.other]);
        all.fold([0, 0], |sum, told| [sum[0].saturating_add(told[0]), sum[1].saturating_add(told[1])])
    }

    /// Returns the index of a key's series. Adds a new key if there is room for two more series; otherwise `None`.
    fn place(&mut self, key: K, room: &mut usize) -> Option<usize> {
        if let Some(place) = self.places.get(&key) {
            return Some(*place);
        }
        *room = room.checked_sub(2)?;
        let place = self.series.len();
        self.places.insert(key.clone(), place);
        self.series.push((key, [0, 0]));
        Some(place)
    }

    /// Raises each series towards its known bytes, as far as the totals allow this without lowering another series.
    ///
    /// The bytes of a flow that enters the list late were sent in the overflow series before. The overflow series cannot
    /// fall, so the flow's series gets its bytes from the next growth of the totals.
    fn settle(&mut self, known: &[Io], totals: Io) {
        for direction in 0..2 {
            let mut free = totals[direction].saturating_sub(self.told()[direction]).max(0);
            for ((_, told), known) in self.series.iter_mut().zip(known) {
                let more = (known[direction] - told[direction]).clamp(0, free);
                told[direction] += more;
                free -= more;
            }
            self.other[direction] += free;
        }
    }
}

impl TraceSeries {
    pub(crate) fn new(processes: bool) -> Self {
        Self { rows: HashMap::new(), round: 0, pods: Group::new(), processes: processes.then(Group::new) }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.pods.len() + self.processes.as_ref().map_or(0, Group::len)
    }

    /// Applies newer numbers, adding at most `room` series. Returns true if any value has changed.
    pub(crate) fn apply(&mut self, snapshot: &Snapshot, mut room: usize) -> bool {
        let before = (self.len(), self.pods.told());
        self.round += 1;
        for row in &snapshot.rows {
            self.apply_row(row, &mut room);
        }
        self.forget_rows(4 * snapshot.top_flows.max(snapshot.rows.len()));
        self.pods.settle(&known(&self.rows, self.pods.series.len(), |row| row.pod), snapshot.totals);
        if let Some(processes) = &mut self.processes {
            let known = known(&self.rows, processes.series.len(), |row| row.process);
            processes.settle(&known, snapshot.totals);
        }
        before != (self.len(), self.pods.told())
    }

    fn apply_row(&mut self, row: &Row, room: &mut usize) {
        let pod = Pod { name: row.pod.clone(), protocol: row.protocol };
        let process =
            Process { pod: row.pod.clone(), container: row.container.clone(), command: row.command.clone() };
        let pod = self.pods.place(pod, room);
        let process = self.processes.as_mut().and_then(|processes| processes.place(process, room));
        let round = self.round;
        let known =
            self.rows.entry(row.id).or_insert(KnownRow { pod, process, bytes: [0, 0], listed: round });
        for (most, now) in known.bytes.iter_mut().zip(row.bytes) {
            *most = now.max(*most);
        }
        (known.pod, known.process, known.listed) = (pod, process, round);
    }

    /// Removes the rows that were not listed for the longest time. The bytes sent in their series stay.
    fn forget_rows(&mut self, keep: usize) {
        if self.rows.len() <= keep {
            return;
        }
        let mut rounds: Vec<u64> = self.rows.values().map(|row| row.listed).collect();
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = rounds.get(keep).copied().unwrap_or(0);
        self.rows.retain(|_, row| row.listed > oldest);
    }
}

/// Adds up the known bytes of each of `count` series.
fn known(rows: &HashMap<u64, KnownRow>, count: usize, place: impl Fn(&KnownRow) -> Option<usize>) -> Vec<Io> {
    let mut known = vec![[0, 0]; count];
    for row in rows.values() {
        if let Some(sum) = place(row).and_then(|place| known.get_mut(place)) {
            for (sum, bytes) in sum.iter_mut().zip(row.bytes) {
                *sum = i64::saturating_add(*sum, bytes);
            }
        }
    }
    known
}
