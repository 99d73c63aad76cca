//! Requests to the API server, with a limit on their number at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::Semaphore;
use traffictrace_crd::{TRACE_UID_LABEL, TrafficTrace, TrafficTraceReport};

use super::events::Notice;
use super::state::{Action, Outcome};
use crate::kubeapi::{Key, explain, retry_after};
use crate::server::metrics::{ControllerMetrics, Written};

/// Maximum number of requests that are under way at once.
const AT_ONCE: usize = 4;
/// Time after which a request counts as failed, since a connection may have been dropped silently.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Name of this controller in its Events.
const REPORTER: &str = "traffictrace.dev/controller";

/// Performs actions. All clones share the connection and the limit of requests.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    url: Arc<str>,
    places: Arc<Semaphore>,
    recorder: Recorder,
    metrics: ControllerMetrics,
}

impl Writer {
    pub(super) fn new(client: Client, url: &str, metrics: ControllerMetrics) -> Self {
        let instance = std::env::var("HOSTNAME").ok();
        let reporter = Reporter { controller: REPORTER.to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, url: url.into(), places: Arc::new(Semaphore::new(AT_ONCE)), recorder, metrics }
    }

    /// Performs an action. Returns the UID of its trace, and the result.
    pub(super) async fn start(self, action: Action) -> (String, Outcome) {
        // Cannot fail, since the semaphore is never closed.
        let _place = self.places.acquire().await;
        let key = Key::of(action.object());
        let begin = Instant::now();
        let result = tokio::time::timeout(TIMEOUT, self.act(&action)).await;
        let written = match &result {
            Ok(Ok(_)) => Written::Ok,
            Ok(Err(error)) => Written::failed(error),
            Err(_) => Written::Unanswered,
        };
        self.metrics.written(written, begin.elapsed());
        let outcome = match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => self.failed(&error, &key),
            Err(_) => {
                tracing::warn!(
                    "writing trace {key}: no answer from {} within {TIMEOUT:?}; trying again",
                    self.url
                );
                Outcome::Again(None)
            }
        };
        if let (Outcome::Written(object), Action::Write(_, events)) = (&outcome, action) {
            self.tell(object, events);
        }
        (key.uid, outcome)
    }

    /// Sends Events about a trace. A failure is only logged, since the status does not depend on them.
    fn tell(&self, trace: &TrafficTrace, events: Vec<Notice>) {
        let (writer, reference, key) = (self.clone(), trace.object_ref(&()), Key::of(trace));
        tokio::spawn(async move {
            for event in events {
                writer.metrics.told();
                let reason = event.reason;
                if let Err(error) = writer.recorder.publish(&event.into(), &reference).await {
                    let why = explain(&error, "events", &writer.url);
                    tracing::warn!("cannot tell the Event {reason} of trace {key}: {why}");
                }
            }
        });
    }

    async fn act(&self, action: &Action) -> kube::Result<Outcome> {
        match action {
            Action::Write(object, _) => {
                let api = self.api(object);
                let object = api.replace_status(&object.name_any(), &PostParams::default(), object).await?;
                Ok(Outcome::Written(Box::new(object)))
            }
            Action::Patch(object, patch) => {
                let (api, name, params) = (self.api(object), object.name_any(), PatchParams::default());
                let object = api.patch(&name, &params, &Patch::Merge(patch)).await?;
                Ok(Outcome::Patched(Box::new(object)))
            }
            Action::Delete(object) => {
                tracing::info!("deleting trace {}: its ttlAfterFinished is over", Key::of(&**object));
                let this = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
                let params = DeleteParams { preconditions: Some(this), ..DeleteParams::background() };
                self.api(object).delete(&object.name_any(), &params).await?;
                // The object may exist for some time yet. The watch reports when it is gone.
                Ok(Outcome::Again(None))
            }
            Action::DeleteReports(object) => {
                let reports: Api<TrafficTraceReport> =
                    Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
                let uid = object.uid().unwrap_or_default();
                let of_trace = ListParams::default().labels(&format!("{TRACE_UID_LABEL}={uid}"));
                reports.delete_collection(&DeleteParams::default(), &of_trace).await?;
                Ok(Outcome::Done)
            }
        }
    }

    fn api(&self, object: &TrafficTrace) -> Api<TrafficTrace> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    fn failed(&self, error: &kube::Error, key: &Key) -> Outcome {
        match error {
            // Somebody else has changed or deleted the object; the watch will report that.
            kube::Error::Api(status) if [404, 409].contains(&status.code) => Outcome::Again(None),
            error => {
                tracing::warn!(
                    "writing trace {key}: {}; trying again",
                    explain(error, "traffictraces", &self.url)
                );
                Outcome::Again(retry_after(error))
            }
        }
    }
}
