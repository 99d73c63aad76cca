//! Errors. Each says what was attempted, on what, and what to do.

use std::path::PathBuf;
use std::time::Duration;

/// A setting is invalid.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL is invalid.
    #[error(
        "{variable}: {value:?} is no URL of a receiver of OTLP: {cause}; give one such as http://otel-collector.monitoring:4318"
    )]
    Endpoint {
        /// The environment variable or flag.
        variable: String,
        /// Its value.
        value: String,
        /// The parser's error.
        cause: String,
    },
    /// The protocol is not supported.
    #[error("{variable}: the protocol {value:?} is not supported; give http/protobuf or grpc")]
    Protocol {
        /// The environment variable or flag.
        variable: String,
        /// Its value.
        value: String,
    },
    /// A list of `key=value` cannot be parsed. The error does not show the value, which may be secret.
    #[error(
        "{variable}: entry {number} of the list is {fault}; give a list such as key1=value1,key2=value2, values percent-encoded"
    )]
    List {
        /// The environment variable.
        variable: String,
        /// Number of the entry, from 1.
        number: usize,
        /// The error in the entry.
        fault: &'static str,
    },
    /// The value is not a number of milliseconds above 0.
    #[error("{variable}: {value:?} is no number of milliseconds above 0; give one such as 10000")]
    Milliseconds {
        /// The environment variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// The compression is not supported.
    #[error("{variable}: the compression {value:?} is not supported; give gzip or none")]
    Compression {
        /// The environment variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// The certificates cannot be used.
    #[error("cannot use the certificates in {} for {variable}: {cause}; give a file with PEM certificates", path.display())]
    Certificate {
        /// The environment variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// The error in the file.
        cause: String,
    },
}

/// Numbers could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The trace has not counted anything yet.
    #[error("trace {trace} has no numbers to export yet: it has not begun; wait until its phase is Running")]
    NoNumbers {
        /// Name of the trace.
        trace: String,
    },
    /// The client could not be made.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no connection, or it broke.
    #[error(
        "cannot send metrics to {endpoint}: {cause}; is a receiver of OTLP ({protocol}) listening there?"
    )]
    Unreachable {
        /// URL of the receiver.
        endpoint: String,
        /// The protocol in use.
        protocol: &'static str,
        /// The error of the connection.
        cause: String,
    },
    /// The receiver did not respond in time.
    #[error("sending metrics to {endpoint}: no answer within {after:?} (OTEL_EXPORTER_OTLP_TIMEOUT)")]
    Unanswered {
        /// URL of the receiver.
        endpoint: String,
        /// Time waited for the response.
        after: Duration,
    },
    /// The receiver refused the request.
    #[error("{endpoint} refused the metrics: {status}{}", colon(message))]
    Refused {
        /// URL of the receiver.
        endpoint: String,
        /// Status of HTTP or gRPC.
        status: String,
        /// Message of the receiver.
        message: String,
        /// True if the receiver may accept the request later.
        again: bool,
    },
    /// The receiver accepted only some of the data points.
    #[error("{endpoint} did not take {points} of the data points{}", colon(message))]
    Rejected {
        /// URL of the receiver.
        endpoint: String,
        /// Number of rejected data points.
        points: i64,
        /// Message of the receiver.
        message: String,
    },
}

impl ExportError {
    /// Value of the label `reason` of the metric that counts failures.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoNumbers { .. } => "noNumbers",
            Self::Settings(_) => "settings",
            Self::Unreachable { .. } => "unreachable",
            Self::Unanswered { .. } => "unanswered",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// Returns true if the receiver refused this request for good, for example because it is too large. Other requests may
    /// still be accepted, which would not be so if the receiver were away or overloaded.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { again: false, .. })
    }
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
