//! A `TrafficTrace` on the cluster, and observation of its status.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use tokio::{sync::oneshot, task::JoinHandle};
use traffictrace_crd::{
    FlowRow, GROUP, NODE_LABEL, TRACE_LABEL, TRACE_UID_LABEL, TrafficTrace, TrafficTraceProfile,
    TrafficTraceProfileSpec, TrafficTraceReport, TrafficTraceReportSpec, TrafficTraceSpec,
    TrafficTraceStatus, VERSION, decode_rows, node_label, report_name, trace_label,
};

use super::{super::wait, Namespace};
use crate::support::{Result, TestError};

/// Spec of a trace of the pods whose label `trace` is `group`, with the shortest allowed interval.
pub fn spec(group: &str) -> TrafficTraceSpec {
    let labels = BTreeMap::from([("trace".to_owned(), group.to_owned())]);
    TrafficTraceSpec {
        selector: LabelSelector { match_labels: Some(labels), ..LabelSelector::default() },
        interval: traffictrace_crd::Duration::new("5s"),
        top_flows: 100,
        ..TrafficTraceSpec::default()
    }
}

/// A trace that was created on the cluster.
#[derive(Clone, Debug)]
pub struct Trace {
    api: Api<TrafficTrace>,
    reports: Api<TrafficTraceReport>,
    profiles: Api<TrafficTraceProfile>,
    name: String,
    uid: String,
}

impl Trace {
    pub(super) async fn create(namespace: &Namespace, name: &str, spec: TrafficTraceSpec) -> Result<Self> {
        let api: Api<TrafficTrace> = namespace.api();
        let made = api.create(&PostParams::default(), &TrafficTrace::new(name, spec)).await;
        let made = made.map_err(TestError::kube(format!("create the trace {name}")))?;
        let uid = made.uid().unwrap_or_default();
        Ok(Self { api, reports: namespace.api(), profiles: namespace.api(), name: name.to_owned(), uid })
    }

    /// UID of the trace.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Reads the status of the trace; empty if there is none yet.
    ///
    /// # Errors
    ///
    /// Fails when the trace cannot be read.
    pub async fn status(&self) -> Result<TrafficTraceStatus> {
        let trace = self.api.get(&self.name).await;
        Ok(trace
            .map_err(TestError::kube(format!("read the trace {}", self.name)))?
            .status
            .unwrap_or_default())
    }

    /// Waits until `check` accepts the status; an error of `check` describes what is missing.
    ///
    /// # Errors
    ///
    /// Fails when `check` does not accept the status in time.
    pub async fn status_where<T>(
        &self,
        what: &str,
        limit: Duration,
        check: impl Fn(&TrafficTraceStatus) -> Result<T, String>,
    ) -> Result<T> {
        wait::until_async(&format!("{what} in the status of {}", self.name), limit, async || {
            // If the API server is away, it is asked again until the deadline.
            match self.status().await {
                Ok(status) => Ok(check(&status)),
                Err(error) => Ok(Err(error.to_string())),
            }
        })
        .await
    }

    /// Lists the reports of all nodes on this trace.
    ///
    /// # Errors
    ///
    /// Fails when the reports cannot be listed.
    pub async fn reports(&self) -> Result<Vec<TrafficTraceReport>> {
        let reports = self.reports.list(&ListParams::default()).await;
        let reports = reports.map_err(TestError::kube(format!("list the reports of {}", self.name)))?;
        Ok(reports.items.into_iter().filter(|report| report.spec.trace_uid == self.uid).collect())
    }

    /// Lists the profiles of all nodes for this trace, found by the label with the trace's name as people find them.
    ///
    /// # Errors
    ///
    /// Fails when the profiles cannot be listed.
    pub async fn profiles(&self) -> Result<Vec<TrafficTraceProfile>> {
        let of_trace = ListParams::default().labels(&format!("{TRACE_LABEL}={}", trace_label(&self.name)));
        let profiles = self.profiles.list(&of_trace).await;
        Ok(profiles.map_err(TestError::kube(format!("list the profiles of {}", self.name)))?.items)
    }

    /// Deletes the trace.
    ///
    /// # Errors
    ///
    /// Fails when the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let deleted = self.api.delete(&self.name, &DeleteParams::default()).await;
        deleted.map(drop).map_err(TestError::kube(format!("delete the trace {}", self.name)))
    }

    /// Starts a task that reads the status repeatedly and looks for totals that fall.
    pub fn watch(&self) -> NeverFalls {
        let (end, ended) = oneshot::channel();
        NeverFalls { end, task: tokio::spawn(watch(self.clone(), ended)) }
    }
}

/// Returns the report that a node's agent would write about a trace, without counts.
pub fn report_of(trace: &Trace, node: &str) -> TrafficTraceReport {
    let labels = [(TRACE_UID_LABEL, trace.uid.clone()), (NODE_LABEL, node_label(node))];
    TrafficTraceReport {
        metadata: ObjectMeta {
            name: Some(report_name(&trace.uid, node)),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
            owner_references: Some(vec![OwnerReference {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: "TrafficTrace".to_owned(),
                name: trace.name.clone(),
                uid: trace.uid.clone(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: TrafficTraceReportSpec {
            trace_name: trace.name.clone(),
            trace_uid: trace.uid.clone(),
            node_name: node.to_owned(),
            ..TrafficTraceReportSpec::default()
        },
    }
}

/// Returns the profile that a node's agent would write for a trace, without stacks.
pub fn profile_of(trace: &Trace, node: &str) -> TrafficTraceProfile {
    let mut metadata = report_of(trace, node).metadata;
    metadata.labels.get_or_insert_default().insert(TRACE_LABEL.to_owned(), trace_label(&trace.name));
    TrafficTraceProfile {
        metadata,
        spec: TrafficTraceProfileSpec {
            trace_name: trace.name.clone(),
            trace_uid: trace.uid.clone(),
            node_name: node.to_owned(),
            ..TrafficTraceProfileSpec::default()
        },
    }
}

/// Decodes the rows of a report.
///
/// # Errors
///
/// Fails when a row cannot be decoded.
pub fn report_rows(report: &TrafficTraceReport) -> Result<Vec<FlowRow>> {
    decode_rows(&report.spec.columns, &report.spec.flows)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| TestError::unexpected("a report", error))
}

/// A task that checks that totals never fall.
#[derive(Debug)]
pub struct NeverFalls {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<u32>>,
}

impl NeverFalls {
    /// Ends the task; returns the number of times that the status was read.
    ///
    /// # Errors
    ///
    /// Fails when a total fell, or the status was never read.
    pub async fn end(self) -> Result<u32> {
        // The task may have ended by itself, with a failure.
        let _ = self.end.send(());
        let reads = self.task.await.map_err(|error| TestError::unexpected("the look-out", error))??;
        if reads == 0 {
            return Err(TestError::unexpected("the look-out", "the status was never read"));
        }
        Ok(reads)
    }
}

async fn watch(trace: Trace, mut ended: oneshot::Receiver<()>) -> Result<u32> {
    let begin = Instant::now();
    let (mut rx, mut tx, mut requests, mut reads) = (0, 0, 0, 0);
    while ended.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        // The API server may be away, if the test causes that.
        if let Ok(status) = trace.status().await {
            let (totals, http) = (status.totals, status.http.map(|http| http.totals).unwrap_or_default());
            if totals.rx_bytes < rx || totals.tx_bytes < tx || http.requests < requests {
                let found = format!(
                    "({rx}, {tx}, {requests}) fell to {totals:?} {http:?} after {:?}",
                    begin.elapsed()
                );
                return Err(TestError::unexpected("the totals", found));
            }
            (rx, tx, requests) = (totals.rx_bytes, totals.tx_bytes, http.requests);
            reads += 1;
        }
        tokio::time::sleep(wait::POLL * 10).await;
    }
    Ok(reads)
}
