//! Which TrafficTraces this node has to read.
//!
//! Only their metadata is watched: a status is written every few seconds and read by people, not by nodes. A trace is read
//! when its generation changes, which is when its spec does, and only if this node has to do with its namespace.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use traffictrace_crd::{GROUP, TrafficTrace};

use crate::kubeapi::{Backoff, Key, compare_versions};
use crate::session::Uid;

/// The metadata of a trace, as it is watched.
pub(super) type TraceMeta = PartialObjectMeta<TrafficTrace>;

/// The labels and annotations in which the controller speaks to all nodes.
#[derive(Debug)]
struct Notes {
    /// The version of the object that they are of.
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

    /// The order of a version of the object and the one that these are of, where both are numbers.
    fn compare(&self, meta: &ObjectMeta) -> Option<Ordering> {
        compare_versions(meta.resource_version.as_deref(), self.version.as_deref())
    }
}

/// What is known of a trace.
#[derive(Debug)]
struct Known {
    key: Key,
    notes: Notes,
    created: Option<Timestamp>,
    /// The newest generation that was heard of.
    generation: i64,
    /// The generation that was read.
    read: Option<i64>,
    /// The trace was read before anybody had begun it, which changes no generation: it is read again when it changes.
    unstarted: bool,
    /// Something has changed since it was read.
    changed: bool,
    /// The trace is being read, or will be after a pause.
    reading: bool,
    backoff: Backoff,
}

/// A trace that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) key: Key,
    /// The time of its creation: many nodes read a new one at the same time.
    pub(super) created: Option<Timestamp>,
}

/// What an answer of the API server is worth.
#[derive(Debug)]
pub(super) enum Answer {
    /// The newest spec, with the newest notes to all nodes.
    Newest(Box<TrafficTrace>),
    /// It is older than what is known, or of another trace of this name: it is to be asked for again after this pause.
    Again(Duration),
    /// Nobody knows the trace any more.
    Unknown,
}

/// The traces of the cluster that have not finished.
#[derive(Debug, Default)]
pub(super) struct Traces {
    known: BTreeMap<Uid, Known>,
}

impl Traces {
    /// Takes the metadata of a trace that is new or has changed. Returns whether its notes are the newest: a list from the
    /// cache of another API server can be behind what the watch has told.
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

    /// The traces that are to be read now, of those that the node has to do with. Each is read once at a time.
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

    /// Takes what was read, which came from a cache: of the notes to all nodes it may have older ones than the watch has
    /// told. Where the order of the two is not known, the watch is believed, as it brings what is newer.
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

    /// A trace could not be read. Returns the pause before the next try, at least as long as the server asks; nothing when
    /// nobody knows the trace any more.
    pub(super) fn again(&mut self, uid: &Uid, asked: Option<Duration>) -> Option<Duration> {
        Some(self.known.get_mut(uid)?.backoff.next(asked))
    }

    /// A trace makes no sense to this version, and is not read again before its spec changes.
    pub(super) fn unreadable(&mut self, uid: &Uid) {
        if let Some(known) = self.known.get_mut(uid) {
            known.reading = false;
            known.backoff.reset();
            known.read = Some(known.generation);
        }
    }

    /// A trace was not there, and is to be read when it changes.
    pub(super) fn absent(&mut self, uid: &Uid) {
        if let Some(known) = self.known.get_mut(uid) {
            known.reading = false;
        }
    }
}

#[cfg(test)]
mod tests;
