//! Requests to the API server, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::Semaphore;
use traffictrace_crd::{TRACE_UID_LABEL, TrafficTrace, TrafficTraceReport};

use super::events::Notice;
use super::state::{Action, Outcome, Work};
use super::timing::Step;
use crate::kubeapi::{Key, explain, retry_after};

/// The most requests that are under way at once.
const AT_ONCE: usize = 4;
/// When a request counts as failed: a connection may have been dropped without a word.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The name of this controller in the Events that it writes.
const REPORTING_CONTROLLER: &str = "traffictrace.dev/controller";

/// Does what the state asks for. All copies share the connection and the limit of requests.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    url: Arc<str>,
    places: Arc<Semaphore>,
    recorder: Recorder,
}

/// An action that has come to its end.
pub(super) struct Finished {
    pub(super) key: Key,
    pub(super) step: Step,
    pub(super) outcome: Outcome,
    /// The changes to tell of as Events now that the status shows them.
    pub(super) notices: Vec<Notice>,
    pub(super) trace: ObjectReference,
}

impl Writer {
    pub(super) fn new(client: Client, url: String) -> Self {
        let reporter = Reporter {
            controller: REPORTING_CONTROLLER.into(),
            // A pod's host name is its own name.
            instance: rustix::system::uname().nodename().to_str().ok().map(str::to_owned),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, url: url.into(), places: Arc::new(Semaphore::new(AT_ONCE)), recorder }
    }

    /// Does an action.
    pub(super) async fn act(self, action: Action) -> Finished {
        // The semaphore is never closed.
        let _place = self.places.acquire().await;
        let Action { object, work } = action;
        let (key, step) = (Key::of(&*object), work.step());
        let trace = object.object_ref(&());
        let outcome = match tokio::time::timeout(TIMEOUT, self.request(&object, &work)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => self.failed(&error, &key, step),
            Err(_) => {
                tracing::warn!(
                    "{} {key}: no answer from {} within {TIMEOUT:?}; trying again",
                    verb(step),
                    self.url
                );
                Outcome::Again(None)
            }
        };
        let notices = match (work, &outcome) {
            (Work::WriteStatus(notices), Outcome::Written(_)) => notices,
            _ => Vec::new(),
        };
        Finished { key, step, outcome, notices, trace }
    }

    async fn request(&self, object: &TrafficTrace, work: &Work) -> kube::Result<Outcome> {
        let (api, name) = (self.api(object), object.name_any());
        let outcome = match work {
            Work::WriteStatus(_) => {
                Outcome::Written(Box::new(api.replace_status(&name, &PostParams::default(), object).await?))
            }
            Work::PatchMetadata(patch) => {
                let params = PatchParams::default();
                Outcome::Written(Box::new(api.patch(&name, &params, &Patch::Merge(patch)).await?))
            }
            Work::DeleteReports => {
                let uid = object.uid().unwrap_or_default();
                let of_trace = ListParams::default().labels(&format!("{TRACE_UID_LABEL}={uid}"));
                let namespace = object.namespace().unwrap_or_default();
                let reports: Api<TrafficTraceReport> = Api::namespaced(self.client.clone(), &namespace);
                reports.delete_collection(&DeleteParams::background(), &of_trace).await?;
                Outcome::Done
            }
            Work::Delete => {
                tracing::info!("deleting trace {}: its ttlAfterFinished is over", Key::of(object));
                let this = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
                let params = DeleteParams { preconditions: Some(this), ..DeleteParams::background() };
                api.delete(&name, &params).await?;
                // The watch tells when it has gone.
                Outcome::Done
            }
        };
        Ok(outcome)
    }

    /// Publishes the Events of a status that has been written. They are for people: one that cannot be written is said
    /// in the log, and that is all.
    pub(super) async fn tell(self, notices: Vec<Notice>, trace: ObjectReference) {
        let _place = self.places.acquire().await;
        for notice in notices {
            let event = Event {
                type_: if notice.is_warning { EventType::Warning } else { EventType::Normal },
                reason: notice.reason.into(),
                note: Some(notice.note),
                action: notice.action.into(),
                secondary: notice.node.map(|node| ObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Node".into()),
                    name: Some(node),
                    ..ObjectReference::default()
                }),
            };
            match tokio::time::timeout(TIMEOUT, self.recorder.publish(&event, &trace)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("{}", explain(&error, "events", &self.url)),
                Err(_) => {
                    tracing::warn!("writing an event: no answer from {} within {TIMEOUT:?}", self.url);
                }
            }
        }
    }

    fn api(&self, object: &TrafficTrace) -> Api<TrafficTrace> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    fn failed(&self, error: &kube::Error, key: &Key, step: Step) -> Outcome {
        match error {
            // Changed or deleted by somebody meanwhile; the watch brings the news.
            kube::Error::Api(status) if [404, 409].contains(&status.code) => Outcome::Again(None),
            error => {
                let what = if step == Step::Reports { "traffictracereports" } else { "traffictraces" };
                tracing::warn!("{} {key}: {}; trying again", verb(step), explain(error, what, &self.url));
                Outcome::Again(retry_after(error))
            }
        }
    }
}

/// A step, for messages about a trace.
fn verb(step: Step) -> &'static str {
    match step {
        Step::Deletion => "deleting trace",
        Step::Reports => "deleting the reports of trace",
        Step::Status => "writing the status of trace",
        Step::Metadata => "writing the metadata of trace",
    }
}
