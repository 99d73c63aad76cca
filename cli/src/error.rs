//! Errors, worded as kubectl words them.

use std::{error::Error as _, io, process::ExitCode};

use kube::core::{Status, response::StatusCause};
use thiserror::Error;
use traffictrace_crd::human::printable;
use traffictrace_view::live::LiveError;

use crate::text::say;

/// An error that ends the plugin. Its text is printed on standard error as it is.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The API server refused a request.
    #[error("{}", refusal(.0))]
    Server(Box<Status>),

    /// The cluster has no definition of the resource.
    #[error(
        "error: the server doesn't have a resource type \"traffictraces\": TrafficTrace is not installed in the cluster at {url}. \
         Whoever runs the cluster installs it with the chart (helm upgrade --install traffictrace charts/traffictrace \
         --namespace traffictrace-system) or with kubectl apply -f manifests/install.yaml"
    )]
    NotInstalled {
        /// Address of the API server.
        url: String,
    },

    /// The API server did not respond.
    #[error("Unable to connect to the server at {url}: {cause}")]
    Unreachable {
        /// Address of the API server.
        url: String,
        /// The innermost error, such as `Connection refused`.
        cause: String,
    },

    /// No cluster is configured, or the configuration cannot be used.
    #[error("error: {0}")]
    Config(String),

    /// An argument is wrong, which only the cluster or the other arguments could show.
    #[error("error: {0}")]
    Usage(String),

    /// The trace could not run, or the command could not finish.
    #[error("error: {0}")]
    Failed(String),

    /// A signal ended the command before its result was known.
    #[error("error: interrupted: {0}")]
    Interrupted(String),

    /// The response of the API server cannot be parsed.
    #[error("error: the server at {url} gave an answer that cannot be read: {cause}")]
    Answer {
        /// Address of the API server.
        url: String,
        /// The error in the response.
        cause: String,
    },

    /// The live screen could not be shown.
    #[error("error: {0}")]
    Screen(#[source] LiveError),

    /// The output could not be written.
    #[error("error: cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Words a refusal of the API server as kubectl does.
fn refusal(status: &Status) -> String {
    let details = status.details.as_ref();
    let causes = details.map_or(&[][..], |details| &details.causes);
    match (status.reason.as_str(), details) {
        _ if status.code == 401 => "error: You must be logged in to the server (Unauthorized)".to_owned(),
        ("Invalid", Some(details)) if !causes.is_empty() => {
            let causes: Vec<String> = causes.iter().map(cause).collect();
            let subject =
                format!("The {} \"{}\" is invalid:", printable(&details.kind), printable(&details.name));
            match causes.as_slice() {
                [cause] => format!("{subject} {cause}"),
                _ => format!("{subject}\n* {}", causes.join("\n* ")),
            }
        }
        // A response without a reason comes from a proxy, or from a path that does not exist.
        ("" | "Failed to parse error data", _) => {
            format!("Error from server: {} ({})", printable(&status.message), status.code)
        }
        (reason, _) => format!("Error from server ({}): {}", printable(reason), printable(&status.message)),
    }
}

fn cause(cause: &StatusCause) -> String {
    match cause.field.as_str() {
        "" => printable(&cause.message).into_owned(),
        field => format!("{}: {}", printable(field), printable(&cause.message)),
    }
}

impl CliError {
    /// Returns the exit status: 130, as shells report Ctrl-C, after a signal; otherwise 1.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Interrupted(_) => ExitCode::from(130),
            _ => ExitCode::FAILURE,
        }
    }

    /// Converts the error of a request to the API server at `url`.
    pub(crate) fn of(error: kube::Error, url: &str) -> Self {
        let url = url.to_owned();
        match error {
            kube::Error::Api(status) if is_unknown_resource(&status) => Self::NotInstalled { url },
            kube::Error::Api(status) => Self::Server(status),
            kube::Error::SerdeError(cause) => Self::Answer { url, cause: cause.to_string() },
            kube::Error::Auth(cause) => Self::Config(format!("cannot get credentials for {url}: {cause}")),
            other => Self::Unreachable { url, cause: root_cause(&other) },
        }
    }
}

/// Returns the first failure of two. If both failed, the second one is printed at once.
pub(crate) fn and_then<T>(result: Result<T, CliError>, later: Result<(), CliError>) -> Result<T, CliError> {
    match (result, later) {
        (Err(first), Err(later)) => {
            say(&later.to_string());
            Err(first)
        }
        (result, later) => result.and_then(|value| later.map(|()| value)),
    }
}

/// Returns true if the API server does not know the resource type, in contrast to an object that does not exist.
pub(crate) fn is_unknown_resource(status: &Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// Returns the innermost error, which says most: `Connection refused` instead of `service error`.
pub(crate) fn root_cause(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.source().is_some() { cause.to_string() } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(status: Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        CliError::of(kube::Error::Api(status.boxed()), "https://k").to_string()
    }

    #[test]
    fn refusals_read_as_those_of_kubectl() {
        let message = "traffictraces.traffictrace.dev \"x\" not found";
        let details = json!({"name": "x", "group": "traffictrace.dev", "kind": "traffictraces"});
        assert_eq!(
            text(json!({"reason": "NotFound", "code": 404, "message": message, "details": details})),
            "Error from server (NotFound): traffictraces.traffictrace.dev \"x\" not found"
        );
        assert_eq!(
            text(json!({"reason": "Unauthorized", "code": 401, "message": "Unauthorized"})),
            "error: You must be logged in to the server (Unauthorized)"
        );
        assert_eq!(
            text(json!({"code": 502, "message": "Bad Gateway", "reason": ""})),
            "Error from server: Bad Gateway (502)"
        );
    }

    #[test]
    fn every_wrong_field_is_told() {
        let causes = json!([
            {"field": "spec.duration", "message": "Invalid value: \"1s\": at least 5s"},
            {"field": "", "message": "second"},
        ]);
        let details = json!({"name": "x", "kind": "TrafficTrace", "causes": causes});
        let invalid = |details: &Value| {
            text(json!({"reason": "Invalid", "code": 422, "message": "m", "details": details}))
        };
        assert_eq!(
            invalid(&details),
            "The TrafficTrace \"x\" is invalid:\n* spec.duration: Invalid value: \"1s\": at least 5s\n* second"
        );
        let mut one = details.clone();
        one["causes"].as_array_mut().unwrap().pop();
        assert_eq!(
            invalid(&one),
            "The TrafficTrace \"x\" is invalid: spec.duration: Invalid value: \"1s\": at least 5s"
        );
    }

    #[test]
    fn a_cluster_without_the_definition_is_told_from_a_trace_that_is_not_there() {
        let text = text(
            json!({"code": 404, "message": "404 page not found", "reason": "Failed to parse error data"}),
        );
        assert!(
            text.contains("not installed") && text.contains("helm") && text.contains("https://k"),
            "{text}"
        );
    }
}
