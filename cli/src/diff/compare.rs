//! Comparison of two traces, number by number.

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

/// Name of the row of processes that are not known.
const UNATTRIBUTED: &str = "(unattributed)";
/// Name of the row of flows that a trace does not list.
pub(super) const UNLISTED: &str = "(not listed)";

/// One of the two traces.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) snapshot: Snapshot,
    /// Seconds that the trace has counted; `None` if not known.
    pub(super) seconds: Option<u64>,
}

/// The comparison of two traces.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) a: Side,
    pub(super) b: Side,
    pub(super) view: View,
    pub(super) totals: Vec<(Measure, Pair)>,
    /// The rows, in descending order of their difference, and the flows that the traces do not list. They add up to
    /// the totals.
    pub(super) rows: Vec<Row>,
}

/// A number that is compared in the totals.
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

/// The values of a number in both traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) a: u64,
    pub(super) b: u64,
}

/// A row that is in both traces, or in one.
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
    /// The row is not in the first trace.
    New,
    /// The row is not in the second trace.
    Gone,
    /// The first trace does not list the row, but may have counted it.
    UnlistedInA,
    /// The second trace does not list the row, but may have counted it.
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

    /// Divides a number of this trace by the trace's seconds; `None` if these are not known.
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

    /// Name in JSON.
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

    /// Name for people.
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

    /// Returns the number of a trace; `None` if the trace does not count it.
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
    /// Second value minus first value.
    pub(super) fn difference(self) -> i128 {
        i128::from(self.b) - i128::from(self.a)
    }

    /// Second value divided by first value; `None` if the first is 0.
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

    /// Returns true if all numbers are the same.
    pub(super) fn is_equal(&self) -> bool {
        self.totals.iter().all(|(_, pair)| pair.a == pair.b)
            && self.rows.iter().all(|row| row.change == Change::Same)
    }

    /// Returns true if the lengths of the traces differ by more than 2 %.
    pub(super) fn lasted_differently(&self) -> bool {
        let (Some(a), Some(b)) = (self.a.seconds, self.b.seconds) else { return false };
        a.abs_diff(b) > a.max(b) / 50
    }
}

/// Name of a row, and a detail that distinguishes it from others with that name.
type Name = (String, Option<String>);

fn compared(a: &Snapshot, b: &Snapshot, view: View) -> Vec<Row> {
    let mut both: BTreeMap<Name, [Option<Sums>; 2]> = BTreeMap::new();
    let mut unlisted = [Sums::default(); 2];
    for (side, snapshot) in [a, b].into_iter().enumerate() {
        // The two ends of a connection are separate rows, since the totals count both.
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

/// Returns sums without rates and open connections, which hold at one moment only.
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

/// Returns the parts of a row's name that two traces can share: no process ids, and names of pods only if rows are
/// pods.
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
