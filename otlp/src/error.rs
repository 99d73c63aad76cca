//! Errors, each with what was tried, where, and what to do.

use std::path::PathBuf;
use std::time::Duration;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not a URL that can be asked.
    #[error(
        "{variable}: {value:?} is no URL of a receiver of OTLP: {cause}; give one such as http://otel-collector.monitoring:4318"
    )]
    Endpoint {
        /// The environment variable or flag that has it.
        variable: String,
        /// Its value.
        value: String,
        /// The fault.
        cause: String,
    },
    /// A protocol that there is none of.
    #[error("{variable}: the protocol {value:?} is not supported; give http/protobuf or grpc")]
    Protocol {
        /// The environment variable or flag that has it.
        variable: String,
        /// Its value.
        value: String,
    },
    /// A list of `key=value` that cannot be read. The value is not told: it may be secret.
    #[error(
        "{variable}: entry {number} of the list is {fault}; give a list such as key1=value1,key2=value2, values percent-encoded"
    )]
    List {
        /// The environment variable.
        variable: String,
        /// The entry, from 1.
        number: usize,
        /// The fault.
        fault: &'static str,
    },
    /// No number.
    #[error("{variable}: {value:?} is no number of milliseconds above 0; give one such as 10000")]
    Milliseconds {
        /// The environment variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// A compression that there is none of.
    #[error("{variable}: the compression {value:?} is not supported; give gzip or none")]
    Compression {
        /// The environment variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// Certificates that cannot be used.
    #[error("cannot use the certificates in {} for {variable}: {cause}; give a file with PEM certificates", path.display())]
    Certificate {
        /// The environment variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// The fault.
        cause: String,
    },
}

/// A reason for which numbers were not taken by a receiver.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nothing has been counted.
    #[error("trace {trace} has no numbers to export yet: it has not begun; wait until its phase is Running")]
    NoNumbers {
        /// The name of the trace.
        trace: String,
    },
    /// The client could not be made.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No connection, or it broke.
    #[error(
        "cannot send metrics to {endpoint}: {cause}; is a receiver of OTLP ({protocol}) listening there?"
    )]
    Unreachable {
        /// The URL.
        endpoint: String,
        /// The protocol that was spoken.
        protocol: &'static str,
        /// The error of the connection.
        cause: String,
    },
    /// The receiver is slow.
    #[error("sending metrics to {endpoint}: no answer within {after:?} (OTEL_EXPORTER_OTLP_TIMEOUT)")]
    Unanswered {
        /// The URL.
        endpoint: String,
        /// The time that was waited.
        after: Duration,
    },
    /// The receiver took none.
    #[error("{endpoint} refused the metrics: {status}{}", colon(message))]
    Refused {
        /// The URL.
        endpoint: String,
        /// The status of HTTP or gRPC.
        status: String,
        /// The words of the receiver.
        message: String,
        /// The receiver may take them later.
        again: bool,
    },
    /// The receiver took a part.
    #[error("{endpoint} did not take {points} of the data points{}", colon(message))]
    Rejected {
        /// The URL.
        endpoint: String,
        /// The number of data points that it did not take.
        points: i64,
        /// The words of the receiver.
        message: String,
    },
}

impl ExportError {
    /// A word for the metric of failures.
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

    /// Reports whether the receiver refused this one request for good, such as one that is too large for it. Other requests
    /// may still be taken, unlike those to a receiver that is away or overloaded.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { again: false, .. })
    }
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
