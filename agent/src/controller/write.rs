//! Writes to the API server, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use traffictrace_crd::TrafficTrace;

use super::state::{Action, Outcome};
use super::watch::Key;
use crate::kubeapi::{explain, retry_after};

/// How many writes are under way at once.
const AT_ONCE: usize = 4;
/// When a write counts as failed: a connection may have been dropped without a word.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Does actions in tasks of their own.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    url: Arc<str>,
    places: Arc<Semaphore>,
}

impl Writer {
    pub(super) fn new(client: Client, url: String) -> Self {
        Self { client, url: url.into(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Begins an action; what becomes of it is sent with the trace's UID.
    pub(super) fn start(&self, action: Action, finished: UnboundedSender<(String, Outcome)>) {
        let writer = self.clone();
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _place = writer.places.acquire().await;
            let (Action::Write(object) | Action::Delete(object)) = &action;
            let (uid, key) = (object.uid().unwrap_or_default(), Key::of(&**object));
            let outcome = match tokio::time::timeout(TIMEOUT, writer.act(&action)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => writer.failed(&error, &key),
                Err(_) => {
                    tracing::warn!(
                        "writing trace {key}: no answer from {} within {TIMEOUT:?}; trying again",
                        writer.url
                    );
                    Outcome::Again(None)
                }
            };
            // Nobody listens at the end of the program.
            let _ = finished.send((uid, outcome));
        });
    }

    async fn act(&self, action: &Action) -> kube::Result<Outcome> {
        match action {
            Action::Write(object) => {
                let api = self.api(object);
                let object = api.replace_status(&object.name_any(), &PostParams::default(), object).await?;
                Ok(Outcome::Written(Box::new(object)))
            }
            Action::Delete(object) => {
                tracing::info!("deleting trace {}: its ttlAfterFinished is over", Key::of(&**object));
                let this = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
                let params = DeleteParams { preconditions: Some(this), ..DeleteParams::background() };
                self.api(object).delete(&object.name_any(), &params).await?;
                // The watch tells when it has gone.
                Ok(Outcome::Again(None))
            }
        }
    }

    fn api(&self, object: &TrafficTrace) -> Api<TrafficTrace> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    fn failed(&self, error: &kube::Error, key: &Key) -> Outcome {
        match error {
            // Changed or deleted by somebody meanwhile; the watch brings the news.
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
