//! Talking to an API server that may be away: connecting, waiting for it and for the definitions, saying what is wrong.

use std::error::Error as _;
use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::runtime::watcher;
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

/// Longest pause before the API server is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest pause that the API server may ask for. One that starts asks for up to 30 s.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// A cluster cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot find a cluster to talk to: {0}; run in a pod with a service account, or set KUBECONFIG")]
    NoConfig(#[source] kube::config::InferConfigError),
    #[error("cannot use the configuration of the cluster at {url}: {cause}")]
    Unusable { url: String, cause: kube::Error },
}

/// A client of the cluster that the environment names, and that cluster's address for messages.
pub(crate) async fn connect() -> Result<(Client, String), ConnectError> {
    let config = Config::infer().await.map_err(ConnectError::NoConfig)?;
    let url = config.cluster_url.to_string();
    let client =
        Client::try_from(config).map_err(|cause| ConnectError::Unusable { url: url.clone(), cause })?;
    Ok((client, url))
}

/// Waits until the API server lists `K`, asking again with growing pauses; each new reason for waiting is logged once.
pub(crate) async fn wait_until_listed<K>(client: &Client, url: &str)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<kube::core::DeserializeGuard<K>> = Api::all(client.clone());
    let what = K::plural(&()).into_owned();
    let mut said = String::new();
    let mut pause = Pause::default();
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        let reason = explain(&error, &what, url);
        if reason != said {
            tracing::warn!("waiting: {reason}");
            said = reason;
        }
        tokio::time::sleep(pause.next(retry_after(&error))).await;
    }
    if !said.is_empty() {
        tracing::info!("the API server at {url} lists {what} now");
    }
}

/// What went wrong with a request about `what`, and what to do about it.
pub(crate) fn explain(error: &kube::Error, what: &str, url: &str) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => format!(
            "the API server at {url} does not know {what}: install the definitions with \
             `traffictrace crd | kubectl apply -f -` or with the chart"
        ),
        kube::Error::Api(status) if status.code == 401 || status.code == 403 => format!(
            "the API server at {url} does not let this account read or write {what}: {}; check the RBAC rules of the chart",
            status.message
        ),
        kube::Error::Api(status) => {
            format!("the API server at {url} answers about {what}: {} ({})", status.message, status.code)
        }
        other => format!("cannot reach the API server at {url} about {what}: {}", root_cause(other)),
    }
}

/// The innermost error, which says most: `connection refused`, not `service error`.
fn root_cause(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.source().is_some() { cause.to_string() } else { error.to_string() }
}

/// How long the API server asks to wait, if it does.
pub(crate) fn retry_after(error: &kube::Error) -> Option<Duration> {
    match error {
        kube::Error::Api(status) => {
            let seconds = status.details.as_ref()?.retry_after_seconds;
            (seconds > 0).then(|| Duration::from_secs(seconds.into()))
        }
        _ => None,
    }
}

/// Growing pauses between attempts.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    last: Duration,
}

impl Pause {
    /// The next pause: what the server asks for, else twice the last one, from 1 s to 10 s.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        self.last = (self.last * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        asked.map_or(self.last, |asked| asked.min(LONGEST_ASKED))
    }

    /// It worked: begin with short pauses again.
    pub(crate) fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

/// The interruptions of one watch: said once, and waited out.
#[derive(Debug)]
pub(crate) struct Interruptions {
    what: String,
    url: String,
    said: String,
    pause: Pause,
}

impl Interruptions {
    /// Of the watch of `what`, such as `pods`.
    pub(crate) fn of(what: &str, url: &str) -> Self {
        Self { what: what.to_owned(), url: url.to_owned(), said: String::new(), pause: Pause::default() }
    }

    /// Waits before the watch is polled again. The pause is spread, so that a cluster's watches do not come back at once.
    pub(crate) async fn wait_out(&mut self, error: watcher::Error) {
        let asked = match request(error) {
            // The server does not know any more what the watch would go on from, after its restart for one. The watch
            // lists anew, and there is nothing to wait for.
            Ok(kube::Error::Api(status)) if status.code == 410 => return,
            Ok(error) => {
                self.say(explain(&error, &self.what, &self.url));
                retry_after(&error)
            }
            Err(other) => {
                self.say(other);
                None
            }
        };
        tokio::time::sleep(self.pause.next(asked).mul_f64(1.0 + 0.25 * fastrand::f64())).await;
    }

    /// The watch has told of something. That a list is about to be asked for is no success yet.
    pub(crate) fn heard<K>(&mut self, event: &watcher::Event<K>) {
        if matches!(event, watcher::Event::Init) {
            return;
        }
        if !self.said.is_empty() {
            tracing::info!("watching {} goes on", self.what);
            self.said.clear();
        }
        self.pause.reset();
    }

    fn say(&mut self, reason: String) {
        if reason != self.said {
            tracing::warn!("watching {} is interrupted: {reason}", self.what);
            self.said = reason;
        }
    }
}

/// The request that failed below a watch, or what else is wrong with it.
fn request(error: watcher::Error) -> Result<kube::Error, String> {
    use watcher::Error;
    match error {
        Error::InitialListFailed(cause) | Error::WatchStartFailed(cause) | Error::WatchFailed(cause) => {
            Ok(cause)
        }
        Error::WatchError(status) => Ok(kube::Error::Api(status)),
        other @ Error::NoResourceVersion => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api_error(code: u16, retry_after_seconds: u32) -> kube::Error {
        let status: Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "message": "message of the server", "code": code,
            "details": { "retryAfterSeconds": retry_after_seconds },
        }))
        .unwrap();
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn pauses_grow_and_the_server_has_the_last_word() {
        let mut pause = Pause::default();
        let seconds: Vec<u64> = (0..7).map(|_| pause.next(None).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(pause.next(retry_after(&api_error(429, 17))), Duration::from_secs(17));
        pause.reset();
        assert_eq!(pause.next(retry_after(&api_error(429, 0))), Duration::from_secs(1));
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let text = |code| explain(&api_error(code, 0), "traffictraces", "https://k");
        assert!(text(404).contains("traffictrace crd | kubectl apply"), "{}", text(404));
        assert!(text(403).contains("RBAC") && text(403).contains("message of the server"), "{}", text(403));
        assert!(text(500).contains("message of the server (500)"), "{}", text(500));
    }
}
