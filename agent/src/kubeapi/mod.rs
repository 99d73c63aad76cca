//! The only access to the API server: connecting, waiting for the definitions, watching, pausing between attempts, and
//! explaining errors. The API server may be unreachable at any time.

mod backoff;
mod clock;
mod version;
mod watch;

use std::error::Error as _;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};

pub(crate) use self::backoff::Backoff;
pub(crate) use self::clock::ApiClock;
pub(crate) use self::version::compare_versions;
pub(crate) use self::watch::{Change, Key, Source, watch, watch_metadata};

/// The reason why no request can be made to a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot find a cluster to talk to: {0}; run in a pod with a service account, or set KUBECONFIG")]
    NoConfig(#[source] kube::config::InferConfigError),
    #[error("cannot use the configuration of the cluster at {url}: {cause}")]
    Unusable { url: String, cause: kube::Error },
}

/// The API server of the cluster that the environment configures.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) client: Client,
    /// The API server's address, for messages.
    pub(crate) url: String,
    /// The API server's time.
    pub(crate) clock: ApiClock,
}

/// Finds the cluster that the environment configures. No request is made.
///
/// # Errors
///
/// [`ConnectError`] if there is no configuration, or it cannot be used.
pub(crate) async fn connect() -> Result<ApiServer, ConnectError> {
    let config = Config::infer().await.map_err(ConnectError::NoConfig)?;
    let url = config.cluster_url.to_string();
    let clock = ApiClock::new();
    let client = ClientBuilder::try_from(config)
        .map_err(|cause| ConnectError::Unusable { url: url.clone(), cause })?
        .with_layer(&clock)
        .build();
    Ok(ApiServer { client, url, clock })
}

/// Explains a failed request about `what`, and what to do about it.
pub(crate) fn explain(error: &kube::Error, what: &str, url: &str) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => format!(
            "the API server at {url} does not know {what}: install the definitions with \
             `traffictrace crd | kubectl apply -f -` or with the chart"
        ),
        // The namespace is being deleted. Only the message says so, since the API server has no code for it.
        kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated") => {
            format!(
                "the namespace is being deleted, and the API server at {url} takes no {what} in it any more"
            )
        }
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

/// Returns the innermost error, which is the most specific one: `connection refused`, not `service error`.
fn root_cause(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.source().is_some() { cause.to_string() } else { error.to_string() }
}

/// Returns the pause that the API server asks for, if it does.
pub(crate) fn retry_after(error: &kube::Error) -> Option<Duration> {
    match error {
        kube::Error::Api(status) => {
            let seconds = status.details.as_ref()?.retry_after_seconds;
            (seconds > 0).then(|| Duration::from_secs(seconds.into()))
        }
        _ => None,
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
    fn what_is_wrong_comes_with_what_to_do() {
        let text = |code| explain(&api_error(code, 0), "traffictraces", "https://k");
        assert!(text(404).contains("traffictrace crd | kubectl apply"), "{}", text(404));
        let gone: Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 403,
            "message": "unable to create new content in namespace shop because it is being terminated",
        }))
        .unwrap();
        let gone = explain(&kube::Error::Api(gone.boxed()), "traffictracereports", "https://k");
        assert!(gone.contains("being deleted") && !gone.contains("RBAC"), "{gone}");
        assert!(text(403).contains("RBAC") && text(403).contains("message of the server"), "{}", text(403));
        assert!(text(500).contains("message of the server (500)"), "{}", text(500));
    }
}
