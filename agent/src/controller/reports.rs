//! The reports of all traces, grouped by trace.

use std::collections::{BTreeSet, HashMap};

use traffictrace_crd::{TrafficTraceReport, report_name};

use crate::kubeapi::Key;
use crate::merge::NodeReports;

/// Maximum number of reports of one namespace that wait for unknown traces. The watch of traces is at most slightly
/// behind the watch of reports. More reports than these are forged, and must not fill the memory.
pub(super) const WAITING: usize = 1000;

/// Returns the trace of a report: the trace in the report's namespace that the report names, if the report's own name
/// matches trace and node. A user who can write reports in one namespace must not be able to change what another
/// namespace sees.
pub(super) fn trace_of(report: &TrafficTraceReport) -> Option<Key> {
    let spec = &report.spec;
    let name = report_name(&spec.trace_uid, &spec.node_name);
    let namespace = report.metadata.namespace.clone()?;
    let of = Key { namespace, name: spec.trace_name.clone(), uid: spec.trace_uid.clone() };
    (report.metadata.name.as_ref() == Some(&name)).then_some(of)
}

/// Reports of traces, which may not be known yet.
#[derive(Debug, Default)]
pub(super) struct Reports {
    by_trace: HashMap<Key, NodeReports>,
    /// The existing reports, by namespace and name.
    names: HashMap<(String, String), Named>,
    /// Names of reports of unknown traces that arrived after the list of traces, by namespace; at most [`WAITING`] in
    /// each.
    waiting: HashMap<String, BTreeSet<String>>,
}

/// An existing report.
#[derive(Debug)]
struct Named {
    /// The report's own UID. If a report is created again with the same name, the new one may be seen before the
    /// deletion of the old one.
    uid: String,
    trace: Key,
    node: String,
}

impl Reports {
    pub(super) fn of(&self, trace: &Key) -> Option<&NodeReports> {
        self.by_trace.get(trace)
    }

    /// Number of existing reports.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// UIDs of the traces that have a report of a node. Visits all traces, which is acceptable since nodes rarely
    /// leave.
    pub(super) fn traces_on(&self, node: &str) -> Vec<String> {
        let with_node = self.by_trace.iter().filter(|(_, reports)| reports.has(node));
        with_node.map(|(trace, _)| trace.uid.clone()).collect()
    }

    /// Records a report of a trace.
    pub(super) fn apply(&mut self, trace: Key, report: TrafficTraceReport) {
        let key = Key::of(&report);
        let named = Named { uid: key.uid, trace: trace.clone(), node: report.spec.node_name.clone() };
        self.names.insert((key.namespace, key.name), named);
        self.by_trace.entry(trace).or_default().apply(report.spec);
    }

    /// Returns true if a report of an unknown trace may be kept until its trace is seen.
    pub(super) fn may_wait(&mut self, report: &Key) -> bool {
        let waiting = self.waiting.entry(report.namespace.clone()).or_default();
        waiting.contains(&report.name) || (waiting.len() < WAITING && waiting.insert(report.name.clone()))
    }

    /// Stops counting the reports of a trace as waiting, since the trace is known now. Returns true if it has reports.
    pub(super) fn claim(&mut self, trace: &Key) -> bool {
        if let Some(waiting) = self.waiting.get_mut(&trace.namespace) {
            let names = &self.names;
            waiting.retain(|name| {
                let report = names.get(&(trace.namespace.clone(), name.clone()));
                report.is_some_and(|report| report.trace != *trace)
            });
            if waiting.is_empty() {
                self.waiting.remove(&trace.namespace);
            }
        }
        self.by_trace.contains_key(trace)
    }

    /// Frees the contents of a trace's reports. Their names stay known until the reports are deleted.
    pub(super) fn forget(&mut self, trace: &Key) {
        self.by_trace.remove(trace);
    }

    /// Records that a report was deleted. Its contents stay as long as its trace exists, so that shown totals do not
    /// fall.
    pub(super) fn gone(&mut self, report: &Key, is_known: impl Fn(&Key) -> bool) {
        let name = (report.namespace.clone(), report.name.clone());
        if self.names.get(&name).is_none_or(|known| known.uid != report.uid) {
            return;
        }
        let Some(Named { trace, node, .. }) = self.names.remove(&name) else { return };
        if let Some(waiting) = self.waiting.get_mut(&report.namespace) {
            waiting.remove(&report.name);
            if waiting.is_empty() {
                self.waiting.remove(&report.namespace);
            }
        }
        if is_known(&trace) {
            return;
        }
        if let Some(reports) = self.by_trace.get_mut(&trace) {
            reports.remove(&node);
            if reports.is_empty() {
                self.by_trace.remove(&trace);
            }
        }
    }

    /// Number of traces with reports in memory, and number of waiting reports of a namespace.
    #[cfg(test)]
    pub(super) fn in_memory(&self, namespace: &str) -> (usize, usize) {
        (self.by_trace.len(), self.waiting.get(namespace).map_or(0, BTreeSet::len))
    }
}
