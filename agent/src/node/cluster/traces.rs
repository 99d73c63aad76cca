//! The TrafficTraces that this node has to read.
//!
//! Only their metadata is watched: a status is written every few seconds, for people and not for nodes. A trace is read
//! when its generation changes, which happens when its spec does, and only if its namespace concerns this node.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use traffictrace_crd::{GROUP, TrafficTrace};

use crate::kubeapi::{Backoff, Key, compare_versions};
use crate::session::Uid;

/// The watched metadata of a trace.
pub(super) type TraceMeta = PartialObjectMeta<TrafficTrace>;

/// Labels and annotations of a trace, in which the controller tells all nodes its start, its end and its intervals.
#[derive(Debug)]
struct Notes {
    /// Resource version of the object that the labels and annotations were read from.
    version: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Notes {
    fn of(meta: &ObjectMeta) -> Self {
        let is_ours = |name: &str| name.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'));
        let ours = |all: &Option<BTreeMap<String, String>>| {
            let ours = all.iter().flatten().filter(|(name, _)| is_ours(name));
            ours.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        Self {
            version: meta.resource_version.clone(),
            labels: ours(&meta.labels),
            annotations: ours(&meta.annotations),
        }
    }

    /// Compares a version of the object with the version of these notes. Returns `None` unless both are numbers.
    fn compare(&self, meta: &ObjectMeta) -> Option<Ordering> {
        compare_versions(meta.resource_version.as_deref(), self.version.as_deref())
    }
}

/// State of a known trace.
#[derive(Debug)]
struct Known {
    key: Key,
    notes: Notes,
    created: Option<Timestamp>,
    /// The newest generation seen.
    generation: i64,
    /// Generation of the spec that was read last.
    read: Option<i64>,
    /// Set if the trace was read before the controller started it. Starting changes no generation, so the trace is read
    /// again at its next change.
    unstarted: bool,
    /// Set if the metadata has changed since the trace was read.
    changed: bool,
    /// Set while the trace is being read or waits for another attempt.
    reading: bool,
    backoff: Backoff,
}

/// A trace that has to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) key: Key,
    /// Time of creation. Many nodes read a new trace at the same time.
    pub(super) created: Option<Timestamp>,
}

/// Result of comparing the API server's answer with what the watch has reported.
#[derive(Debug)]
pub(super) enum Answer {
    /// The newest spec, combined with the newest labels and annotations.
    Newest(Box<TrafficTrace>),
    /// The answer is outdated or about another trace with this name. Ask again after this pause.
    Again(Duration),
    /// The trace is no longer known.
    Unknown,
}

/// The unfinished traces of the cluster.
#[derive(Debug, Default)]
pub(super) struct Traces {
    known: BTreeMap<Uid, Known>,
}

impl Traces {
    /// Records the metadata of a new or changed trace. Returns false if newer metadata is known already: after a
    /// reconnection, a list from another API server's cache can be older than the last watch event.
    pub(super) fn apply(&mut self, meta: &TraceMeta) -> bool {
        let key = Key::of(meta);
        let meta = &meta.metadata;
        let generation = meta.generation.unwrap_or(0);
        let known = self.known.entry(key.uid.clone()).or_insert_with(|| Known {
            key,
            notes: Notes::of(meta),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            generation,
            read: None,
            unstarted: false,
            changed: true,
            reading: false,
            backoff: Backoff::default(),
        });
        known.generation = known.generation.max(generation);
        known.changed = true;
        let is_newest = known.notes.compare(meta) != Some(Ordering::Less);
        if is_newest {
            known.notes = Notes::of(meta);
        }
        is_newest
    }

    /// Forgets a trace that is gone.
    pub(super) fn remove(&mut self, uid: &Uid) {
        self.known.remove(uid);
    }

    /// Returns the traces that have to be read now, among those that `concerns` accepts. Each is read once at a time.
    pub(super) fn due(&mut self, concerns: impl Fn(&Key) -> bool) -> Vec<Reading> {
        let mut due = Vec::new();
        for known in self.known.values_mut() {
            let news = known.read != Some(known.generation) || known.unstarted && known.changed;
            if news && !known.reading && concerns(&known.key) {
                known.reading = true;
                known.changed = false;
                due.push(Reading { key: known.key.clone(), created: known.created });
            }
        }
        due
    }

    /// Records a trace that was read. The answer comes from a cache, so its notes may be older than those of the watch.
    /// If the versions cannot be compared, the watch's notes are kept, because it reports newer ones later.
    pub(super) fn read(&mut self, uid: &Uid, mut trace: TrafficTrace) -> Answer {
        let Some(known) = self.known.get_mut(uid) else { return Answer::Unknown };
        let generation = trace.metadata.generation.unwrap_or(0);
        if trace.metadata.uid.as_ref() != Some(uid) || generation < known.generation {
            return Answer::Again(known.backoff.next(None));
        }
        if known.notes.compare(&trace.metadata) == Some(Ordering::Greater) {
            known.notes = Notes::of(&trace.metadata);
        } else {
            trace.metadata.labels = Some(known.notes.labels.clone());
            trace.metadata.annotations = Some(known.notes.annotations.clone());
        }
        known.reading = false;
        known.backoff.reset();
        known.generation = generation;
        known.read = Some(generation);
        known.unstarted = trace.status.as_ref().is_none_or(|status| status.start_time.is_none());
        Answer::Newest(Box::new(trace))
    }

    /// Records that a trace could not be read. Returns the pause before the next attempt, at least as long as the
    /// server `asked` for, or `None` if the trace is no longer known.
    pub(super) fn again(&mut self, uid: &Uid, asked: Option<Duration>) -> Option<Duration> {
        Some(self.known.get_mut(uid)?.backoff.next(asked))
    }

    /// Records that this version cannot understand the trace, which is not read again until its spec changes.
    pub(super) fn unreadable(&mut self, uid: &Uid) {
        if let Some(known) = self.known.get_mut(uid) {
            known.reading = false;
            known.backoff.reset();
            known.read = Some(known.generation);
        }
    }

    /// Records that the trace was not found. It is read again when it changes.
    pub(super) fn absent(&mut self, uid: &Uid) {
        if let Some(known) = self.known.get_mut(uid) {
            known.reading = false;
        }
    }
}

#[cfg(test)]
mod tests;
