//! Traces as metrics, sent by the OpenTelemetry protocol (OTLP).
//!
//! Two metrics follow the semantic conventions; both count bytes of the applications. A third one is about the export itself:
//!
//! | metric | series |
//! |---|---|
//! | `k8s.pod.network.io` | a trace's pods by transport and direction |
//! | `process.network.io` | a trace's pods, containers and names of processes by direction |
//! | `traffictrace.trace.series` | number of series that the first two metrics have for a trace |
//!
//! Flows that the status does not list, or for which the limits leave no room, are summed up in one overflow series for each
//! direction, marked by the attribute `otel.metric.overflow`. With the overflow series, the series of each of the two metrics
//! add up exactly to the totals of the status, and no series ever falls ([`Book`] explains how).
//!
//! Only one attribute has a value that a traced process chooses: `process.executable.name`. The value has at most 15 bytes,
//! the number of its series is limited as for all others, and [`Settings::processes`] leaves the attribute out. No attribute
//! has addresses, ports, process ids, hosts or paths.
//!
//! This crate counts nothing itself: numbers, start and end come from the status. So requests are built from the protocol's
//! own types and not with the OpenTelemetry SDK, whose counters start with the process.

mod book;
mod client;
mod error;
mod request;
mod series;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

use jiff::Timestamp;
use traffictrace_crd::TrafficTrace;

pub use self::book::{Batch, Book, TraceId};
pub use self::client::{Answer, Client};
pub use self::error::{ExportError, SettingsError};
pub use self::series::Limits;
pub use self::settings::{Protocol, Settings};
pub use self::snapshot::Snapshot;

/// Result of [`export`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number of traffic series that were sent.
    pub series: usize,
    /// Warning of a receiver that accepted everything.
    pub warning: Option<String>,
}

/// Sends the current numbers of one trace once, with the status's own time.
///
/// The series are identified by the trace, so sending a trace twice does not count it twice.
///
/// # Errors
///
/// [`ExportError`] if the trace has no numbers yet, the receiver cannot be reached, or the receiver rejects data
/// points.
pub async fn export(trace: &TrafficTrace, settings: &Settings) -> Result<Exported, ExportError> {
    let snapshot = Snapshot::of(trace)
        .ok_or_else(|| ExportError::NoNumbers { trace: trace.metadata.name.clone().unwrap_or_default() })?;
    let now = snapshot.updated().unwrap_or_else(Timestamp::now);
    let mut book = Book::new(settings.limits, settings.processes);
    book.update(&snapshot, now);
    let client = Client::new(settings, snapshot.uid())?;
    let (mut series, mut warning) = (0, None);
    for batch in book.batches(client.resource(), now) {
        series += batch.series;
        let answer = client.send(batch.request).await?;
        if answer.rejected > 0 {
            return Err(ExportError::Rejected {
                endpoint: client.endpoint().to_owned(),
                points: answer.rejected,
                message: answer.message,
            });
        }
        warning = Some(answer.message).filter(|message| !message.is_empty()).or(warning);
    }
    Ok(Exported { series, warning })
}
