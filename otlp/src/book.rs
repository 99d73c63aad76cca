//! The traces that are exported, and the requests with their series.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::request;
use crate::series::{Limits, TraceSeries};
use crate::snapshot::Snapshot;

/// Most series of one request, unless one trace has more: about 1 MiB, of the 4 MiB that receivers take.
const SERIES_OF_REQUEST: usize = 4000;
/// The time for which a trace that is over is kept: its last values may not be taken at once, and reports of nodes may come
/// late and change them.
const KEPT: SignedDuration = SignedDuration::from_mins(15);

/// The identity of a trace. A trace that is deleted and made anew under its name is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// The series of all traces that are exported.
///
/// A status lists its largest flows, and which ones these are changes. Receivers take a sum that falls for a counter that
/// began again and count twice. So each byte is told once, in the series that it belongs to when it is told first: a flow that
/// leaves the list keeps its series with what was told, and one that comes into it later gets what was told as a part of the
/// rest out of what the rest would have newly.
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
    /// Since when nothing more is to come.
    over: Option<Timestamp>,
    /// The receiver has taken the last values.
    told: bool,
}

impl TraceId {
    fn has_name_of(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl Entry {
    /// The order of traces of the same name: those that are over come first.
    fn turn(&self) -> (bool, Timestamp) {
        (self.over.is_none(), self.start)
    }
}

/// A request with all series of some traces.
#[derive(Debug)]
pub struct Batch {
    /// The request.
    pub request: ExportMetricsServiceRequest,
    /// The traces that it has.
    pub traces: Vec<TraceId>,
    /// The number of their series of traffic.
    pub series: usize,
}

impl Book {
    /// A book without traces. `processes` says that `process.network.io` is wanted.
    #[must_use]
    pub fn new(limits: Limits, processes: bool) -> Self {
        Self { limits, processes, traces: BTreeMap::new() }
    }

    /// Takes in the numbers of a trace. Returns whether there was room for it.
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

    /// A name belongs to one trace at a time: the predecessors of this one are gone.
    fn end_others_of_name(&mut self, id: &TraceId, now: Timestamp) {
        let first = TraceId { uid: String::new(), ..id.clone() };
        let of_name = self.traces.range_mut(first..).take_while(|(other, _)| other.has_name_of(id));
        for (_, entry) in of_name.filter(|(other, _)| *other != id) {
            entry.over.get_or_insert(now);
        }
    }

    /// Takes the end of a trace that was deleted. Its last values are still sent, once.
    pub fn gone(&mut self, id: &TraceId, now: Timestamp) {
        if let Some(entry) = self.traces.get_mut(id) {
            entry.over.get_or_insert(now);
        }
    }

    /// The number of series of traffic, of all traces that are to be told.
    #[must_use]
    pub fn series(&self) -> usize {
        self.to_tell().map(|(_, entry)| entry.series.len()).sum()
    }

    /// The number of traces that are to be told.
    #[must_use]
    pub fn traces(&self) -> usize {
        self.to_tell().count()
    }

    fn to_tell(&self) -> impl Iterator<Item = (&TraceId, &Entry)> {
        self.traces.iter().filter(|(_, entry)| !entry.told)
    }

    /// The traces of the next round. The UID is in no series, so that a trace and its successor of the same name would give
    /// two values to one series at one time: the successor waits until the last values of its predecessors are taken.
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

    /// The requests that tell the series as they are now, each of whole traces.
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

    /// The values of these traces have been taken by the receiver. Those that are over are told no more.
    pub fn delivered(&mut self, traces: &[TraceId]) {
        for id in traces {
            if let Some(entry) = self.traces.get_mut(id) {
                entry.told = entry.over.is_some();
            }
        }
    }

    /// Forgets the traces that have been over for long. Returns how many of them have last values that were never taken.
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
