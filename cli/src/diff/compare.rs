//! Two traces, number by number.

use std::collections::BTreeMap;

use jiff::Timestamp;
use traffictrace_crd::{TrafficTrace, flow::Direction, human::printable};
use traffictrace_view::{
    Snapshot,
    endpoints::errors_of_all,
    rows::{Choice, Row as Shown, Sums, View, rows},
    snapshot::State,
};

use crate::snapshot;

/// Stands for processes that are not known.
const UNATTRIBUTED: &str = "(unattributed)";
/// Stands for the flows that a trace does not list.
pub(super) const UNLISTED: &str = "(not listed)";

/// A trace.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) snapshot: Snapshot,
    /// Seconds that its numbers are of.
    pub(super) seconds: Option<u64>,
}

/// Two traces.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) a: Side,
    pub(super) b: Side,
    pub(super) view: View,
    pub(super) totals: Vec<(Measure, Pair)>,
    /// The rows, those with the largest difference first, and what the traces do not list. They add up to the totals.
    pub(super) rows: Vec<Row>,
}

/// A number that traces have in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Received,
    Sent,
    Connections,
    Failures,
    Retransmits,
    Requests,
    Errors,
}

/// A number of each trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) a: u64,
    pub(super) b: u64,
}

/// A row of both traces, or of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The process, pod, peer or endpoint.
    pub(super) name: String,
    /// The container of a process, or the namespace of a pod.
    pub(super) detail: Option<String>,
    pub(super) change: Change,
    pub(super) a: Sums,
    pub(super) b: Sums,
}

/// The change from the first trace to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The same numbers.
    Same,
    /// Other numbers.
    Changed,
    /// Nothing of it is in the first trace.
    New,
    /// Nothing of it is in the second trace.
    Gone,
    /// The first trace does not list it, but may have some.
    UnlistedInA,
    /// The second trace does not list it, but may have some.
    UnlistedInB,
}

impl Side {
    pub(super) fn new(trace: &TrafficTrace) -> Self {
        let snapshot = snapshot::of(trace);
        let end = match snapshot.state {
            State::Completed => snapshot.end_time.unwrap_or(snapshot.time),
            _ => snapshot.time,
        };
        let seconds = snapshot.start_time.and_then(|start| seconds(start, end));
        Self { snapshot, seconds }
    }

    /// A number of this trace for each of its seconds.
    pub(super) fn per_second(&self, number: u64) -> Option<f64> {
        self.seconds.map(|seconds| number as f64 / seconds as f64)
    }
}

fn seconds(start: Timestamp, end: Timestamp) -> Option<u64> {
    u64::try_from(end.duration_since(start).as_secs()).ok().filter(|seconds| *seconds > 0)
}

impl Measure {
    const ALL: [Self; 7] = [
        Self::Received,
        Self::Sent,
        Self::Connections,
        Self::Failures,
        Self::Retransmits,
        Self::Requests,
        Self::Errors,
    ];

    /// Its name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Received => "rxBytes",
            Self::Sent => "txBytes",
            Self::Connections => "connections",
            Self::Failures => "connectFailures",
            Self::Retransmits => "retransmits",
            Self::Requests => "httpRequests",
            Self::Errors => "httpErrors",
        }
    }

    /// Its name for people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Connections => "connections",
            Self::Failures => "failed to connect",
            Self::Retransmits => "segments sent again",
            Self::Requests => "HTTP requests",
            Self::Errors => "HTTP errors",
        }
    }

    pub(super) fn is_of_bytes(self) -> bool {
        matches!(self, Self::Received | Self::Sent)
    }

    /// The number of a trace; nothing where the trace does not count that.
    fn of(self, snapshot: &Snapshot) -> Option<u64> {
        let totals = &snapshot.totals;
        Some(match self {
            Self::Received => totals.rx_bytes,
            Self::Sent => totals.tx_bytes,
            Self::Connections => totals.connections,
            Self::Failures => totals.connect_failures,
            Self::Retransmits => totals.retransmits,
            Self::Requests => snapshot.http.as_ref()?.requests,
            Self::Errors => errors_of_all(snapshot.http.as_ref()?),
        })
    }
}

impl Pair {
    /// The second number less the first one.
    pub(super) fn difference(self) -> i128 {
        i128::from(self.b) - i128::from(self.a)
    }

    /// The second number by the first one.
    pub(super) fn ratio(self) -> Option<f64> {
        (self.a > 0).then(|| self.b as f64 / self.a as f64)
    }
}

impl Row {
    /// Bytes in both directions.
    pub(super) fn bytes(&self) -> Pair {
        Pair { a: self.a.bytes(), b: self.b.bytes() }
    }
}

impl Comparison {
    pub(super) fn new(a: Side, b: Side, view: View) -> Self {
        let both = |measure: Measure| {
            let pair = Pair { a: measure.of(&a.snapshot)?, b: measure.of(&b.snapshot)? };
            Some((measure, pair))
        };
        let totals = Measure::ALL.into_iter().filter_map(both).collect();
        let rows = compared(&a.snapshot, &b.snapshot, view);
        Self { a, b, view, totals, rows }
    }

    /// Says that all numbers are the same.
    pub(super) fn is_equal(&self) -> bool {
        self.totals.iter().all(|(_, pair)| pair.a == pair.b)
            && self.rows.iter().all(|row| row.change == Change::Same)
    }

    /// Says that the traces lasted for times that differ by more than one part in fifty.
    pub(super) fn lasted_differently(&self) -> bool {
        let (Some(a), Some(b)) = (self.a.seconds, self.b.seconds) else { return false };
        a.abs_diff(b) > a.max(b) / 50
    }
}

/// The name of a row, and what tells it from others of that name.
type Name = (String, Option<String>);

fn compared(a: &Snapshot, b: &Snapshot, view: View) -> Vec<Row> {
    let mut both: BTreeMap<Name, [Option<Sums>; 2]> = BTreeMap::new();
    let mut unlisted = [Sums::default(); 2];
    for (side, snapshot) in [a, b].into_iter().enumerate() {
        // Each end has its own bytes, as in the totals.
        let choice = Choice { view, both_ends: true, ..Choice::default() };
        let shown = rows(snapshot, &choice);
        for row in &shown.rows {
            let sums = both.entry(name(row, view)).or_default();
            sums[side].get_or_insert_default().add(&row.sums);
        }
        unlisted[side] = shown.unlisted;
    }
    let mut compared: Vec<Row> = both
        .into_iter()
        .map(|((name, detail), sums)| Row {
            name,
            detail,
            change: change(sums, unlisted),
            a: sums[0].unwrap_or_default(),
            b: sums[1].unwrap_or_default(),
        })
        .collect();
    compared.sort_by_key(|row| std::cmp::Reverse(row.bytes().difference().unsigned_abs()));
    let [a, b] = unlisted;
    if [a, b] != [Sums::default(); 2] {
        let is_same = still(&a) == still(&b);
        let change = if is_same { Change::Same } else { Change::Changed };
        compared.push(Row { name: UNLISTED.to_owned(), detail: None, change, a, b });
    }
    compared
}

/// Sums without what is of a moment alone.
fn still(sums: &Sums) -> Sums {
    Sums { rx_rate: 0, tx_rate: 0, connections_open: 0, ..*sums }
}

fn change([a, b]: [Option<Sums>; 2], [unlisted_a, unlisted_b]: [Sums; 2]) -> Change {
    match (a, b) {
        (Some(a), Some(b)) if still(&a) == still(&b) => Change::Same,
        (Some(_), Some(_)) => Change::Changed,
        (None, _) if unlisted_a.flows > 0 => Change::UnlistedInA,
        (None, _) => Change::New,
        (_, None) if unlisted_b.flows > 0 => Change::UnlistedInB,
        (_, None) => Change::Gone,
    }
}

/// The parts of a row's name that two traces can share: no process ids, and names of pods only where rows are pods.
fn name(row: &Shown, view: View) -> Name {
    let text = |text: &Option<String>| {
        text.as_deref().filter(|text| !text.is_empty()).map(|text| printable(text).into_owned())
    };
    let owner = &row.owner;
    let process = || text(&owner.command).unwrap_or_else(|| UNATTRIBUTED.to_owned());
    let peer = || text(&row.peer).unwrap_or_else(|| "-".to_owned());
    match view {
        View::Pod => (text(&owner.pod).unwrap_or_else(|| "-".to_owned()), text(&owner.namespace)),
        View::Peer => (peer(), None),
        View::Endpoint | View::Connection => {
            let way = match row.direction {
                Some(Direction::Inbound) => "serves",
                Some(Direction::Outbound) => "uses",
                Some(Direction::Unknown) | None => "with",
            };
            (format!("{} {way} {}", process(), peer()), text(&owner.container))
        }
        View::Process => (process(), text(&owner.container)),
    }
}
