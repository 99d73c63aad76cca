//! The exported traces, and the requests that carry their series.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::request;
use crate::series::{Limits, TraceSeries};
use crate::snapshot::Snapshot;

/// Maximum number of series in one request, unless one trace has more. That is about 1 MiB, of the 4 MiB that
/// receivers accept.
const SERIES_OF_REQUEST: usize = 4000;
/// Time for which a trace that is over is kept: the receiver may be away when the last values are sent, and late reports of
/// nodes may change them.
const KEPT: SignedDuration = SignedDuration::from_mins(15);

/// Identity of a trace. A trace that is deleted and created again with the same name has another UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId {
    /// Namespace of the trace.
    pub namespace: String,
    /// Name of the trace.
    pub name: String,
    /// UID of the trace.
    pub uid: String,
}

/// The series of all exported traces.
///
/// A status lists only its largest flows, and these change. If a sum falls, receivers take it for a counter that was reset,
/// and count twice. So each byte is sent in the series to which it belongs when it is first sent. A flow that leaves the list
/// keeps its series with the bytes sent so far. The bytes of a flow that enters the list late were sent in the overflow series
/// before; its own series gets them from the next bytes that the overflow series would have grown by.
#[derive(Debug)]
pub struct Book {
    limits: Limits,
    processes: bool,
    traces: BTreeMap<TraceId, Entry>,
}

#[derive(Debug)]
struct Entry {
    start: Timestamp,
    series: TraceSeries,
    /// Time at which the trace was seen to be over; `None` while it runs.
    over: Option<Timestamp>,
    /// True if the trace is over and the receiver has accepted its last values.
    told: bool,
}

impl TraceId {
    fn has_name_of(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl Entry {
    /// Sort key among traces of the same name: traces that are over come first, then the one that began earlier.
    fn turn(&self) -> (bool, Timestamp) {
        (self.over.is_none(), self.start)
    }
}

/// A request with all series of some traces.
#[derive(Debug)]
pub struct Batch {
    /// The request.
    pub request: ExportMetricsServiceRequest,
    /// The traces in the request.
    pub traces: Vec<TraceId>,
    /// Number of traffic series in the request.
    pub series: usize,
}

impl Book {
    /// Makes a book without traces. If `processes` is true, it has the metric `process.network.io`.
    #[must_use]
    pub fn new(limits: Limits, processes: bool) -> Self {
        Self { limits, processes, traces: BTreeMap::new() }
    }

    /// Adds the numbers of a trace. Returns false if the limits leave no room for the trace.
    pub fn update(&mut self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let id = snapshot.id();
        self.end_others_of_name(&id, now);
        let mut free = self.limits.all.saturating_sub(self.series());
        if !self.traces.contains_key(&id) {
            let series = TraceSeries::new(self.processes);
            let Some(left) = free.checked_sub(series.len()) else { return false };
            free = left;
            let start = snapshot.start;
            self.traces.insert(id.clone(), Entry { start, series, over: None, told: false });
        }
        if let Some(entry) = self.traces.get_mut(&id) {
            let room = free.min(self.limits.trace.saturating_sub(entry.series.len()));
            let has_news = entry.series.apply(snapshot, room);
            entry.told &= !has_news;
            if snapshot.over {
                entry.over.get_or_insert(now);
            }
        }
        true
    }

    /// Marks older traces of the same name as over, since only one trace can have the name at a time.
    fn end_others_of_name(&mut self, id: &TraceId, now: Timestamp) {
        let first = TraceId { uid: String::new(), ..id.clone() };
        let of_name = self.traces.range_mut(first..).take_while(|(other, _)| other.has_name_of(id));
        for (_, entry) in of_name.filter(|(other, _)| *other != id) {
            entry.over.get_or_insert(now);
        }
    }

    /// Marks a deleted trace as over. Its last values are still sent, once.
    pub fn gone(&mut self, id: &TraceId, now: Timestamp) {
        if let Some(entry) = self.traces.get_mut(id) {
            entry.over.get_or_insert(now);
        }
    }

    /// Number of traffic series, over all traces that have values to send.
    #[must_use]
    pub fn series(&self) -> usize {
        self.to_tell().map(|(_, entry)| entry.series.len()).sum()
    }

    /// Number of traces that have values to send.
    #[must_use]
    pub fn traces(&self) -> usize {
        self.to_tell().count()
    }

    fn to_tell(&self) -> impl Iterator<Item = (&TraceId, &Entry)> {
        self.traces.iter().filter(|(_, entry)| !entry.told)
    }

    /// The traces of the next round. The UID is in no series, so a trace and its successor of the same name would give two
    /// values to one series at the same time. The successor therefore waits until the receiver has accepted the last values
    /// of its predecessors.
    fn round(&self) -> impl Iterator<Item = (&TraceId, &Entry)> {
        let mut round: Vec<(&TraceId, &Entry)> = Vec::new();
        for (id, entry) in self.to_tell() {
            match round.last_mut().filter(|(other, _)| other.has_name_of(id)) {
                Some(known) if entry.turn() < known.1.turn() => *known = (id, entry),
                Some(_) => {}
                None => round.push((id, entry)),
            }
        }
        round.into_iter()
    }

    /// Makes requests with the current values, each for one or more whole traces.
    #[must_use]
    pub fn batches(&self, resource: &Resource, now: Timestamp) -> Vec<Batch> {
        let mut batches: Vec<(Vec<request::TraceView<'_>>, usize)> = Vec::new();
        for (id, entry) in self.round() {
            let (count, view) =
                (entry.series.len(), request::TraceView { id, start: entry.start, series: &entry.series });
            match batches.last_mut() {
                Some((views, series)) if *series + count <= SERIES_OF_REQUEST => {
                    views.push(view);
                    *series += count;
                }
                _ => batches.push((vec![view], count)),
            }
        }
        let batch = |(views, series): (Vec<request::TraceView<'_>>, usize)| Batch {
            request: request::request(resource, &views, now),
            traces: views.iter().map(|view| view.id.clone()).collect(),
            series,
        };
        batches.into_iter().map(batch).collect()
    }

    /// Records that the receiver has accepted the values of these traces. Traces that are over are not sent again.
    pub fn delivered(&mut self, traces: &[TraceId]) {
        for id in traces {
            if let Some(entry) = self.traces.get_mut(id) {
                entry.told = entry.over.is_some();
            }
        }
    }

    /// Removes the traces that ended long ago. Returns the number of those whose last values the receiver never
    /// accepted.
    pub fn forget_ended(&mut self, now: Timestamp) -> usize {
        let mut lost = 0;
        self.traces.retain(|_, entry| {
            let keep = entry.over.is_none_or(|over| now.duration_since(over) < KEPT);
            lost += usize::from(!keep && !entry.told);
            keep
        });
        lost
    }
}

#[cfg(test)]
mod tests;
