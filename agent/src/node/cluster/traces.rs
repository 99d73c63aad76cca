//! Which TrafficTraces this node has to read.
//!
//! Only their metadata is watched: a status is written every few seconds and read by people, not by nodes. A trace is read
//! when its generation changes, which is when its spec does, and only if this node has to do with its namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::core::PartialObjectMeta;
use traffictrace_crd::TrafficTrace;

use crate::kubeapi::Key;
use crate::session::Uid;

/// The metadata of a trace, as it is watched.
pub(super) type TraceMeta = PartialObjectMeta<TrafficTrace>;

/// What is known of a trace.
#[derive(Debug)]
struct Known {
    key: Key,
    created: Option<Timestamp>,
    /// The newest generation that was heard of.
    generation: i64,
    /// The generation that was read.
    read: Option<i64>,
    /// The trace was read before anybody had begun it, which changes no generation: it is read again when it changes.
    unstarted: bool,
    /// Something has changed since it was read.
    changed: bool,
    /// The trace is being read.
    reading: bool,
}

/// A trace that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) key: Key,
    /// The time of its creation: many nodes read a new one at the same time.
    pub(super) created: Option<Timestamp>,
}

/// The traces of the cluster that have not finished.
#[derive(Debug, Default)]
pub(super) struct Traces {
    known: BTreeMap<Uid, Known>,
}

impl Traces {
    /// Takes the metadata of a trace that is new or has changed.
    pub(super) fn apply(&mut self, meta: &TraceMeta) {
        let key = Key::of(meta);
        let generation = meta.metadata.generation.unwrap_or(0);
        let created = meta.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let known = self.known.entry(key.uid.clone()).or_insert(Known {
            key,
            created,
            generation,
            read: None,
            unstarted: false,
            changed: true,
            reading: false,
        });
        // A list from the cache of another API server can be behind what the watch has told.
        known.generation = known.generation.max(generation);
        known.changed = true;
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

    /// Takes what was read. `None` when it is to be thrown away: the trace is gone, another one has its name, or the
    /// answer is older than what is known. It is due again then.
    pub(super) fn read(&mut self, uid: &Uid, trace: TrafficTrace) -> Option<TrafficTrace> {
        let known = self.known.get_mut(uid)?;
        known.reading = false;
        let generation = trace.metadata.generation.unwrap_or(0);
        if trace.metadata.uid.as_ref() != Some(uid) || generation < known.generation {
            return None;
        }
        known.generation = generation;
        known.read = Some(generation);
        known.unstarted = trace.status.as_ref().is_none_or(|status| status.start_time.is_none());
        Some(trace)
    }

    /// A trace makes no sense to this version, and is not read again before its spec changes.
    pub(super) fn unreadable(&mut self, uid: &Uid) {
        if let Some(known) = self.known.get_mut(uid) {
            known.reading = false;
            known.read = Some(known.generation);
        }
    }

    /// A trace could not be read, and is to be read again.
    pub(super) fn failed(&mut self, uid: &Uid) {
        if let Some(known) = self.known.get_mut(uid) {
            known.reading = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(uid: &str, generation: i64) -> TraceMeta {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "name": "shop", "namespace": "web", "uid": uid, "generation": generation },
        }))
        .unwrap()
    }

    fn trace(uid: &str, generation: i64, status: &serde_json::Value) -> TrafficTrace {
        serde_json::from_value(json!({
            "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
            "metadata": { "name": "shop", "namespace": "web", "uid": uid, "generation": generation },
            "spec": { "selector": {} }, "status": status,
        }))
        .unwrap()
    }

    fn started() -> serde_json::Value {
        json!({ "startTime": "2026-11-23T10:00:00Z" })
    }

    fn due(traces: &mut Traces) -> usize {
        traces.due(|_| true).len()
    }

    #[test]
    fn a_trace_is_read_once_for_each_generation() {
        let mut traces = Traces::default();
        traces.apply(&meta("u1", 1));
        assert_eq!(due(&mut traces), 1);
        assert_eq!(due(&mut traces), 0, "it is being read");
        assert!(traces.read(&"u1".into(), trace("u1", 1, &started())).is_some());
        // Its status is written again and again.
        traces.apply(&meta("u1", 1));
        assert_eq!(due(&mut traces), 0);
        traces.apply(&meta("u1", 2));
        assert_eq!(due(&mut traces), 1);
    }

    #[test]
    fn a_trace_of_a_namespace_without_pods_here_is_not_read() {
        let mut traces = Traces::default();
        traces.apply(&meta("u1", 1));
        assert!(traces.due(|key| key.namespace == "other").is_empty());
        assert_eq!(traces.due(|key| key.namespace == "web").len(), 1, "a pod has come");
    }

    #[test]
    fn an_answer_that_is_older_than_what_is_known_is_thrown_away() {
        let mut traces = Traces::default();
        traces.apply(&meta("u1", 2));
        assert_eq!(due(&mut traces), 1);
        assert!(traces.read(&"u1".into(), trace("u1", 1, &started())).is_none());
        assert_eq!(due(&mut traces), 1, "it is read again");
        assert!(traces.read(&"u1".into(), trace("u2", 5, &started())).is_none(), "made anew under its name");
        traces.remove(&"u1".into());
        assert!(traces.read(&"u1".into(), trace("u1", 2, &started())).is_none());
    }

    #[test]
    fn one_that_nobody_has_begun_is_read_again_when_it_changes() {
        let mut traces = Traces::default();
        traces.apply(&meta("u1", 1));
        assert_eq!(due(&mut traces), 1);
        traces.read(&"u1".into(), trace("u1", 1, &json!({})));
        assert_eq!(due(&mut traces), 0, "nothing has changed yet");
        traces.apply(&meta("u1", 1));
        assert_eq!(due(&mut traces), 1);
    }

    #[test]
    fn what_failed_is_read_again_and_what_is_unreadable_is_not() {
        let mut traces = Traces::default();
        traces.apply(&meta("u1", 1));
        due(&mut traces);
        traces.failed(&"u1".into());
        assert_eq!(due(&mut traces), 1);
        traces.unreadable(&"u1".into());
        assert_eq!(due(&mut traces), 0);
        traces.apply(&meta("u1", 2));
        assert_eq!(due(&mut traces), 1);
    }
}
