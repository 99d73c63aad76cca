//! Writes the reports of one trace, and learns the trace's pace with each.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use traffictrace_crd::{Interruption, TrafficTrace, TrafficTraceReport, TrafficTraceReportSpec, report_name};

use super::Event;
use crate::kubeapi::{explain, retry_after};
use crate::session::{Trace, Uid};

/// How long one request may take, the waiting that the API server asks for by `Retry-After` included.
const REQUEST: Duration = Duration::from_secs(40);
/// First and longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// The one writer of a report.
pub(super) struct Writer {
    reports: Api<TrafficTraceReport>,
    traces: Api<TrafficTrace>,
    /// Name of the trace and of the report.
    trace_name: String,
    report_name: String,
    trace: Uid,
    events: mpsc::Sender<Event>,
    /// The API server's address, for messages.
    url: String,
    /// The report as the API server has it.
    stored: Option<Box<TrafficTraceReport>>,
}

/// What became of a request.
enum Failure {
    /// The stored report is another than the one thought of; the newest is known now.
    Outdated,
    /// There is no such object, namespace or type.
    Missing,
    /// Anything else; worth another try later.
    Request(kube::Error),
    /// No answer in time.
    Silence,
}

/// Nobody gives reports any more.
struct Closed;

impl Writer {
    pub(super) fn new(
        client: &Client,
        url: &str,
        trace: &Trace,
        node: &str,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            reports: Api::namespaced(client.clone(), &trace.namespace),
            traces: Api::namespaced(client.clone(), &trace.namespace),
            trace_name: trace.name.clone(),
            report_name: report_name(&trace.name, &trace.uid, node),
            trace: trace.uid.clone(),
            events,
            url: url.to_owned(),
            stored: None,
        }
    }

    /// Tells of an earlier agent's report, then writes each report that differs from the one before, the newest first,
    /// until the last one is written or no more can come.
    pub(super) async fn run(mut self, mut drafts: watch::Receiver<Option<TrafficTraceReport>>) {
        let Ok(()) = self.look_back(&drafts).await else { return };
        let last = self.stored.as_ref().map(|stored| Box::new(stored.spec.clone()));
        let over = last.as_ref().is_some_and(|last| last.is_final);
        if self.events.send(Event::Earlier { trace: self.trace.clone(), last }).await.is_err() || over {
            return;
        }
        let mut tries = 0;
        loop {
            // A report that was given while the last one was written, or when no more can come, is still to be written.
            if tries == 0 && drafts.changed().await.is_err() {
                return;
            }
            let Some(draft) = drafts.borrow_and_update().clone() else { continue };
            if self.stored.as_ref().is_some_and(|stored| says_the_same(&stored.spec, &draft.spec)) {
                tries = 0;
                continue;
            }
            match self.write(draft).await {
                Ok(()) if self.stored.as_ref().is_some_and(|stored| stored.spec.is_final) => return,
                Ok(()) => {
                    tries = 0;
                    if self.learn().await.is_err() {
                        return;
                    }
                }
                Err(failure) => {
                    tries += 1;
                    self.wait(&failure, tries, "cannot write the report, counting goes on").await;
                }
            }
        }
    }

    /// Marks the report of an earlier agent as the last one of a trace that ended while no agent ran.
    pub(super) async fn close(mut self) {
        for tries in 1.. {
            match self.close_once().await {
                Ok(()) => return,
                Err(failure) => {
                    self.wait(&failure, tries, "cannot close the report of a trace that is over").await;
                }
            }
        }
    }

    async fn close_once(&mut self) -> Result<(), Failure> {
        self.fetch().await?;
        let Some(stored) = self.stored.as_ref().filter(|stored| !stored.spec.is_final) else { return Ok(()) };
        let mut last = (**stored).clone();
        last.spec.is_final = true;
        last.spec.interruptions.push(Interruption {
            time: Time(Timestamp::now()),
            node_name: None,
            reason: "AgentAbsentAtEnd".into(),
        });
        let surplus = last.spec.interruptions.len().saturating_sub(8);
        last.spec.interruptions.drain(..surplus);
        self.write(last).await
    }

    async fn look_back(
        &mut self,
        drafts: &watch::Receiver<Option<TrafficTraceReport>>,
    ) -> Result<(), Closed> {
        for tries in 1.. {
            match self.fetch().await {
                Ok(()) => break,
                Err(failure) => self.wait(&failure, tries, "cannot look for an earlier report").await,
            }
            if drafts.has_changed().is_err() {
                return Err(Closed);
            }
        }
        Ok(())
    }

    /// Waits before another try. Being outdated is no trouble, unless it happens again and again.
    async fn wait(&self, failure: &Failure, tries: u32, what: &str) {
        let (cause, asked) = match failure {
            Failure::Outdated if tries < 3 => return,
            Failure::Outdated => {
                ("somebody else writes it too; two agents with the same node name?".into(), None)
            }
            Failure::Missing => ("its namespace or type is not there (any more)".into(), None),
            Failure::Request(error) => (explain(error, "traffictracereports", &self.url), retry_after(error)),
            Failure::Silence => (format!("no answer from {} in {} s", self.url, REQUEST.as_secs()), None),
        };
        tracing::warn!(trace = self.trace_name, report = self.report_name, "{what}: {cause}");
        tokio::time::sleep(backoff(tries).max(asked.unwrap_or_default())).await;
    }

    async fn fetch(&mut self) -> Result<(), Failure> {
        self.stored = within(self.reports.get_opt(&self.report_name)).await?.map(Box::new);
        Ok(())
    }

    /// Creates or replaces the report. The resource version of the last answer makes sure that no other writer's work
    /// is overwritten unseen.
    async fn write(&mut self, mut draft: TrafficTraceReport) -> Result<(), Failure> {
        let params = PostParams::default();
        let result = match &self.stored {
            Some(stored) => {
                draft.metadata.resource_version.clone_from(&stored.metadata.resource_version);
                draft.spec.sequence = stored.spec.sequence.saturating_add(1);
                within(self.reports.replace(&self.report_name, &params, &draft)).await
            }
            None => within(self.reports.create(&params, &draft)).await,
        };
        match result {
            Ok(stored) => {
                self.stored = Some(Box::new(stored));
                Ok(())
            }
            Err(Failure::Outdated) => {
                self.fetch().await?;
                Err(Failure::Outdated)
            }
            // Somebody has deleted it: it is made anew.
            Err(Failure::Missing) if self.stored.take().is_some() => Err(Failure::Outdated),
            Err(other) => Err(other),
        }
    }

    /// Reads the trace: how often to report, and when it ends.
    async fn learn(&self) -> Result<(), Closed> {
        match within(self.traces.get_opt(&self.trace_name)).await {
            Ok(Some(trace)) if trace.metadata.uid.as_ref() == Some(&self.trace) => {
                self.events.send(Event::Learnt(Box::new(trace))).await.map_err(|_| Closed)
            }
            // Deleted: the watch tells. Unreachable: the next report tries again.
            _ => Ok(()),
        }
    }
}

/// Whether two reports differ in nothing that is worth a write.
fn says_the_same(stored: &TrafficTraceReportSpec, draft: &TrafficTraceReportSpec) -> bool {
    let draft = TrafficTraceReportSpec {
        sequence: stored.sequence,
        update_time: stored.update_time.clone(),
        ..draft.clone()
    };
    // Times lose their fractions of a second on the way through the API server.
    serde_json::to_value(&draft).ok() == serde_json::to_value(stored).ok()
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
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

/// Grows from half a second to a quarter of a minute, spread, so that the nodes of a cluster do not come back at once.
fn backoff(tries: u32) -> Duration {
    let (first, longest) = BACKOFF;
    (first * 2_u32.saturating_pow(tries.saturating_sub(1).min(8)))
        .min(longest)
        .mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn waits_grow_and_are_bounded() {
        for (tries, most) in [(1, 500), (2, 1000), (3, 2000), (30, 15_000)] {
            let wait = backoff(tries).as_millis();
            assert!(wait >= most / 2 && wait <= most, "{tries}: {wait} ms");
        }
    }
}
