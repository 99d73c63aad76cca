//! The reports of all traces, each under the trace that it belongs to.

use std::collections::HashMap;

use traffictrace_crd::{TrafficTraceReport, report_name};

use crate::kubeapi::Key;
use crate::merge::NodeReports;

/// The most reports of one namespace that wait for traces nobody knows yet. The watch of traces is behind that of reports
/// by a moment at most; more are forged, and must not fill the memory or take the place of other namespaces' reports.
const WAITING: usize = 1000;

/// The trace that a report names, if the report is one that an agent would write for it: of the trace's own namespace,
/// and under the name that its trace and node give it. Whoever may write reports in one namespace cannot forge the
/// numbers of another.
pub(super) fn trace_of(report: &TrafficTraceReport) -> Option<Key> {
    let spec = &report.spec;
    let name = report_name(&spec.trace_name, &spec.trace_uid, &spec.node_name);
    if report.metadata.name.as_ref() != Some(&name) {
        return None;
    }
    let namespace = report.metadata.namespace.clone()?;
    Some(Key { namespace, name: spec.trace_name.clone(), uid: spec.trace_uid.clone() })
}

/// Reports by trace.
#[derive(Debug, Default)]
pub(super) struct Reports {
    by_trace: HashMap<Key, NodeReports>,
    /// The number of nodes' reports that are kept, over all traces.
    kept: usize,
    waiting: Waiting,
}

impl Reports {
    pub(super) fn of(&self, trace: &Key) -> Option<&NodeReports> {
        self.by_trace.get(trace)
    }

    /// Takes a report of a trace that is known.
    pub(super) fn apply(&mut self, trace: &Key, report: TrafficTraceReport) {
        let reports = self.by_trace.entry(trace.clone()).or_default();
        let before = reports.len();
        reports.apply(report.spec);
        self.kept += reports.len() - before;
    }

    /// Drops the reports of a trace.
    pub(super) fn forget(&mut self, trace: &Key) {
        if let Some(reports) = self.by_trace.remove(trace) {
            self.kept -= reports.len();
        }
    }

    /// Keeps a report of a trace that is not known yet. `limited`: traces have been listed, so that few are to come.
    pub(super) fn wait(&mut self, trace: Key, report: TrafficTraceReport, limited: bool) {
        self.waiting.add(trace, report, limited);
    }

    /// The reports that have waited for a trace.
    pub(super) fn waited(&mut self, trace: &Key) -> Vec<TrafficTraceReport> {
        self.waiting.take(trace)
    }

    /// Takes note of a deleted report. It stays counted if its trace is known, since an agent that lost its report does
    /// not count again what the report had.
    pub(super) fn gone(&mut self, report: &Key) {
        self.waiting.remove(report);
    }

    /// The number of reports that are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }
}

/// Reports of traces that are not known.
#[derive(Debug, Default)]
struct Waiting {
    by_trace: HashMap<Key, HashMap<Key, TrafficTraceReport>>,
    /// The trace of each waiting report.
    traces: HashMap<Key, Key>,
    by_namespace: HashMap<String, usize>,
}

impl Waiting {
    fn add(&mut self, trace: Key, report: TrafficTraceReport, limited: bool) {
        let key = Key::of(&report);
        let waiting = self.by_namespace.entry(key.namespace.clone()).or_insert(0);
        if limited && *waiting >= WAITING && !self.traces.contains_key(&key) {
            tracing::debug!(
                "ignoring report {key}: its trace {trace} is not known, and {WAITING} like it wait already"
            );
            return;
        }
        *waiting += usize::from(self.traces.insert(key.clone(), trace.clone()).is_none());
        self.by_trace.entry(trace).or_default().insert(key, report);
    }

    fn remove(&mut self, report: &Key) {
        let Some(trace) = self.traces.remove(report) else { return };
        self.leaves(&report.namespace);
        if let Some(reports) = self.by_trace.get_mut(&trace) {
            reports.remove(report);
            if reports.is_empty() {
                self.by_trace.remove(&trace);
            }
        }
    }

    fn take(&mut self, trace: &Key) -> Vec<TrafficTraceReport> {
        let reports = self.by_trace.remove(trace).unwrap_or_default();
        for report in reports.keys() {
            self.traces.remove(report);
            self.leaves(&report.namespace);
        }
        reports.into_values().collect()
    }

    fn leaves(&mut self, namespace: &str) {
        if let Some(waiting) = self.by_namespace.get_mut(namespace) {
            *waiting -= 1;
            if *waiting == 0 {
                self.by_namespace.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use traffictrace_crd::TrafficTraceReportSpec;

    use super::*;

    fn report(namespace: &str, node: &str) -> TrafficTraceReport {
        let spec = TrafficTraceReportSpec {
            trace_name: "t".into(),
            trace_uid: "u".into(),
            node_name: node.into(),
            ..Default::default()
        };
        let mut report = TrafficTraceReport::new(&report_name("t", "u", node), spec);
        report.metadata.namespace = Some(namespace.into());
        report.metadata.uid = Some(format!("uid-{namespace}-{node}"));
        report
    }

    fn trace(namespace: &str) -> Key {
        Key { namespace: namespace.into(), name: "t".into(), uid: "u".into() }
    }

    #[test]
    fn a_report_belongs_to_a_trace_of_its_own_namespace_and_has_the_name_of_its_node() {
        assert_eq!(trace_of(&report("shop", "n1")), Some(trace("shop")));
        assert_eq!(trace_of(&report("other", "n1")), Some(trace("other")));
        let mut forged = report("shop", "n1");
        forged.spec.node_name = "n2".into();
        assert_eq!(trace_of(&forged), None, "under the name of another node's report");
    }

    #[test]
    fn forged_reports_fill_only_the_room_of_their_namespace() {
        let mut reports = Reports::default();
        for node in 0..WAITING + 5 {
            reports.wait(trace("bad"), report("bad", &node.to_string()), true);
        }
        reports.wait(trace("shop"), report("shop", "n1"), true);
        assert_eq!(reports.waiting.traces.len(), WAITING + 1);
        reports.gone(&Key::of(&report("bad", "0")));
        assert_eq!(reports.waited(&trace("shop")).len(), 1);
        assert_eq!(reports.waited(&trace("bad")).len(), WAITING - 1);
        assert!(reports.waiting.by_namespace.is_empty() && reports.waiting.traces.is_empty());
    }
}
