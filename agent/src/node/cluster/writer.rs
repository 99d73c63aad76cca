//! The writer of one trace's reports.

use std::time::Duration;

use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::sync::watch;
use traffictrace_crd::{TrafficTrace, TrafficTraceReport, TrafficTraceReportSpec, report_name};

use super::beginning::Spread;
use super::outbox::Tell;
use crate::kubeapi::{ApiServer, Backoff, explain, retry_after};
use crate::server::metrics::Written;

/// Maximum time of one request, including a pause that the API server asks for by `Retry-After`.
pub(super) const REQUEST: Duration = Duration::from_secs(40);
/// Number of intervals after which an unchanged report is written all the same, to show that the node still traces and
/// how old the numbers are.
const STILL_THERE: u32 = 3;

/// A report to be written, and the interval at which its trace reports.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) report: TrafficTraceReport,
    pub(super) interval: Duration,
}

/// The only writer of this node's report of one trace.
pub(super) struct Writer {
    reports: Api<TrafficTraceReport>,
    traces: Api<TrafficTrace>,
    /// Name of the trace, for messages and to check whether it still exists.
    trace_name: String,
    trace_uid: String,
    report_name: String,
    /// The API server's address, for error messages.
    url: String,
    /// The report as last stored by the API server.
    stored: Option<Box<TrafficTraceReport>>,
    /// Number of writes so far, which is `spec.sequence` of the last report. It keeps growing even if the stored report
    /// was deleted.
    sequence: i64,
    /// The time over which the last reports of a trace's nodes are spread.
    spread: Spread,
    tell: Tell,
}

/// Reason why a request failed.
pub(super) enum Failure {
    /// Conflict: the stored report has changed and was read again.
    Outdated,
    /// The object, its namespace or its type does not exist.
    Missing,
    /// Any other error. A later attempt may succeed.
    Request(kube::Error),
    /// There was no answer in time.
    Silence,
}

impl Failure {
    fn written(&self) -> Written {
        match self {
            Self::Outdated => Written::Conflict,
            Self::Missing => Written::Gone,
            Self::Request(error) => Written::failed(error),
            Self::Silence => Written::Unanswered,
        }
    }
}

impl Writer {
    /// Creates a writer for reports of the same trace and node as `first`. The first report continues `stored`.
    pub(super) fn new(
        api: &ApiServer,
        first: &TrafficTraceReport,
        stored: Option<TrafficTraceReport>,
        spread: Spread,
        tell: Tell,
    ) -> Self {
        let (namespace, spec) = (first.metadata.namespace.clone().unwrap_or_default(), &first.spec);
        Self {
            reports: Api::namespaced(api.client.clone(), &namespace),
            traces: Api::namespaced(api.client.clone(), &namespace),
            trace_name: spec.trace_name.clone(),
            trace_uid: spec.trace_uid.clone(),
            report_name: report_name(&spec.trace_uid, &spec.node_name),
            url: api.url.clone(),
            sequence: stored.as_ref().map_or(0, |stored| stored.spec.sequence),
            stored: stored.map(Box::new),
            spread,
            tell,
        }
    }

    /// Writes the newest report whenever it differs from the last one, until the final report is written or the channel
    /// is closed.
    pub(super) async fn run(mut self, mut drafts: watch::Receiver<Option<Draft>>) {
        let mut backoff = Backoff::default();
        let mut spread_out = false;
        let mut written = tokio::time::Instant::now();
        loop {
            // After a failure the loop goes on without a new report. `changed` fails only once the newest report was
            // taken, so one that arrived just before the channel closed is still written.
            if backoff.attempts() == 0 && drafts.changed().await.is_err() {
                return;
            }
            let Some(Draft { report: draft, interval }) = drafts.borrow_and_update().clone() else {
                continue;
            };
            let is_final = draft.spec.is_final;
            let same = self.stored.as_ref().is_some_and(|stored| says_the_same(&stored.spec, &draft.spec));
            if same && (is_final || written.elapsed() < interval * STILL_THERE) {
                self.tell.waiting.remove(&self.trace_uid);
                if is_final {
                    return;
                }
                backoff.reset();
                continue;
            }
            if is_final && !std::mem::replace(&mut spread_out, true) {
                self.spread.pause().await;
            }
            let result = self.write(draft).await;
            self.tell.metrics.report_written(result.as_ref().err().map_or(Written::Ok, Failure::written));
            if result.is_ok() {
                self.tell.waiting.remove(&self.trace_uid);
            }
            match result {
                Ok(()) if is_final => return,
                Ok(()) => {
                    written = tokio::time::Instant::now();
                    backoff.reset();
                }
                Err(Failure::Missing) if is_final && self.is_unwanted().await => {
                    self.tell.waiting.remove(&self.trace_uid);
                    return;
                }
                Err(failure) => self.wait(&failure, &mut backoff).await,
            }
        }
    }

    /// Waits before the next attempt. Single conflicts are normal and are not logged.
    async fn wait(&self, failure: &Failure, backoff: &mut Backoff) {
        let (cause, asked) = match failure {
            Failure::Outdated if backoff.attempts() < 2 => (None, None),
            Failure::Outdated => {
                (Some("somebody else writes it too; two agents with the same node name?".to_owned()), None)
            }
            Failure::Missing => (Some("its namespace or type is not there (any more)".to_owned()), None),
            Failure::Request(error) => {
                (Some(explain(error, "traffictracereports", &self.url)), retry_after(error))
            }
            Failure::Silence => {
                (Some(format!("no answer from {} in {} s", self.url, REQUEST.as_secs())), None)
            }
        };
        if let Some(cause) = cause {
            tracing::warn!(
                trace = self.trace_name,
                report = self.report_name,
                "cannot write the report, counting goes on: {cause}"
            );
        }
        tokio::time::sleep(backoff.next(asked)).await;
    }

    /// Creates or replaces the report. The resource version of the last answer prevents overwriting another writer's
    /// work unseen.
    async fn write(&mut self, mut draft: TrafficTraceReport) -> Result<(), Failure> {
        let params = PostParams::default();
        draft.spec.sequence = self.sequence.saturating_add(1);
        let result = match &self.stored {
            Some(stored) => {
                draft.metadata.resource_version.clone_from(&stored.metadata.resource_version);
                within(self.reports.replace(&self.report_name, &params, &draft)).await
            }
            None => within(self.reports.create(&params, &draft)).await,
        };
        match result {
            Ok(stored) => {
                self.sequence = stored.spec.sequence;
                self.stored = Some(Box::new(stored));
                Ok(())
            }
            Err(Failure::Outdated) => {
                self.find().await?;
                Err(Failure::Outdated)
            }
            // The stored report was deleted. `Outdated` lets the caller try once more, which creates the report anew.
            Err(Failure::Missing) if self.stored.take().is_some() && !draft.spec.is_final => {
                Err(Failure::Outdated)
            }
            Err(other) => Err(other),
        }
    }

    /// Reads the stored report by listing it, because an agent has no permission to get a report by name.
    async fn find(&mut self) -> Result<(), Failure> {
        let this = ListParams::default().fields(&format!("metadata.name={}", self.report_name));
        let found = within(self.reports.list(&this)).await?.items.pop();
        self.sequence = self.sequence.max(found.as_ref().map_or(0, |found| found.spec.sequence));
        self.stored = found.map(Box::new);
        Ok(())
    }

    /// Returns true if nobody waits for the last report any more: the trace is gone, or it has its final status, and
    /// the controller deletes its reports.
    async fn is_unwanted(&self) -> bool {
        let Ok(found) = within(self.traces.get_opt(&self.trace_name)).await else { return false };
        let Some(trace) = found.filter(|trace| trace.metadata.uid.as_ref() == Some(&self.trace_uid)) else {
            return true;
        };
        let labels = trace.metadata.labels.unwrap_or_default();
        labels.contains_key(traffictrace_crd::FINISHED_LABEL)
            && trace.status.is_some_and(|status| status.missing_nodes.is_empty())
    }
}

/// Returns true if two reports differ only in the time and number of their writing.
fn says_the_same(stored: &TrafficTraceReportSpec, draft: &TrafficTraceReportSpec) -> bool {
    let draft = TrafficTraceReportSpec {
        sequence: stored.sequence,
        update_time: stored.update_time.clone(),
        ..draft.clone()
    };
    // Compared as JSON, because times lose their fractions of a second on the way through the API server.
    serde_json::to_value(&draft).ok() == serde_json::to_value(stored).ok()
}

/// Waits for a request's answer, and maps errors and a timeout to [`Failure`].
pub(super) async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
            Err(Failure::Outdated)
        }
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(Failure::Missing),
        Ok(Err(error)) => Err(Failure::Request(error)),
        Err(_) => Err(Failure::Silence),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn only_a_change_is_worth_a_write() {
        let stored = TrafficTraceReportSpec {
            trace_name: "shop".into(),
            sequence: 4,
            update_time: Some(Time("2026-11-23T10:00:00Z".parse().unwrap())),
            start_time: Some(Time("2026-11-23T09:00:00Z".parse().unwrap())),
            flows: vec!["[1]".into()],
            ..TrafficTraceReportSpec::default()
        };
        let same = TrafficTraceReportSpec {
            sequence: 0,
            update_time: Some(Time("2026-11-23T10:00:10Z".parse().unwrap())),
            start_time: Some(Time("2026-11-23T09:00:00.25Z".parse().unwrap())),
            ..stored.clone()
        };
        assert!(says_the_same(&stored, &same));
        assert!(!says_the_same(&stored, &TrafficTraceReportSpec { is_final: true, ..same.clone() }));
        assert!(!says_the_same(&stored, &TrafficTraceReportSpec { flows: vec!["[2]".into()], ..same }));
    }
}
